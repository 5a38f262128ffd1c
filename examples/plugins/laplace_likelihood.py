"""Pixels with a Laplace distribution, whose log density is an absolute error.

--config.plugins=examples/plugins/laplace_likelihood.py --config.likelihood.name=laplace
--config.likelihood.scale=0.1 --config.objective.name=sampling
"""

import dataclasses

import jax
import jax.numpy as jnp

from sfvae_jax import plugins


@dataclasses.dataclass(frozen=True)
class Laplace:
    """p(x|z) = prod_j exp(-|x_j - mean_j| / scale) / (2 scale); `parameters` is the mean."""

    scale: float

    def log_prob(self, x, parameters):
        return -jnp.sum(jnp.abs(x - parameters) / self.scale + jnp.log(2.0 * self.scale))

    def mean(self, parameters):
        return parameters

    def location(self, parameters):
        return parameters

    def sample(self, rng, parameters):
        return parameters + self.scale * jax.random.laplace(rng, parameters.shape)

    def fisher(self, parameters):
        return jnp.full(parameters.shape, self.scale**-2)


plugins.register(
    plugins.LikelihoodSpec(
        name="laplace",
        summary="a Laplace distribution of the pixels with the scale likelihood.scale",
        build=lambda settings, language: Laplace(settings.scale),
        link=lambda outputs, activate, scales: activate(outputs[0]),
        activates_mean=True,
        own_options={"scale": plugins.Option(0.1, plugins.POSITIVE, "Scale of laplace")},
    )
)
