"""Where each family starts, and the way to unconstrained parameters and back."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from sfvae_jax.evaluation.local_families import FAMILIES
from sfvae_jax.evaluation.local_optimization import LocalOptimization
from sfvae_jax.posteriors import FullCovarianceGaussian

PRIOR = np.array([1.5, 0.7, 0.01], np.float32)
OPTIONS = LocalOptimization(num_flows=2, hidden_sizes=(4,), constant_stddev=0.3)


def _start(name):
    start = jax.jit(lambda key, prior: FAMILIES[name].start(key, prior, OPTIONS))
    return start(jax.random.key(0), PRIOR)


@pytest.mark.parametrize("name", ["diagonal", "full_covariance", "planar"])
def test_the_start_is_the_prior(name):
    draw = jax.jit(jax.vmap(_start(name).sample_and_log_prob))
    z, log_q = draw(jax.random.split(jax.random.key(1), 9))
    expected = scipy.stats.norm(0, PRIOR).logpdf(np.asarray(z, float)).sum(axis=1)
    np.testing.assert_allclose(log_q, expected, atol=2e-4)  # a planar flow's margin is 1e-5
    deviations = np.std(z, axis=0) / PRIOR  # of 9 draws: 0.3 to 1.8 but for 1 in 10,000
    assert ((deviations > 0.3) & (deviations < 1.8)).all()


def test_the_start_of_the_others():
    constant = _start("constant")
    np.testing.assert_array_equal(constant.mean, np.zeros(3))
    np.testing.assert_allclose(constant.stddev, np.full(3, 0.3))
    for name, networks in (("iaf", 2), ("auxiliary_flow", 2 + 2 * 4)):
        start = _start(name)
        np.testing.assert_array_equal(start.mean, np.zeros(3))
        np.testing.assert_array_equal(start.stddev, PRIOR)
        assert start.context is None
        leaves = jax.tree.leaves(jax.device_get(start.networks))
        kernels = [a for a in leaves if a.ndim == 2]
        assert len(kernels) == 2 * networks
        # Xavier's bound sqrt(6 / (in + out)), and zero biases.
        for kernel in kernels:
            bound = np.sqrt(6 / sum(kernel.shape))
            assert 0.5 * bound < np.abs(kernel).max() <= bound
        assert not any(a.any() for a in leaves if a.ndim == 1)


@pytest.mark.parametrize("name", FAMILIES)
def test_unconstrained_and_back(name):
    family, start = FAMILIES[name], _start(name)
    assert isinstance(start, family.posterior)
    if name == "full_covariance":
        factor = jnp.array([[0.5, 0.0, 0.0], [-2.0, 3.0, 0.0], [0.1, 0.2, 1e-3]])
        start = FullCovarianceGaussian(jnp.array([1.0, 2.0, 3.0]), factor)
    params = jax.jit(family.to_params)(start)
    back = jax.jit(family.build)(params)
    for found, there in zip(jax.tree.leaves(back), jax.tree.leaves(start), strict=True):
        np.testing.assert_allclose(found, there, rtol=1e-5)
    # Any parameters make a posterior: finite samples and densities.
    rng = np.random.default_rng(0)
    noisy = jax.tree.map(lambda a: a + rng.normal(size=a.shape).astype(np.float32), params)
    draw = jax.jit(lambda params: family.build(params).sample_and_log_prob(jax.random.key(3)))
    z, log_q = draw(noisy)
    assert np.isfinite(z).all()
    assert np.isfinite(log_q)


def test_no_parameter_of_a_planar_flow_starts_at_a_stationary_point():
    family = FAMILIES["planar"]
    params = family.to_params(_start("planar"))

    def value(params):
        z, log_q = jax.vmap(family.build(params).sample_and_log_prob)(
            jax.random.split(jax.random.key(1), 50)
        )
        return jnp.mean(jnp.sum(jnp.sin(3.0 * z / PRIOR[None]), axis=1) - log_q)

    gradient = jax.jit(jax.grad(value))(params)
    for part in (gradient.mean, gradient.stddev, gradient.u, gradient.w, gradient.b):
        assert (np.abs(part) > 1e-6).any(axis=-1).all()
