"""Covariances by their factors, against dense matrices in float64 and closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sfvae_jax import posteriors
from sfvae_jax.evaluation import covariance_errors, covariance_statistics
from sfvae_jax.evaluation.linearization import output_covariance

MIX = np.random.default_rng(0).normal(size=(10, 3))
COUNTS = (2, 4, 7)


def _curved(z):
    return jnp.tanh(jnp.asarray(MIX, z.dtype) @ z).reshape(5, 2)


def _by_hand(rng, mean, stddev, num_truth, chunk_size):
    """The same draws, all matrices dense, in float64."""

    def draws(rng, number):
        keys = jax.vmap(jax.random.fold_in, (None, 0))(rng, jnp.arange(number))
        noise = jax.vmap(lambda key: jax.random.normal(key, mean.shape, mean.dtype))(keys)
        outputs = jax.vmap(lambda e: _curved(mean + stddev * e))(noise)
        return np.asarray(outputs.reshape(number, -1), np.float64)

    truth_rng, estimate_rng = jax.random.split(rng)
    chunks = draws(truth_rng, num_truth).reshape(-1, chunk_size, 10)
    truths = [np.cov(chunk.T) for chunk in chunks]
    samples = draws(estimate_rng, max(COUNTS))
    sech2 = 1.0 - np.tanh(MIX @ np.asarray(mean, np.float64)) ** 2
    factor = sech2[:, None] * MIX * np.asarray(stddev, np.float64)
    estimates = [[factor @ factor.T]]
    for k in COUNTS:
        whole = samples[: max(COUNTS) // k * k].reshape(-1, k, 10)
        estimates.append([np.cov(group.T) for group in whole])
    return estimates, truths


@pytest.mark.parametrize(("dtype", "tolerance"), [(jnp.float64, 1e-10), (jnp.float32, 2e-5)])
def test_factors_agree_with_dense_matrices(float64, keys, dtype, tolerance):
    rng = next(keys)
    mean, stddev = jnp.array([0.3, -0.2, 0.5], dtype), jnp.array([0.5, 0.2, 0.8], dtype)
    sizes = {"num_truth": 60, "chunk_size": 10}
    found = jax.jit(
        lambda rng: covariance_statistics(rng, _curved, mean, stddev, sample_counts=COUNTS, **sizes)
    )(rng)
    assert found.own.dtype == dtype
    estimates, truths = _by_hand(rng, mean, stddev, **sizes)
    close = {"rtol": tolerance, "atol": 10 * tolerance}

    def inner(group, truth):
        return np.mean([np.sum(estimate * truth) for estimate in group])

    np.testing.assert_allclose(
        found.own, [np.mean([np.sum(e**2) for e in group]) for group in estimates], **close
    )
    expected = [[inner(group, truth) for group in estimates] for truth in truths]
    np.testing.assert_allclose(found.inner.reshape(6, -1), expected, **close)
    pairs = [np.sum(a * b) for a, b in zip(truths[::2], truths[1::2], strict=True)]
    np.testing.assert_allclose(found.pairs, pairs, **close)
    every = [np.sum(a * b) for i, a in enumerate(truths) for b in truths[:i]]
    np.testing.assert_allclose(found.truth, np.mean(every), **close)
    true_variance = np.diag(np.mean(truths, axis=0))
    correlation = [
        np.mean([np.corrcoef(np.diag(e), true_variance)[0, 1] for e in group])
        for group in estimates
    ]
    np.testing.assert_allclose(found.correlation, correlation, **close)
    ratio = np.trace(estimates[0][0]) / true_variance.sum()
    np.testing.assert_allclose(found.variance_ratio, ratio, **close)
    errors, standard_errors = covariance_errors(found)
    by_pair = [
        [np.mean([np.sum((e - a) * (e - b)) for e in group]) for group in estimates]
        for a, b in zip(truths[::2], truths[1::2], strict=True)
    ]
    without = found._replace(truth=found.pairs.mean())
    np.testing.assert_allclose(covariance_errors(without)[0], np.mean(by_pair, axis=0), **close)
    expected = np.std(by_pair, axis=0, ddof=1) / np.sqrt(3)
    np.testing.assert_allclose(standard_errors, expected, **close)
    np.testing.assert_allclose(
        errors[0] - errors[1], np.subtract(*np.mean(by_pair, 0)[:2]), **close
    )


def _repeat(decode, mean, stddev, key, number, **sizes):
    """Statistics for many keys and one posterior."""
    run = jax.jit(jax.vmap(lambda key: covariance_statistics(key, decode, mean, stddev, **sizes)))
    return run(jax.random.split(key, number))


def _mean_and_error(values):
    return values.mean(axis=0), values.std(axis=0, ddof=1) / np.sqrt(len(values))


@pytest.mark.parametrize("dense", [0, 1024])
def test_errors_of_a_linear_decoder_have_their_closed_form(keys, monkeypatch, dense):
    """E|S_k - Sigma|^2 = (tr(Sigma)^2 + tr(Sigma^2)) / (k - 1); the linearisation is exact."""
    monkeypatch.setattr(output_covariance, "DENSE_OUTPUTS", dense)
    stddev = jnp.array([0.5, 1.0, 0.2])
    sizes = {"sample_counts": (3, 6, 12, 24), "num_truth": 200, "chunk_size": 25}
    statistics = _repeat(
        lambda z: jnp.array(MIX, jnp.float32) @ z, jnp.ones(3), stddev, next(keys), 600, **sizes
    )
    factor = MIX * np.asarray(stddev, float)
    sigma = factor @ factor.T
    law = (np.trace(sigma) ** 2 + np.sum(sigma**2)) / (np.array([3, 6, 12, 24]) - 1.0)
    mean, error = _mean_and_error(covariance_errors(statistics)[0])
    assert (np.abs(mean - [0.0, *law]) < 4 * error).all()
    assert (error < [0.01 * law[0], *(0.1 * law)]).all()
    truth, error = _mean_and_error(np.asarray(statistics.truth, np.float64))
    assert abs(truth - np.sum(sigma**2)) < 4 * error


def test_a_linear_decoder_is_linearised_exactly(keys):
    """What is left of correlation 1 and ratio 1 is the truth's noise, sqrt(2 / N) a variance."""
    statistics = _repeat(
        lambda z: jnp.array(MIX, jnp.float32) @ z,
        jnp.zeros(3),
        jnp.array([0.5, 1.0, 0.2]),
        next(keys),
        20,
        sample_counts=(5,),
        num_truth=4000,
    )
    assert (statistics.correlation[:, 0] > 0.998).all()
    assert (statistics.correlation[:, 1] < 0.998).all()
    ratio, error = _mean_and_error(np.asarray(statistics.variance_ratio, np.float64))
    assert abs(ratio - 1) < 4 * error < 0.03


