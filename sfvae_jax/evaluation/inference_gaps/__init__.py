"""The inference gaps: annealed importance sampling and local optimisation (GAPS)."""
