"""Networks whose activations or weights are normalised: BatchNorm and spectral norms."""
