"""Posteriors that push a Gaussian through invertible maps."""
