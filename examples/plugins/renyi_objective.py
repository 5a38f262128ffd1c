"""The variational Renyi bound of Li and Turner (2016) as an objective, with its alpha as an option.

--config.plugins=examples/plugins/renyi_objective.py --config.objective.name=renyi
--config.objective.alpha=0.5 --config.objective.num_samples=5
"""

import jax
import jax.numpy as jnp

from sfvae_jax import plugins
from sfvae_jax.objectives import gaussian_log_prob


def renyi_bound(example):
    """1/(1 - alpha) log 1/k sum_k (p(x, z_k) / q(z_k|x))^(1 - alpha), z_k ~ q(z|x), in nats.

    alpha = 0 is the importance-weighted bound; for alpha towards 1 it becomes the ELBO.
    """
    power = 1.0 - example.options.alpha

    def log_weight(rng):
        z, log_q = example.posterior.sample_and_log_prob(rng)
        log_prior = gaussian_log_prob(z, jnp.zeros_like(z), jnp.ones_like(z))
        return example.likelihood.log_prob(example.x, example.decode(z)) + log_prior - log_q

    keys = jax.random.split(example.rng, example.options.num_samples)
    weights = power * jax.vmap(log_weight)(keys)
    return (jax.nn.logsumexp(weights) - jnp.log(len(keys))) / power


plugins.register(
    plugins.ObjectiveInfo(
        name="renyi",
        summary="the variational Renyi bound",
        source="Li and Turner 2016",
        of_example=renyi_bound,
        takes_posterior=plugins.has_density,
        takes_likelihood=plugins.is_any,
        default_posterior="diagonal",
        bound="yes, in expectation, for alpha in [0, 1)",
        options=("num_samples",),
        own_options={
            "alpha": plugins.Option(0.5, plugins.BELOW_1, "Order of the Renyi divergence")
        },
    )
)
