"""Bounds of log p(x), posterior collapse and reconstruction."""
