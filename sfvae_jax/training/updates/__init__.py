"""Updates of the parameters: optimizers, weight decay, clipping, and their moving average."""
