"""The log determinant from probes: exact over all signs, too low in few steps, unbiased."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from small_decoders import WEIGHTS, X, Z, curved, linear

from sfvae_jax import likelihoods, objectives, posteriors

STDDEV = np.array([0.5, 0.2, 0.9])
SCALE_TRIL = np.array([[0.5, 0.0, 0.0], [-0.3, 0.2, 0.0], [0.4, 0.1, 0.9]])
VARIANCES = [0.3, np.linspace(0.2, 0.9, 6)]
KEY = jax.random.key(0)
ALL = {"num_probes": 8, "rng": KEY, "lanczos_steps": 3}


def _sampling_free(weights, mean, stddev, variance, gamma, **probes):
    return objectives.sampling_free_elbo(
        lambda z: curved(z, weights),
        jnp.array(X),
        mean,
        stddev,
        observation_variance=variance,
        gamma=gamma,
        log_det_weight=0.7,
        prior_stddev=1.3,
        **probes,
    ).value


def _correlated(weights, mean, scale_tril, variance, gamma, **probes):
    q = posteriors.FullCovarianceGaussian(mean, scale_tril)
    return _sampling_free(weights, q, None, variance, gamma, **probes)


def _evidence(weights, mean, prior_stddev, variance, gamma, **probes):
    return gamma * objectives.log_evidence(
        lambda z: curved(z, weights),
        jnp.array(X),
        mean,
        observation_variance=variance,
        prior_stddev=prior_stddev,
        **probes,
    )


def _given(scale, variance, dtype=float):
    return tuple(jnp.array(value, dtype) for value in (WEIGHTS, Z, scale, variance, 0.5))


def _grads(function, **probes):
    return jax.value_and_grad(lambda *given: function(*given, **probes), (0, 1, 2, 3, 4))


@pytest.mark.parametrize(
    ("function", "scale", "variance"),
    [
        (_sampling_free, STDDEV, VARIANCES[0]),
        (_sampling_free, STDDEV, VARIANCES[1]),
        (_correlated, SCALE_TRIL, VARIANCES[0]),
        (_evidence, STDDEV, VARIANCES[1]),
    ],
)
def test_the_mean_over_all_signs_is_the_closed_form(float64, all_signs, function, scale, variance):
    """Value, and gradients in decoder, mean, deviations, variance and gamma, in m steps."""
    both = jax.jit(lambda *given: (_grads(function, **ALL)(*given), _grads(function)(*given)))
    chex.assert_trees_all_close(*both(*_given(scale, variance)), rtol=1e-5, atol=1e-5)


def test_few_steps_are_too_low_and_converge(float64, all_signs):
    """In the mean over all signs, for both objectives; so does the gradient converge."""
    for function in (_sampling_free, _evidence):
        few = [_grads(function, **{**ALL, "lanczos_steps": steps}) for steps in (1, 2)]
        both = jax.jit(
            lambda *given, few=few, function=function: (
                [grads(*given) for grads in few],
                _grads(function)(*given),
            )
        )
        found, (exact, grads) = both(*_given(STDDEV, 0.3))
        one, two = (value - exact for value, _ in found)
        assert one < 0.0
        assert 0.1 * one < two < 0.0
        errors = [
            max(jax.tree.leaves(jax.tree.map(lambda a, b: jnp.max(jnp.abs(a - b)), g, grads)))
            for _, g in found
        ]
        assert errors[1] < 0.3 * errors[0]


def test_a_dense_output_layer_gives_the_same(float64):
    """With W W' in place of the layer, in the products and in the tangents."""
    kernel = np.random.default_rng(1).normal(size=(4, 6))
    inner = np.random.default_rng(2).normal(size=(4, 3))

    def value(kernel, inner, short):
        decode = objectives.DenseOutput(
            lambda z: jnp.tanh(inner @ z), kernel, shape=(2, 3, 1), batch_size=64
        )
        assert objectives.has_short_form(decode, 2)
        return objectives.sampling_free_elbo(
            decode if short else lambda z: decode(z),
            jnp.array(X),
            jnp.array(Z),
            jnp.array(STDDEV),
            observation_variance=0.3,
            num_probes=2,
            lanczos_steps=2,
            rng=KEY,
        ).value

    @jax.jit
    def both(*given):
        grads = jax.value_and_grad(value, (0, 1))
        return [grads(*given, short) for short in (True, False)]

    results = both(jnp.array(kernel), jnp.array(inner))
    chex.assert_trees_all_close(*results, rtol=1e-10, atol=1e-10)


