"""The loss that a config's objective makes of a model and a batch, and the objective's options."""
