"""Densities of codes, from which images are generated."""
