"""Closed-form results for linear and optimal decoders, which are not training objectives."""
