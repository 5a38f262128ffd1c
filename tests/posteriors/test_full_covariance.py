"""The full-covariance Gaussian posterior against dense NumPy and SciPy Gaussians."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from sfvae_jax.posteriors import DiagonalGaussian, FullCovarianceGaussian

MEAN = np.array([0.4, -2.0, 0.7])
TRIL = np.array([[0.5, 0.0, 0.0], [-1.2, 0.8, 0.0], [0.3, 2.0, 1.5]])
COVARIANCE = TRIL @ TRIL.T
DENSE = scipy.stats.multivariate_normal(MEAN, COVARIANCE)
POINTS = np.random.default_rng(0).normal(size=(5, 3))
MEANS = MEAN + POINTS[:3]
FACTORS = np.tril(TRIL + 0.1 * POINTS[:3, :, None] ** 2)
METHODS = ("sample_and_log_prob", "sample_and_path_log_prob")


def _posterior(mean=MEAN, scale_tril=TRIL):
    return FullCovarianceGaussian(jnp.array(mean), jnp.array(scale_tril))


def _closed_forms(posterior, prior_stddev):
    return (
        posterior.kl_to_prior(prior_stddev),
        posterior.entropy(),
        posterior.expected_log_prior(prior_stddev),
    )


def _dense_kl(mean, covariance, prior_stddev):
    """FLOW Eq. 25 against N(0, S) for a dense S."""
    prior = np.diag(np.broadcast_to(prior_stddev, len(mean)) ** 2)
    log_det = np.linalg.slogdet(prior)[1] - np.linalg.slogdet(covariance)[1]
    trace = np.trace(np.linalg.solve(prior, covariance))
    return 0.5 * (trace + mean @ np.linalg.solve(prior, mean) - len(mean) + log_det)


def test_log_prob_is_scipys(float64):
    """Of given points, and of samples from both methods."""

    @jax.jit
    def log_probs(posterior, points, keys):
        samples = [jax.vmap(getattr(posterior, method))(keys) for method in METHODS]
        return [(points, jax.vmap(posterior.log_prob)(points)), *samples]

    keys = jax.random.split(jax.random.key(0), 5)
    for z, log_prob in log_probs(_posterior(), jnp.array(POINTS), keys):
        assert z.shape == (5, 3)
        np.testing.assert_allclose(log_prob, DENSE.logpdf(z), rtol=1e-12)


def test_samples_have_mean_and_covariance(keys):
    """20,000 draws; a mean has variance S_ii / N, a covariance (S_ii S_jj + S_ij^2) / N."""
    draw = jax.jit(jax.vmap(_posterior().sample_and_log_prob))
    z, _ = jax.device_get(draw(jax.random.split(next(keys), 20_000)))
    variance = np.diag(COVARIANCE)
    assert np.all(np.abs(z.mean(axis=0) - MEAN) < 4 * np.sqrt(variance / 20_000))
    error = np.sqrt((np.outer(variance, variance) + COVARIANCE**2) / 20_000)
    assert np.all(np.abs(np.cov(z.T) - COVARIANCE) < 4 * error)


@pytest.mark.parametrize("prior_stddev", [1.0, 1.5, np.array([0.7, 2.0, 1.1])])
def test_closed_forms_are_the_dense_ones(float64, prior_stddev):
    forms = jax.jit(_closed_forms)(_posterior(), jnp.asarray(prior_stddev))
    kl, entropy, obtained = jax.device_get(forms)
    np.testing.assert_allclose(kl, _dense_kl(MEAN, COVARIANCE, prior_stddev), rtol=1e-12)
    np.testing.assert_allclose(entropy, DENSE.entropy(), rtol=1e-12)
    # E_q log N(z; 0, S) = log N(mean; 0, S) - tr(S^-1 L L') / 2.
    prior = np.broadcast_to(prior_stddev, 3)
    expected = scipy.stats.norm(0, prior).logpdf(MEAN).sum()
    expected -= 0.5 * np.sum(np.diag(COVARIANCE) / prior**2)
    np.testing.assert_allclose(obtained, expected, rtol=1e-12)
    np.testing.assert_allclose(kl, -(obtained + entropy), rtol=1e-12)


def _everything(posterior, rng):
    """Every value of the interface in one vector."""
    values = [getattr(posterior, method)(rng) for method in METHODS]
    values += [posterior.log_prob(jnp.ones_like(posterior.mean))]
    values += [*_closed_forms(posterior, 1.5)]
    return jnp.concatenate([jnp.ravel(value) for value in jax.tree.leaves(values)])


def test_entries_above_the_diagonal_are_ignored(float64):
    """Not in the values, and no gradient of a mixture of them all; below it there is one."""

    def everything(scale_tril):
        posterior = FullCovarianceGaussian(jnp.array(MEAN), scale_tril)
        return _everything(posterior, jax.random.key(0))

    @jax.jit
    def values_and_grad(scale_tril):
        values, pull = jax.vjp(everything, scale_tril)
        return values, pull(jnp.linspace(0.5, 2.0, len(values)))[0]

    values, grad = jax.device_get(
        values_and_grad(jnp.array(TRIL + np.triu(np.full((3, 3), 1e3), 1)))
    )
    np.testing.assert_array_equal(values, values_and_grad(jnp.array(TRIL))[0])
    np.testing.assert_array_equal(grad[np.triu_indices(3, 1)], 0.0)
    assert np.all(np.abs(grad[np.tril_indices(3)]) > 1e-3)


def test_path_log_prob_has_the_value_but_not_the_score(float64):
    """Its parameters stopped, d log q / d z = -S^-1 (z - mean), z = mean + L e; three at once."""

    def log_probs(mean, scale_tril, key):
        posterior = FullCovarianceGaussian(mean, scale_tril)
        z, plain = posterior.sample_and_log_prob(key)
        return (plain, posterior.sample_and_path_log_prob(key)[1]), z

    keys = jax.random.split(jax.random.key(0), 3)
    jacobian = jax.jit(jax.vmap(jax.jacrev(log_probs, (0, 1), has_aux=True)))
    grads = jacobian(jnp.array(MEANS), jnp.array(FACTORS), keys)
    (plain, path), z = jax.device_get(grads)
    for i, (mean, factor) in enumerate(zip(MEANS, FACTORS, strict=True)):
        slope = -np.linalg.solve(factor @ factor.T, z[i] - mean)
        noise = np.linalg.solve(factor, z[i] - mean)
        np.testing.assert_allclose(path[0][i], slope, rtol=1e-10)
        np.testing.assert_allclose(path[1][i], np.tril(np.outer(slope, noise)), rtol=1e-10)
        # Of the plain one z's part and the score cancel, but for -log det L.
        np.testing.assert_allclose(plain[0][i], 0.0, atol=1e-12)
        np.testing.assert_allclose(plain[1][i], np.diag(-1.0 / np.diag(factor)), atol=1e-12)


def test_log_prob_differentiates_in_all_arguments(float64):
    """d/dz = -S^-1 r, d/dmean = S^-1 r, d/dL = S^-1 r r' L^-T - L^-T; three at once."""

    def log_prob(z, mean, scale_tril):
        return FullCovarianceGaussian(mean, scale_tril).log_prob(z)

    both = jax.jit(jax.vmap(jax.value_and_grad(log_prob, (0, 1, 2))))
    arguments = jnp.array(POINTS[:3]), jnp.array(MEANS), jnp.array(FACTORS)
    values, grads = jax.device_get(both(*arguments))
    for i, (z, mean, factor) in enumerate(zip(POINTS[:3], MEANS, FACTORS, strict=True)):
        dense = scipy.stats.multivariate_normal(mean, factor @ factor.T)
        np.testing.assert_allclose(values[i], dense.logpdf(z), rtol=1e-12)
        solved = np.linalg.solve(factor @ factor.T, z - mean)
        noise = np.linalg.solve(factor, z - mean)
        tril_grad = np.tril(np.outer(solved, noise) - np.linalg.inv(factor).T)
        for grad, expected in zip(grads, (-solved, solved, tril_grad), strict=True):
            np.testing.assert_allclose(grad[i], expected, rtol=1e-10, atol=1e-12)


