"""Normalisation of activations (BatchNorm) and of weights (spectral norm)."""
