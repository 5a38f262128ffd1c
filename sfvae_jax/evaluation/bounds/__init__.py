"""Bounds on log p(x), posterior collapse and reconstruction errors."""
