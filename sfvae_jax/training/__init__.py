"""Training: the state, the step, the devices that share it, and validation."""
