"""The files that a run writes besides its checkpoints."""
