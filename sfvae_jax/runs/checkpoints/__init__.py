"""Checkpoints: saved whole, proved whole, and read again."""
