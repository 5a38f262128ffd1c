"""Measures and pictures of models of sequences."""
