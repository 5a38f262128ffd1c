"""A model, a posterior and a likelihood of one's own: their specs are all that is needed."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from helpers import make_tiny_config

from sfvae_jax import likelihoods, models, objectives, posteriors
from sfvae_jax.config import resolve

SCALE = 0.5


class Laplace:
    """p(x|z) with the density of Laplace about the decoder's output, of scale 1/2."""

    def log_prob(self, x, parameters):
        return jnp.sum(-jnp.abs(x - parameters) / SCALE - jnp.log(2.0 * SCALE))


class Affine(nn.Module):
    """One dense layer, as an encoder or a decoder."""

    size: int

    @nn.compact
    def __call__(self, x, axes=None):
        del axes
        return nn.Dense(self.size)(x.ravel())


def _shared_stddev(settings, raw, declare):
    log_stddev = declare("log_stddev", lambda rng: jnp.full(settings.latent_size, -1.0))
    return posteriors.DiagonalGaussian(raw, jnp.exp(log_stddev))


LAPLACE = likelihoods.LikelihoodSpec(
    name="laplace",
    summary="a Laplace distribution of the pixels",
    build=lambda settings, language: Laplace(),
    link=lambda outputs, activate, scales: outputs[0],
)
AFFINE = models.ModelSpec(
    name="affine",
    summary="one dense layer on each side",
    networks=lambda group, shape, num_outputs, multiple: (
        Affine(num_outputs),
        Affine(multiple * int(np.prod(shape))),
    ),
    sizes="images of any size",
)
SHARED = posteriors.PosteriorSpec(
    name="shared",
    summary="a Gaussian whose standard deviations all examples share",
    num_outputs=lambda settings: settings.latent_size,
    build=_shared_stddev,
    closed_form_kl=True,
    kl_per_dimension=True,
)


def test_specs_from_outside_are_all_that_a_config_needs(monkeypatch):
    monkeypatch.setitem(likelihoods.LIKELIHOODS, "laplace", LAPLACE)
    monkeypatch.setitem(models.MODELS, "affine", AFFINE)
    monkeypatch.setitem(posteriors.POSTERIORS, "shared", SHARED)
    names = {"model.name": "affine", "posterior.name": "shared", "likelihood.name": "laplace"}
    config = resolve(make_tiny_config(**names, **{"objective.name": "sampling"}))
    model = models.build(config, (3, 2))
    likelihood, x = likelihoods.build(config.likelihood), jnp.linspace(0.0, 1.0, 6).reshape(3, 2)

    @jax.jit
    def look(x):
        variables = model.init(jax.random.key(0), x)
        decode = models.decoder_function(model, variables)
        q = model.apply(variables, x, method="encode")
        elbo = objectives.sampling_elbo(jax.random.key(1), decode, x, q, likelihood)
        return variables["params"], elbo, decode(q.mean)

    params, elbo, mean = look(x)
    np.testing.assert_array_equal(params["head"]["log_stddev"], -1.0)
    assert mean.shape == (3, 2)
    assert np.isfinite(elbo.value)
    assert elbo.kl_per_dimension.shape == (config.model.latent_size,)
