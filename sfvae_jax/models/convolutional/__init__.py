"""Convolutional models of images."""
