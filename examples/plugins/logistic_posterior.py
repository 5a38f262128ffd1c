"""A posterior with heavier tails than a Gaussian: independent logistic distributions.

--config.plugins=examples/plugins/logistic_posterior.py --config.posterior.name=logistic
--config.objective.name=sampling
"""

import dataclasses

import jax
import jax.numpy as jnp

from sfvae_jax import plugins


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Logistic:
    """q(z|x), whose dimension i is logistic with a mean and a scale, both [m]."""

    mean: jax.Array
    scale: jax.Array

    def center(self):
        return self.mean

    def sample_and_log_prob(self, rng):
        noise = jax.random.logistic(rng, self.mean.shape)
        log_density = -noise - 2.0 * jax.nn.softplus(-noise) - jnp.log(self.scale)
        return self.mean + self.scale * noise, jnp.sum(log_density)


def build(settings, raw, declare):
    m = settings.latent_size
    return Logistic(raw[:m], settings.smallest_scale + jax.nn.softplus(raw[m:]))


plugins.register(
    plugins.PosteriorSpec(
        name="logistic",
        summary="independent logistic distributions",
        num_outputs=lambda settings: 2 * settings.latent_size,
        build=build,
        has_inverse=False,
        own_options={
            "smallest_scale": plugins.Option(1e-3, plugins.POSITIVE, "Least scale of logistic")
        },
    )
)