def test_a_diagonal_factor_is_the_diagonal_gaussian(float64):
    """Samples, densities and closed forms for one key, and the gradient of a mixture of them."""
    stddev = jnp.array([0.5, 3.0, 1.5])

    def full(mean, stddev):
        return _everything(FullCovarianceGaussian(mean, jnp.diag(stddev)), jax.random.key(3))

    def diagonal(mean, stddev):
        return _everything(DiagonalGaussian(mean, stddev), jax.random.key(3))

    @jax.jit
    def values_and_grads(*arguments):
        values, pulls = zip(*(jax.vjp(f, *arguments) for f in (full, diagonal)), strict=True)
        weights = jnp.linspace(0.5, 2.0, len(values[0]))
        return [(value, pull(weights)) for value, pull in zip(values, pulls, strict=True)]

    values, expected = map(jax.tree.leaves, values_and_grads(jnp.array(MEAN), stddev))
    for value, other in zip(values, expected, strict=True):
        np.testing.assert_allclose(value, other, rtol=1e-12, atol=1e-12)


def test_one_dimension(float64):
    """Every value of `_everything` by SciPy's normal."""
    norm = scipy.stats.norm(0.3, 2.0)
    posterior = _posterior(np.array([0.3]), np.array([[2.0]]))
    values = np.asarray(jax.jit(_everything)(posterior, jax.random.key(0)))
    z, log_q, path_z, path_log_q, *rest = values
    np.testing.assert_allclose([z, log_q, path_log_q], [path_z, *2 * [norm.logpdf(z)]], rtol=1e-12)
    kl = np.log(1.5 / 2.0) + (4.0 + 0.09) / (2 * 2.25) - 0.5
    expected = [norm.logpdf(1.0), kl, norm.entropy(), -kl - norm.entropy()]
    np.testing.assert_allclose(rest, expected, rtol=1e-12)