def test_errors_of_a_square_have_their_closed_form(keys):
    """f(z) = z^2, element by element: Var = 4 mu^2 s^2 + 2 s^4, linearised without the second."""
    mean, stddev = np.array([1.0, -0.5, 0.0, 2.0]), np.array([0.5, 0.7, 1.0, 0.3])
    statistics = _repeat(
        jnp.square,
        jnp.array(mean, jnp.float32),
        jnp.array(stddev, jnp.float32),
        next(keys),
        400,
        sample_counts=(2,),
        num_truth=1000,
    )
    missing = 2 * stddev**4
    error, noise = _mean_and_error(covariance_errors(statistics)[0][:, 0])
    assert abs(error - np.sum(missing**2)) < 4 * noise < 0.5 * np.sum(missing**2)
    linearized = np.sum(4 * mean**2 * stddev**2)
    # The ratio of a noisy sum is high by its relative variance, 1e-3 here.
    expected = linearized / (linearized + missing.sum())
    assert np.mean(statistics.variance_ratio) == pytest.approx(expected, rel=0.01)


@pytest.mark.slow
def test_both_ways_to_the_truth_agree_within_the_standard_error(keys, monkeypatch):
    rng, mean = next(keys), jnp.array([0.3, -0.2, 0.5])

    def errors():
        run = jax.jit(
            lambda rng: covariance_statistics(
                rng, _curved, mean, 0.7 * jnp.ones(3), sample_counts=(5,), num_truth=4000
            )
        )
        return covariance_errors(run(rng))

    dense, standard_error = errors()
    monkeypatch.setattr(output_covariance, "DENSE_OUTPUTS", 0)
    by_factors, _ = errors()
    difference = np.abs(dense - by_factors)
    assert (difference > 0).all()
    assert (difference < 4 * standard_error).all()


