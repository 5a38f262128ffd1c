"""The model of sequences with simple networks."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sfvae_jax import models
from sfvae_jax.grammars import rule_tables, sequence_grammar
from sfvae_jax.likelihoods import Categorical

X = np.array([1, 0, 2, 2], np.int32)
Z = np.array([0.5, -2.0], np.float32)


class Encoder(nn.Module):
    @nn.compact
    def __call__(self, x, axes=None):
        return nn.Dense(4)(jax.nn.one_hot(x, 3).ravel())


class Decoder(nn.Module):
    @nn.compact
    def __call__(self, z, axes=None):
        return nn.Dense(12)(z).reshape(4, 3)


class FedDecoder(nn.Module):
    teacher_forced = True

    def setup(self):
        self.dense = nn.Dense(12)

    def __call__(self, z, axes=None):
        return self.dense(z).reshape(4, 3)

    def given(self, z, x, axes=None):
        return self(z) + x[:, None]


@functools.cache
def vae(decoder, scale=4.0):
    head = models.PosteriorHead("diagonal", 2)
    model = models.SequenceVae((4,), head, Encoder(), decoder, latent_scale=scale)
    return model, jax.jit(model.init)(jax.random.key(0), X)


@pytest.mark.parametrize("decoder", [Decoder(), FedDecoder()])
def test_the_latent_scale_lies_between_the_networks(decoder):
    model, variables = vae(decoder)
    raw = Encoder().apply({"params": variables["params"]["encoder"]}, X)
    posterior = model.apply(variables, X, method="encode")
    np.testing.assert_allclose(posterior.mean, 4.0 * raw[:2], rtol=1e-6)
    np.testing.assert_allclose(posterior.stddev, np.exp(0.5 * raw[2:]), rtol=1e-6)
    expected = decoder.apply({"params": variables["params"]["decoder"]}, Z / 4.0)
    np.testing.assert_array_equal(model.apply(variables, Z, method="decode"), expected)
    given = model.apply(variables, Z, X, method="decode_given")
    more = X[:, None] if model.teacher_forced else 0
    np.testing.assert_array_equal(given, expected + more)
    assert model.teacher_forced == isinstance(decoder, FedDecoder)


def test_its_decoder_is_a_pure_function():
    model, variables = vae(Decoder())
    decode = models.decoder_function(model, variables)
    np.testing.assert_array_equal(decode(Z), model.apply(variables, Z, method="decode"))


def test_without_feeding_a_sample_is_the_likelihoods():
    model, variables = vae(Decoder())
    likelihood, key = Categorical(rule_tables(sequence_grammar("a"))), jax.random.key(1)
    x, parameters = model.apply(variables, key, Z, likelihood, method="sample")
    np.testing.assert_array_equal(parameters, model.apply(variables, Z, method="decode"))
    np.testing.assert_array_equal(x, likelihood.sample(key, parameters))


def test_examples_are_whole_numbers_or_pairs():
    model, _ = vae(Decoder())
    assert (model.data_dtype, model.clone(has_values=True).data_dtype) == (jnp.int32, jnp.float32)
