"""The loss of a model on a batch under the objective of a config, and the objective's options."""
