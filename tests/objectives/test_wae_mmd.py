"""The loss of the Wasserstein autoencoder and its discrepancy against NumPy."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_decoders import WEIGHTS, curved

from sfvae_jax import objectives
from sfvae_jax.objectives import ArgumentError


def _mmd(first, second, scales=(0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)):
    """The U-statistic pair by pair."""

    def kernel(a, b):
        constants = 2.0 * len(a) * np.array(scales)
        return np.sum(constants / (constants + np.sum((a - b) ** 2)))

    def within(sample):
        return np.mean([kernel(a, b) for a, b in itertools.permutations(sample, 2)])

    across = np.mean([kernel(a, b) for a in first for b in second])
    return within(first) + within(second) - 2.0 * across


@pytest.mark.parametrize("scales", [None, (0.3, 4.0)])
def test_mmd_is_the_sum_over_pairs(float64, scales):
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(5, 3)), rng.normal(size=(7, 3)) + 0.5
    options = {} if scales is None else {"scales": scales}
    pairs = (first, second), (first[:2], second[:2]), (first[[0, 0, 0]], second)
    obtained = jax.jit(
        lambda pairs: [objectives.maximum_mean_discrepancy(*pair, **options) for pair in pairs]
    )(jax.tree.map(jnp.array, pairs))
    np.testing.assert_allclose(obtained, [_mmd(*pair, **options) for pair in pairs], rtol=1e-12)


def test_mmd_is_unbiased(keys):
    """Over 2,000 pairs of samples of 6 and 9: 0 within 4 standard errors where both are N(0, I),
    beyond 30 where one is shifted by 1 in both coordinates."""

    def draw(key):
        both = jax.random.normal(key, (15, 2))
        first, second = both[:6], both[6:]
        mmd = objectives.maximum_mean_discrepancy
        return jnp.stack([mmd(first, second), mmd(first, second + 1.0)])

    draws = jax.device_get(jax.jit(jax.vmap(draw))(jax.random.split(next(keys), 2000)))
    errors = np.std(draws, axis=0, ddof=1) / np.sqrt(2000)
    same, shifted = np.mean(draws, axis=0)
    assert abs(same) < 4 * errors[0]
    assert shifted > 30 * errors[1]
    assert np.min(draws[:, 0]) < 0.0


def test_bad_samples_of_the_mmd_are_refused():
    mmd, one, two = objectives.maximum_mean_discrepancy, jnp.ones((1, 3)), jnp.ones((2, 3))
    for pair in ((one, two), (two, one)):
        with pytest.raises(ValueError, match="needs at least two points in each sample, got"):
            mmd(*pair)
    with pytest.raises(ArgumentError):
        mmd(two, jnp.ones((2, 2)))
    with pytest.raises(ValueError, match="needs at least two points in each sample, got 1 and 1"):
        jax.eval_shape(_wae, jnp.ones((1, 2, 3, 1)), one)


def _wae(x, z, axis_name=None):
    return objectives.wae_mmd_loss(
        jax.random.key(5), curved, x, z, weight=10.0, axis_name=axis_name
    )


def test_wae_mmd_loss(float64):
    """Its parts by hand, with prior sample i from `fold_in(rng, i)`; alike where two devices
    share the batch."""
    rng = np.random.default_rng(0)
    x, z = rng.normal(size=(6, 2, 3, 1)), rng.normal(size=(6, 3))
    key = jax.random.key(5)
    draw = jax.jit(lambda i: jax.random.normal(jax.random.fold_in(key, i), (3,)))
    prior = [draw(i) for i in range(6)]
    x_hat = np.tanh(z @ WEIGHTS.T + 0.1 * np.sum(z**2, axis=1, keepdims=True)).reshape(x.shape)
    expected = np.sum((x - x_hat) ** 2) / 6 + 10.0 * _mmd(z, np.array(prior))
    np.testing.assert_allclose(jax.jit(_wae)(jnp.array(x), jnp.array(z)), expected, rtol=1e-12)
    shares = jnp.array(x).reshape(2, 3, 2, 3, 1), jnp.array(z).reshape(2, 3, 3)
    shared = jax.pmap(lambda x, z: _wae(x, z, "batch"), axis_name="batch")(*shares)
    np.testing.assert_allclose(shared, np.full(2, expected), rtol=1e-12)


def test_identical_rows_are_finite_with_finite_gradients():
    """A collapsed encoder, in float32: every code the same, at the origin and far from it."""
    both = jax.jit(jax.value_and_grad(_wae, 1))
    x = jnp.ones((4, 2, 3, 1))
    for place in (0.0, 1.0, 1e4):
        value, grad = both(x, jnp.full((4, 3), place))
        assert np.isfinite(value)
        assert np.all(np.isfinite(grad))
