"""Training: state, step, devices, checkpoints and the files of a run."""
