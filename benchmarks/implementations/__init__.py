"""A training step by the library, in plain JAX and in PyTorch, ready to be measured."""
