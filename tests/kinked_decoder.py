"""A decoder of two ReLUs with kinks at 0 and 1, for which the documentation has numbers.

f(z) = W [relu(z), relu(1 - z)] + b, whose slopes are (0.5, -1) below 0, (1.5, -0.5) between and
(1, 0.5) above 1.
"""

import jax
import jax.numpy as jnp
import numpy as np

KINKS = (0.0, 1.0)
WEIGHTS, OFFSET = np.array([[1.0, -0.5], [0.5, 1.0]]), np.array([0.2, -0.1])
X, VARIANCE = np.array([1.3, 0.55]), 0.1

# Mean and deviation of the posterior.
REGIMES = {
    "inside one piece": (1.5, 0.05),
    "near a kink": (1.1, 0.3),
    "across, from the middle": (0.5, 1.0),
    "across, from one side": (1.2, 1.0),
}


def decode(z):
    hidden = jax.nn.relu(jnp.concatenate([z, 1.0 - z]))
    return jnp.array(WEIGHTS) @ hidden + jnp.array(OFFSET)
