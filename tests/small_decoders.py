"""Small decoders that tests of several objectives share."""

import jax.numpy as jnp
import numpy as np

WEIGHTS = np.random.default_rng(0).normal(size=(6, 3))
Z = np.array([0.3, -0.7, 0.5])
X = np.linspace(-1.0, 1.5, 6).reshape(2, 3, 1)


def linear(z):
    return (jnp.array(WEIGHTS, z.dtype) @ z).reshape(2, 3, 1)


def curved(z, weights=WEIGHTS):
    """A smooth decoder to a 2 x 3 x 1 "image"."""
    return jnp.tanh(jnp.asarray(weights, z.dtype) @ z + 0.1 * (z @ z)).reshape(2, 3, 1)