def _wide(z):
    """12,288 outputs, as many as 64 x 64 pixels in colour have."""
    place = jnp.linspace(0.0, 1.0, 12_288, dtype=z.dtype)[:, None]
    return jnp.sum(jnp.sin(place * jnp.arange(1, 5)[None, :] + z[None, :]), axis=1)


@pytest.mark.slow
def test_colour_images_take_bounded_memory(keys):
    def compiled(num_truth):
        run = jax.jit(
            lambda key: covariance_statistics(
                key,
                _wide,
                jnp.zeros(4),
                0.3 * jnp.ones(4),
                sample_counts=(20,),
                num_truth=num_truth,
                chunk_size=50,
            )
        )
        return run.lower(jax.random.key(0)).compile()

    small, large = compiled(400), compiled(15_000)
    temporary = [c.memory_analysis().temp_size_in_bytes for c in (small, large)]
    assert temporary[1] <= temporary[0] + 4 * 15_000
    assert temporary[1] < 50e6  # an n x n matrix alone would take 600 MB
    errors, noise = covariance_errors(small(next(keys)))
    # Smooth and nearly linear: one point does better than 20 samples.
    assert errors[0] < errors[1]
    assert (noise < errors[1]).all()


def test_samples_that_do_not_fill_a_pair_are_not_drawn():
    assert output_covariance.pairs_of_chunks(15_000, 500) == (15, 500)
    assert output_covariance.pairs_of_chunks(15_001, 500) == (16, 468)
    assert output_covariance.pairs_of_chunks(100, 500) == (2, 25)


@pytest.mark.parametrize(("count", "num_truth", "chunk"), [(1, 8, 2), (2, 7, 2), (2, 8, 1)])
def test_too_few_samples_are_refused(keys, count, num_truth, chunk):
    with pytest.raises(ValueError, match="sample counts must be 2 or more, num_truth 8 or more"):
        covariance_statistics(
            next(keys),
            _curved,
            jnp.zeros(3),
            jnp.ones(3),
            sample_counts=(count,),
            num_truth=num_truth,
            chunk_size=chunk,
        )


def test_a_posterior_with_a_covariance(float64, keys):
    """A linear decoder: the factor is J L, and the truth over 2,000 draws is J L L' J'."""
    tril = np.array([[0.5, 0.0, 0.0], [-0.4, 0.3, 0.0], [0.2, 0.6, 0.8]])
    posterior = posteriors.FullCovarianceGaussian(jnp.zeros(3), jnp.array(tril))
    found = jax.jit(
        lambda rng: covariance_statistics(
            rng, lambda z: jnp.array(MIX) @ z, posterior, sample_counts=(20,), num_truth=2000
        )
    )(next(keys))
    exact = MIX @ tril @ tril.T @ MIX.T
    np.testing.assert_allclose(found.own[0], np.sum(exact**2), rtol=1e-10)
    np.testing.assert_allclose(found.variance_ratio, 1.0, atol=0.15)
    errors, noise = covariance_errors(found)
    assert abs(errors[0]) < 4 * noise[0]
