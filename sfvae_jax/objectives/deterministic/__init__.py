"""Losses of deterministic autoencoders, and the penalties of their decoders."""