def test_probes_are_unbiased_in_float32(keys):
    """4,000 draws under jit, vmap and grad; 4 standard errors of value and 24 derivatives."""
    given = _given(STDDEV, 0.3, jnp.float32)

    @jax.jit
    @jax.vmap
    def draws(rng):
        return _grads(_sampling_free, num_probes=1, lanczos_steps=3, rng=rng)(*given)

    values, grads = jax.device_get(draws(jax.random.split(next(keys), 4000)))
    exact, exact_grads = jax.device_get(jax.jit(_grads(_sampling_free))(*given))
    drawn = np.concatenate([g.reshape(4000, -1) for g in (values, *grads)], axis=1)
    exact = np.concatenate([np.ravel(g) for g in (exact, *exact_grads)])
    errors = drawn.std(axis=0, ddof=1) / np.sqrt(4000)
    assert np.all(np.abs(drawn.mean(axis=0) - exact) < 4 * errors + 1e-4 * np.abs(exact))
    assert np.median(errors / np.abs(exact)) < 0.01  # the bars are not wide ones


def test_many_latents_against_the_dense_density(float64, keys):
    """m = 40, n = 50, a linear decoder: log N(x; W mu + b, U U' + c I) by SciPy; 400 draws.

    12 of 40 steps, whose error is far below the noise; 4 standard errors.
    """
    rng = np.random.default_rng(3)
    weights = rng.normal(size=(50, 40)) * np.geomspace(1.0, 0.01, 40)
    mean, stddev, x = rng.normal(size=40), rng.uniform(0.1, 0.5, 40), rng.normal(size=50)

    @jax.jit
    @jax.vmap
    def draws(rng):
        return objectives.sampling_free_elbo(
            lambda z: jnp.array(weights) @ z,
            jnp.array(x),
            jnp.array(mean),
            jnp.array(stddev),
            observation_variance=0.2,
            num_probes=2,
            lanczos_steps=12,
            rng=rng,
        ).log_likelihood

    values = np.asarray(draws(jax.random.split(next(keys), 400)))
    spread = weights * stddev
    dense = scipy.stats.multivariate_normal(
        weights @ mean, spread @ spread.T + 0.2 * np.eye(50)
    ).logpdf(x)
    error = values.std(ddof=1) / np.sqrt(400)
    assert abs(values.mean() - dense) < 4 * error < 0.5


def test_bfloat16_is_summed_in_float32():
    @jax.jit
    def parts(x, mean, stddev):
        elbo = objectives.sampling_free_elbo(
            curved, x, mean, stddev, observation_variance=0.3, num_probes=3, rng=KEY
        )
        evidence = objectives.log_evidence(
            curved, x, mean, observation_variance=0.3, num_probes=3, rng=KEY
        )
        return elbo.log_likelihood, evidence

    def of(dtype):
        return parts(*(jnp.array(v, dtype) for v in (X, Z, STDDEV)))

    for narrow, full in zip(of("bfloat16"), of("float32"), strict=True):
        assert narrow.dtype == jnp.float32
        np.testing.assert_allclose(narrow, full, rtol=0.03)


@pytest.mark.parametrize("name", ["sampling_free", "log_evidence"])
def test_a_batch_takes_the_options(float64, name):
    """`batch_loss` gives example i the key fold_in(rng, i), and the number of steps."""
    xs, means = np.array([X, 0.5 * X]), np.array([Z, -Z])
    options = {"num_probes": 2, "lanczos_steps": 2}

    @jax.jit
    def loss(xs, means):
        q = posteriors.DiagonalGaussian(means, jnp.full_like(means, 0.4))
        given = name, KEY, linear, xs, q, likelihoods.Gaussian(0.3)
        return objectives.batch_loss(*given, **options)[0]

    @jax.jit
    @jax.vmap
    def values(x, mean, index):
        given = {"observation_variance": 0.3, "rng": jax.random.fold_in(KEY, index), **options}
        if name == "log_evidence":
            return objectives.log_evidence(linear, x, mean, **given)
        return objectives.sampling_free_elbo(linear, x, mean, 0.4, gamma=0.5, **given).value

    batch = jnp.array(xs), jnp.array(means)
    np.testing.assert_allclose(loss(*batch), -values(*batch, jnp.arange(2)).mean(), rtol=1e-12)


def test_what_is_refused():
    def value(**probes):
        return objectives.log_evidence(
            linear, jnp.array(X), jnp.array(Z), observation_variance=0.3, **probes
        )

    with pytest.raises(objectives.ArgumentError, match="lanczos_steps must be at least 1, got 0"):
        value(num_probes=1, rng=KEY, lanczos_steps=0)
    with pytest.raises(objectives.ArgumentError, match="num_probes=1 requires rng"):
        value(num_probes=1)
    with pytest.raises(objectives.ArgumentError, match="x must have shape"):
        objectives.log_evidence(
            linear,
            jnp.zeros(5),
            jnp.array(Z),
            observation_variance=0.3,
            num_probes=1,
            rng=KEY,
        )
    posterior = posteriors.DiagonalGaussian(jnp.array([Z]), jnp.array([STDDEV]))
    given = "linearized", KEY, linear, jnp.array([X]), posterior, likelihoods.Gaussian(0.3)
    with pytest.raises(objectives.ArgumentError, match="lanczos_steps only applies to"):
        objectives.batch_loss(*given, lanczos_steps=3)
