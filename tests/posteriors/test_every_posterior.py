"""What holds for every posterior: extreme values, and the latent that stands for the whole."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from sfvae_jax import likelihoods, objectives, posteriors

WEIGHTS = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
X = np.linspace(-1.0, 1.5, 5).astype(np.float32)
MEAN = np.array([0.4, -0.2, 0.1], np.float32)
FAMILIES = ("diagonal", "full_covariance", "planar", "iaf", "auxiliary_flow")


def _build(family, mean, stddev, scale=1.0):
    rng = np.random.default_rng(1)
    draw = lambda *shape: jnp.array(scale * rng.normal(size=shape), jnp.float32)  # noqa: E731
    grown = lambda tree: jax.tree.map(lambda leaf: scale * leaf, tree)  # noqa: E731
    if family == "diagonal":
        return posteriors.DiagonalGaussian(mean, stddev)
    if family == "full_covariance":
        factor = jnp.tril(stddev[:, None] * draw(3, 3), -1) + jnp.diag(stddev)
        return posteriors.FullCovarianceGaussian(mean, factor)
    if family == "planar":
        return posteriors.PlanarFlow(mean, stddev, draw(2, 3), draw(2, 3), draw(2))
    sizes = {"hidden_sizes": (6,), "context_size": 2}
    if family == "iaf":
        networks = grown(posteriors.init_iaf(jax.random.key(0), 3, **sizes))
        return posteriors.InverseAutoregressiveFlow(mean, stddev, draw(2), networks)
    networks = grown(posteriors.init_auxiliary_flow(jax.random.key(0), 3, **sizes))
    return posteriors.AuxiliaryFlow(mean, stddev, draw(2), networks)


@pytest.mark.parametrize("stddev", [1e-8, 1e4])
@pytest.mark.parametrize("family", FAMILIES)
def test_both_estimators_stay_finite_with_finite_gradients(family, stddev):
    """Float32, a standard deviation of 1e-8 or 1e4 in every dimension."""

    def total(mean, stddev, key):
        posterior = _build(family, mean, stddev)
        decode = lambda z: jnp.array(WEIGHTS) @ z  # noqa: E731
        arguments = (key, decode, jnp.array(X), posterior, likelihoods.Gaussian(0.5))
        plain = objectives.sampling_elbo(*arguments).value
        if family == "planar":
            return plain, plain
        path = objectives.sticking_the_landing_elbo(*arguments).value
        return plain + path, path

    stddevs = jnp.full(3, stddev, jnp.float32)
    keys = jax.random.split(jax.random.key(0), 5)
    (values, _), grads = jax.jit(
        jax.vmap(jax.value_and_grad(total, (0, 1), has_aux=True), (None, None, 0))
    )(jnp.array(MEAN), stddevs, keys)
    assert np.isfinite(values).all()
    assert all(np.isfinite(grad).all() for grad in grads)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_center_is_where_samples_of_a_narrow_base_lie(family):
    """With stddev 1e-4 every sample is within 0.01 of the center, which a flow has moved."""

    @jax.jit
    def samples_and_center(keys):
        posterior = _build(family, jnp.array(MEAN), jnp.full(3, 1e-4))
        if family == "auxiliary_flow":  # v_0 is narrow too
            to_gaussian = posterior.networks["initial"]
            to_gaussian[-1]["bias"] = to_gaussian[-1]["bias"].at[3:].set(-40.0)
        return jax.vmap(posterior.sample_and_log_prob)(keys)[0], posterior.center()

    z, center = samples_and_center(jax.random.split(jax.random.key(0), 20))
    np.testing.assert_allclose(z, np.tile(center, (20, 1)), atol=0.01)
    moved = np.abs(center - MEAN).max()
    assert (moved > 0.05) == (family not in ("diagonal", "full_covariance"))


def test_path_gradient_of_an_ill_conditioned_iaf():
    """Float32, two flows of three times their weights: the value exact, the gradient finite."""

    @jax.jit
    def values_and_gradient(keys):
        networks = posteriors.init_iaf(
            jax.random.key(0), 50, num_flows=2, hidden_sizes=(40,), context_size=0
        )
        networks = jax.tree.map(lambda leaf: 3.0 * leaf, networks)

        def flow(mean):
            return posteriors.InverseAutoregressiveFlow(mean, jnp.ones(50), None, networks)

        def path(mean, key):
            return flow(mean).sample_and_path_log_prob(key)[1]

        _, plain = jax.vmap(flow(jnp.zeros(50)).sample_and_log_prob)(keys)
        return plain, *jax.vmap(jax.value_and_grad(path), (None, 0))(jnp.zeros(50), keys)

    plain, values, grads = values_and_gradient(jax.random.split(jax.random.key(1), 20))
    np.testing.assert_allclose(values, plain, rtol=1e-5)
    assert np.isfinite(grads).all()


@pytest.mark.parametrize("hidden", [5, 20, 100])
def test_every_input_but_the_last_feeds_a_later_output(hidden):
    """IAF with fewer, as many and more hidden units than its 20 latents."""

    @jax.jit
    @jax.jacfwd
    def slopes(z):
        networks = posteriors.init_iaf(
            jax.random.key(0), 20, num_flows=1, hidden_sizes=(hidden, hidden), context_size=0
        )
        flow = posteriors.InverseAutoregressiveFlow(jnp.zeros(20), jnp.ones(20), None, networks)
        return flow.forward(z)[0]

    jacobian = np.array(slopes(jnp.linspace(-1.0, 1.0, 20)))
    below = np.tril(jacobian, -1)
    fed = np.count_nonzero(np.abs(below).sum(axis=0))
    assert fed == 19
    np.testing.assert_array_equal(np.triu(jacobian, 1), 0.0)


@pytest.mark.parametrize("family", ["diagonal", "full_covariance"])
def test_a_gaussian_is_its_mean_and_a_linear_map_of_noise(float64, family):
    """z = mean + L e for the noise of the sample, and the rows of L are those of its Jacobian."""
    stddev = jnp.array([0.5, 2.0, 1.3])

    @jax.jit
    def look(mean, noise, key):
        posterior = _build(family, mean, stddev)
        z, log_q = posterior.sample_and_log_prob(key)
        return z, log_q, posterior.deviation(noise), jax.jacfwd(posterior.deviation)(noise)

    key, noise = jax.random.key(4), jnp.array([0.3, -1.2, 0.7])
    z, log_q, deviation, factor = jax.device_get(look(jnp.array(MEAN, float), noise, key))
    np.testing.assert_allclose(deviation, factor @ noise, rtol=1e-12)
    np.testing.assert_array_equal(np.diag(factor), stddev)
    np.testing.assert_allclose(z, MEAN + factor @ jax.random.normal(key, (3,)), rtol=1e-6)
    dense = scipy.stats.multivariate_normal(MEAN, factor @ factor.T)
    np.testing.assert_allclose(log_q, dense.logpdf(z), rtol=1e-6)
    with pytest.raises(objectives.ArgumentError, match=r"noise must have shape \(3,\)"):
        _build(family, jnp.array(MEAN), stddev).deviation(jnp.ones(2))
