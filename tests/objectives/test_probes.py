"""Probes in place of m tangents: exact over all signs, unbiased, and with the stated variance."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_decoders import WEIGHTS, X, Z, curved, linear

from sfvae_jax import likelihoods, objectives, posteriors

STDDEV = np.array([0.5, 0.2, 0.9])
GAUSSIAN = likelihoods.Gaussian(0.3)
VARIANCES = [0.3, np.linspace(0.2, 0.9, 6)]


def _value_and_grads(weights, mean, stddev, variance, **probes):
    def value(weights, mean, stddev, variance):
        return objectives.linearized_elbo(
            lambda z: curved(z, weights),
            jnp.array(X),
            mean,
            stddev,
            observation_variance=variance,
            prior_stddev=1.3,
            **probes,
        ).value

    return jax.value_and_grad(value, (0, 1, 2, 3))(weights, mean, stddev, variance)


@pytest.mark.parametrize("variance", VARIANCES)
def test_the_mean_over_all_signs_is_that_of_all_tangents(float64, all_signs, variance):
    """Value and every gradient."""
    given = jnp.array(WEIGHTS), jnp.array(Z), jnp.array(STDDEV), jnp.array(variance)
    obtained, expected = jax.jit(
        lambda *given: (
            _value_and_grads(*given, num_probes=8, rng=jax.random.key(0)),
            _value_and_grads(*given),
        )
    )(*given)
    chex.assert_trees_all_close(obtained, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("short", [True, False])
def test_a_dense_output_layer_takes_the_same_probes(float64, short):
    kernel = np.random.default_rng(1).normal(size=(4, 6))
    inner = np.random.default_rng(2).normal(size=(4, 3))

    def hidden(z):
        return jnp.tanh(jnp.array(inner) @ z)

    decode = objectives.DenseOutput(
        hidden, jnp.array(kernel), shape=(2, 3, 1), batch_size=64 if short else 1
    )
    assert objectives.has_short_form(decode, 2) == short

    @jax.jit
    def both(rng):
        return [
            objectives.linearized_elbo(
                function,
                jnp.array(X),
                jnp.array(Z),
                jnp.array(STDDEV),
                observation_variance=0.3,
                num_probes=2,
                rng=rng,
            ).value
            for function in (decode, lambda z: decode(z))
        ]

    np.testing.assert_allclose(*both(jax.random.key(0)), rtol=1e-12)


def test_the_tangents_are_those_of_tangent_decode(float64, all_signs):
    @jax.jit
    def both(rng, mean, stddev):
        def value(**probes):
            return objectives.linearized_elbo(
                lambda z: linear(z) + 1.0,
                jnp.array(X),
                mean,
                stddev,
                observation_variance=0.3,
                tangent_decode=curved,
                **probes,
            )

        return value(num_probes=8, rng=rng), value()

    results = both(jax.random.key(0), jnp.array(Z), jnp.array(STDDEV))
    chex.assert_trees_all_close(*results, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("num_probes", [1, 4])
def test_probes_are_unbiased_with_the_stated_variance(keys, num_probes):
    """4,000 draws in float32, under jit, vmap and grad; 4 standard errors.

    Value and gradient in the 3 deviations and 18 weights. Var of the value: sum_{i<j} A_ij^2 / k.
    """
    given = (jnp.array(value, jnp.float32) for value in (WEIGHTS, Z, STDDEV, 0.3))
    weights, mean, stddev, variance = given

    @jax.jit
    @jax.vmap
    def draws(rng):
        return _value_and_grads(weights, mean, stddev, variance, num_probes=num_probes, rng=rng)

    values, grads = jax.device_get(draws(jax.random.split(next(keys), 4000)))
    expected = jax.device_get(jax.jit(_value_and_grads)(weights, mean, stddev, variance))
    drawn = np.concatenate([values[:, None], *(g.reshape(4000, -1) for g in grads)], axis=1)
    exact = np.concatenate([np.atleast_1d(expected[0]), *map(np.ravel, expected[1])])
    errors = drawn.std(axis=0, ddof=1) / np.sqrt(4000)
    assert np.all(np.abs(drawn.mean(axis=0) - exact) < 4 * errors + 1e-4 * np.abs(exact))
    assert np.median(errors / np.abs(exact)) < 0.01  # the bars are not wide ones
    jacobian = np.asarray(jax.jit(jax.jacfwd(curved))(mean)).reshape(6, 3) * STDDEV
    gram = jacobian.T @ jacobian / 0.3
    deviation = np.sqrt(np.sum(np.triu(gram, 1) ** 2) / num_probes)
    np.testing.assert_allclose(values.std(), deviation, rtol=0.045)


def test_one_probe_is_exact_for_orthogonal_columns_and_one_latent(float64):
    orthogonal = np.linalg.qr(WEIGHTS)[0] * np.array([3.0, 1.0, 0.2])

    @jax.jit
    def both(columns, mean, stddev, rng):
        def value(**probes):
            return objectives.linearized_elbo(
                lambda z: columns @ z,
                jnp.array(X).ravel(),
                mean,
                stddev,
                observation_variance=0.3,
                **probes,
            ).value

        return value(num_probes=1, rng=rng), value()

    for columns, size in ((orthogonal, 3), (WEIGHTS[:, :1], 1)):
        given = jnp.array(columns), jnp.array(Z)[:size], jnp.array(STDDEV)[:size]
        np.testing.assert_allclose(*both(*given, jax.random.key(3)), rtol=1e-12)


def test_bfloat16_is_summed_in_float32():
    @jax.jit
    def parts(x, mean, stddev, rng):
        elbo = objectives.linearized_elbo(
            curved, x, mean, stddev, observation_variance=0.3, num_probes=3, rng=rng
        )
        return jax.tree.leaves(elbo)

    def of(dtype):
        return parts(*(jnp.array(v, dtype) for v in (X, Z, STDDEV)), jax.random.key(0))

    for narrow, full in zip(of("bfloat16"), of("float32"), strict=True):
        assert narrow.dtype == jnp.float32
        np.testing.assert_allclose(narrow, full, rtol=0.02, atol=0.02)


@pytest.mark.parametrize("likelihood", [GAUSSIAN, likelihoods.Bernoulli()])
def test_the_second_order_over_all_signs(float64, all_signs, likelihood):
    """The same trace of any information: t' F t of t = J v."""

    def value(stddev, **probes):
        x = jnp.array(X > 0.0, float)
        return objectives.second_order_elbo(
            curved, x, jnp.array(Z), stddev, likelihood, **probes
        ).value

    @jax.jit
    def both(stddev, rng):
        probed = jax.value_and_grad(lambda stddev: value(stddev, num_probes=8, rng=rng))
        return probed(stddev), jax.value_and_grad(value)(stddev)

    results = both(jnp.array(STDDEV), jax.random.key(0))
    chex.assert_trees_all_close(*results, rtol=1e-12, atol=1e-12)