@jax.jit
def _densities_and_closed_forms(mean, scale_tril):
    """Both log q of a sample and the closed forms, and their gradients."""

    def stacked(mean, scale_tril):
        posterior = FullCovarianceGaussian(mean, scale_tril)
        values = [getattr(posterior, method)(jax.random.key(0))[1] for method in METHODS]
        return jnp.stack([*values, *_closed_forms(posterior, 1.0)])

    return stacked(mean, scale_tril), jax.jacrev(stacked, (0, 1))(mean, scale_tril)


@pytest.mark.parametrize("below", [0.0, 1.0])
def test_extreme_stddev_is_finite_with_finite_gradients(below):
    """1e-8 and 1e4 side by side, in float32; the values are those of the diagonal."""
    scale_tril = np.diag([1e-8, 1e4, 1e-8]) + np.tril(np.full((3, 3), below), -1)
    arguments = jnp.array(MEAN, jnp.float32), jnp.array(scale_tril, jnp.float32)
    values, grads = jax.device_get(_densities_and_closed_forms(*arguments))
    assert all(np.isfinite(grad).all() for grad in grads)
    log_det, square = np.log(1e-12), 1e8 + 4 * below + 0.16 + 4.0 + 0.49
    entropy, prior = 1.5 * np.log(2 * np.pi * np.e) + log_det, -1.5 * np.log(2 * np.pi)
    expected = [0.5 * square - entropy - prior, entropy, prior - 0.5 * square]
    np.testing.assert_allclose(values[2:], expected, rtol=1e-5)
    # log q of a sample is -m/2 log 2 pi - log det L - |e|^2 / 2, for any L.
    assert np.all((prior - log_det - 8.0 < values[:2]) & (values[:2] < prior - log_det))
