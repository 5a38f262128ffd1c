"""Where each family starts, and the way to unconstrained parameters and back."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from sfvae_jax.evaluation.inference_gaps.families import FAMILIES
from sfvae_jax.evaluation.inference_gaps.settings import LocalOptimization
from sfvae_jax.posteriors import DiagonalGaussian, FullCovarianceGaussian

PRIOR = np.array([1.5, 0.7, 0.01], np.float32)
OPTIONS = LocalOptimization(num_flows=2, hidden_sizes=(4,), constant_stddev=0.3)


BASE = DiagonalGaussian(np.array([0.3, -1.0, 0.02], np.float32), PRIOR)
OTHERS = [name for name in FAMILIES if name != "constant"]


def _start(name, options=OPTIONS):
    family = FAMILIES[name]
    drawn = family.draw(jax.random.key(0), 3, options)
    return jax.jit(lambda drawn, base: family.start(drawn, base, options))(drawn, BASE)


def _log_densities(posterior):
    """Returns log q and the base's log density of 9 draws, in float64."""
    draw = jax.jit(jax.vmap(posterior.sample_and_log_prob))
    z, log_q = draw(jax.random.split(jax.random.key(1), 9))
    deviations = np.std(z, axis=0) / PRIOR  # of 9 draws: 0.3 to 1.8 but for 1 in 10,000
    assert ((deviations > 0.3) & (deviations < 1.8)).all()
    return log_q, scipy.stats.norm(BASE.mean, PRIOR).logpdf(np.asarray(z, float)).sum(axis=1)


@pytest.mark.parametrize("name", OTHERS)
def test_the_start_is_the_gaussian_that_it_starts_from(name):
    log_q, expected = _log_densities(_start(name))
    np.testing.assert_allclose(log_q, expected, atol=2e-4)  # a planar flow's margin is 1e-5


def test_an_auxiliary_flow_with_other_sizes_starts_there_too():
    """It draws v from N(0, I) and has a separate reverse network (GAPS 6.2)."""
    options = dataclasses.replace(OPTIONS, auxiliary_start="standard_normal", reverse_sizes=(6, 6))
    start = _start("auxiliary_flow", options)
    assert [len(layer["bias"]) for layer in start.networks["reverse"]] == [6, 6, 6]
    np.testing.assert_allclose(*_log_densities(start), atol=2e-4)


def test_a_constant_family_has_the_given_stddev():
    constant = _start("constant")
    np.testing.assert_array_equal(constant.mean, BASE.mean)
    np.testing.assert_allclose(constant.stddev, np.full(3, 0.3))


def test_the_search_of_an_auxiliary_flow_begins_near_its_start():
    """Kernels are Xavier's, the last of each network a tenth as large; biases are 0."""
    family, start = FAMILIES["auxiliary_flow"], _start("auxiliary_flow")
    drawn = family.draw(jax.random.key(0), 3, OPTIONS)
    aside = family.aside(drawn, start)
    np.testing.assert_array_equal(aside.mean, BASE.mean)
    flows = [part.networks for part in (start, aside)]
    layers = [jax.tree.leaves(part, is_leaf=lambda n: "kernel" in n) for part in (*flows, drawn)]
    for held, begun, xavier in zip(*layers, strict=True):
        is_last = not np.any(held["kernel"])
        factor = 0.1 if is_last else 1.0
        np.testing.assert_allclose(begun["kernel"], factor * xavier["kernel"], rtol=1e-6)
        assert is_last or (begun["kernel"] == held["kernel"]).all()
        bound = np.sqrt(6 / sum(xavier["kernel"].shape))
        assert 0.5 * bound < np.abs(xavier["kernel"]).max() <= bound
        assert not np.any(begun["bias"])
    assert sum(not np.any(held["kernel"]) for held in layers[0]) == 2 + 2 * 4


@pytest.mark.parametrize("name", FAMILIES)
def test_unconstrained_parameters_map_back_to_the_posterior(name):
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