def test_a_batch_draws_the_probes_of_each_example(float64):
    """`batch_loss` gives example i the key fold_in(rng, i)."""
    means, stddevs = np.array([Z, -Z]), np.array([STDDEV, STDDEV[::-1]])
    xs, rng = np.array([X, 0.5 * X]), jax.random.key(7)

    @jax.jit
    def loss(xs, means, stddevs):
        posterior, likelihood = posteriors.DiagonalGaussian(means, stddevs), GAUSSIAN
        given = "linearized", rng, curved, xs, posterior, likelihood
        return objectives.batch_loss(*given, num_probes=2)[0]

    @jax.jit
    def value(x, mean, stddev, key):
        return objectives.linearized_elbo(
            curved, x, mean, stddev, observation_variance=0.3, num_probes=2, rng=key
        ).value

    given = jnp.array(xs), jnp.array(means), jnp.array(stddevs)
    values = [value(*(v[i] for v in given), jax.random.fold_in(rng, i)) for i in range(2)]
    np.testing.assert_allclose(loss(*given), -np.mean(values), rtol=1e-12)


def test_what_is_refused():
    def value(**probes):
        return objectives.linearized_elbo(
            linear, jnp.array(X), jnp.array(Z), STDDEV, observation_variance=0.3, **probes
        )

    with pytest.raises(objectives.ArgumentError, match="num_probes must not be negative, got -1"):
        value(num_probes=-1)
    with pytest.raises(objectives.ArgumentError, match=r"num_probes=2 requires rng, .* got None"):
        value(num_probes=2)
