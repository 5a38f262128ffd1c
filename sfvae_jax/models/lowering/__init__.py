"""Convolutions and products, and the ways to compute them fast on each kind of device."""
