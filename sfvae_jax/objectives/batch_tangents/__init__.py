"""Tangents that are computed for all examples of a batch together."""
