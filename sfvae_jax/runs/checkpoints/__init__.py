"""Checkpoints: saving them, reading them, and the proof that one is what was saved."""
