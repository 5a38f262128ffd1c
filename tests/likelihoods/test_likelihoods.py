"""Likelihoods against SciPy and their own samples."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from sfvae_jax.likelihoods import (
    Bernoulli,
    DiscretizedLogistic,
    Gaussian,
    HeteroscedasticGaussian,
)
from sfvae_jax.objectives import ArgumentError

MEAN = np.array([[0.2, 0.9], [0.0, -1.0]])


@pytest.mark.parametrize("variance", [0.5, np.array([[0.1, 2.0], [3.0, 0.4]])])
def test_gaussian(float64, keys, variance):
    likelihood = Gaussian(jnp.asarray(variance))
    x = np.array([[1.0, 0.0], [0.5, 0.25]])
    expected = scipy.stats.norm(MEAN, np.sqrt(variance)).logpdf(x).sum()
    log_prob = likelihood.log_prob(jnp.array(x), jnp.array(MEAN))
    np.testing.assert_allclose(log_prob, expected, rtol=1e-12)
    np.testing.assert_array_equal(likelihood.mean(jnp.array(MEAN)), MEAN)

    # 10,000 draws; mean and variance within 4 standard errors.
    draws = jax.vmap(likelihood.sample, (0, None))(
        jax.random.split(next(keys), 10_000), jnp.array(MEAN)
    )
    scale = np.sqrt(np.broadcast_to(variance, MEAN.shape))
    assert np.all(np.abs(draws.mean(axis=0) - MEAN) < 4 * scale / 100)
    assert np.all(np.abs(draws.var(axis=0) / variance - 1) < 4 * np.sqrt(2) / 100)


def test_gaussian_fisher_is_the_negative_hessian_of_the_mean(float64):
    likelihood = Gaussian(jnp.array([0.5, 2.0]))
    mean = jnp.array([0.3, 0.4])
    hessian = jax.hessian(likelihood.log_prob, 1)(jnp.array([1.0, 0.0]), mean)
    np.testing.assert_allclose(np.diag(likelihood.fisher(mean)), -hessian, rtol=1e-12)


def test_gaussian_is_a_pytree():
    assert jax.tree.leaves(Gaussian(jnp.array(0.5))) == [jnp.array(0.5)]


VARIANCE = np.array([[0.3, 2.0], [1e-3, 50.0]])
BOUNDED = 0.1 + VARIANCE * 1.9 / (VARIANCE + 1.9)


@pytest.mark.parametrize(
    ("likelihood", "variance"),
    [
        (HeteroscedasticGaussian(), VARIANCE),
        (HeteroscedasticGaussian(min_variance=0.1), 0.1 + VARIANCE),
        (HeteroscedasticGaussian(0.1, 2.0), BOUNDED),
    ],
)
def test_heteroscedastic_gaussian(float64, keys, likelihood, variance):
    """The bounded variance by hand, the densities by SciPy, under vmap and jit."""
    x = np.random.default_rng(0).normal(size=(5, 2, 2))
    parameters = jnp.array(MEAN), jnp.array(VARIANCE)

    @jax.jit
    def values(x, parameters, keys):
        log_prob = jax.vmap(likelihood.log_prob, (0, None))
        draws = jax.vmap(likelihood.sample, (0, None))(keys, parameters)
        own = likelihood.variance(parameters), likelihood.mean(parameters)
        return log_prob(x, parameters), *own, likelihood.fisher(parameters), draws

    keys = jax.random.split(next(keys), 10_000)
    obtained = jax.device_get(values(jnp.array(x), parameters, keys))
    log_prob, own, mean, fisher, draws = obtained
    np.testing.assert_allclose(own, variance, rtol=1e-12)
    expected = scipy.stats.norm(MEAN, np.sqrt(variance)).logpdf(x).sum(axis=(1, 2))
    np.testing.assert_allclose(log_prob, expected, rtol=1e-12)
    np.testing.assert_array_equal(mean, MEAN)
    np.testing.assert_allclose(fisher, 1.0 / variance, rtol=1e-12)
    # 10,000 draws; mean and variance within 4 standard errors.
    assert np.all(np.abs(draws.mean(axis=0) - MEAN) < 4 * np.sqrt(variance) / 100)
    assert np.all(np.abs(draws.var(axis=0) / variance - 1) < 4 * np.sqrt(2) / 100)


def test_bounds_of_the_variance_are_kept_and_met(float64):
    """Increasing from the lower bound to the upper; with neither the variance is the decoder's."""
    variance = jnp.array([0.0, *np.logspace(-8, 8, 50)])
    bounded = np.asarray(HeteroscedasticGaussian(0.25, 4.0).variance((variance, variance)))
    assert bounded[0] == 0.25
    assert np.all(np.diff(bounded) > 0.0)
    assert np.all(bounded <= 4.0)
    np.testing.assert_allclose(bounded[-1], 4.0, rtol=1e-6)
    np.testing.assert_array_equal(
        HeteroscedasticGaussian().variance((variance, variance)), variance
    )


@pytest.mark.parametrize("bounds", [(-0.1, 1.0), (1.0, 1.0), (2.0, 1.0), (np.nan, 1.0)])
def test_bad_bounds_are_refused(bounds):
    with pytest.raises(ValueError, match="must satisfy 0 <= min_variance < max_variance"):
        HeteroscedasticGaussian(*bounds)


LOGITS = np.array([[-3.0, 0.2], [1.5, 6.0]])


def test_bernoulli(float64, keys):
    """Against SciPy on all 16 binary images, under vmap and jit."""
    x = np.array(list(np.ndindex(2, 2, 2, 2)), float).reshape(16, 2, 2)
    likelihood = Bernoulli()

    @jax.jit
    def values(x, logits, keys):
        log_prob = jax.vmap(likelihood.log_prob, (0, None))(x, logits)
        draws = jax.vmap(likelihood.sample, (0, None))(keys, logits)
        return log_prob, likelihood.mean(logits), likelihood.fisher(logits), draws

    keys = jax.random.split(next(keys), 10_000)
    obtained = jax.device_get(values(jnp.array(x), jnp.array(LOGITS), keys))
    log_prob, mean, fisher, draws = obtained
    p = 1.0 / (1.0 + np.exp(-LOGITS))
    expected = scipy.stats.bernoulli(p).logpmf(x).sum(axis=(1, 2))
    np.testing.assert_allclose(log_prob, expected, rtol=1e-10)
    np.testing.assert_allclose(np.exp(log_prob).sum(), 1.0, rtol=1e-12)
    np.testing.assert_allclose(mean, p, rtol=1e-12)
    np.testing.assert_allclose(fisher, 1.0 / (p * (1.0 - p)), rtol=1e-12)
    # 10,000 draws; frequencies within 4 standard errors.
    assert draws.dtype == jnp.float64
    assert set(np.unique(draws)) == {0.0, 1.0}
    assert np.all(np.abs(draws.mean(axis=0) - p) < 4 * np.sqrt(p * (1.0 - p)) / 100)


def test_bernoulli_scores_grey_levels_as_torch_does(float64):
    torch = pytest.importorskip("torch")
    x = np.linspace(0.0, 1.0, 7)
    logits = np.linspace(-8.0, 5.0, 7)
    loss = torch.nn.BCEWithLogitsLoss(reduction="sum")(torch.tensor(logits), torch.tensor(x))
    obtained = Bernoulli().log_prob(jnp.array(x), jnp.array(logits))
    np.testing.assert_allclose(obtained, -loss.item(), rtol=1e-12)


def test_bernoulli_at_extreme_logits():
    """Float32, logits of +-10,000: the log odds of a miss, and x - p as the gradient."""
    logits, x = jnp.array([-1e4, -1e4, -1e4, 1e4, 1e4, 1e4]), jnp.array([0.0, 0.5, 1.0] * 2)
    values, grads = jax.jit(jax.vmap(jax.value_and_grad(Bernoulli().log_prob, 1)))(x, logits)
    np.testing.assert_array_equal(values, [0.0, -5e3, -1e4, -1e4, -5e3, 0.0])
    np.testing.assert_array_equal(grads, [0.0, 0.5, 1.0, -1.0, -0.5, 0.0])
    fisher, slope = jax.device_get(
        jax.jit(jax.vmap(jax.value_and_grad(Bernoulli().fisher)))(logits)
    )
    assert np.all(np.isfinite(fisher) & (fisher > 1e30))
    assert np.all(np.isfinite(slope))


def _masses(num_levels, location, scale):
    """SciPy's logistic over the bins between the levels; its tails go to the end ones, [..., L]."""
    edges = (np.arange(num_levels - 1) + 0.5) / (num_levels - 1)
    location, scale = (np.asarray(value, float)[..., None] for value in (location, scale))
    cdf = scipy.stats.logistic.cdf((edges - location) / scale)
    return np.diff(cdf, prepend=0.0, append=1.0, axis=-1)


def _log_masses(num_levels):
    """log P of every level for arrays of mu and of log s, [..., L]."""
    likelihood = DiscretizedLogistic(num_levels)
    levels = np.arange(num_levels) / (num_levels - 1)

    @jax.jit
    @jax.vmap
    def of_all(location, log_scale):
        def of_one(x):
            return likelihood.log_prob(x[None], (location[None], log_scale))

        return jax.vmap(of_one)(jnp.array(levels, location.dtype))

    return of_all


LOCATIONS = np.array([-0.4, 0.0, 0.31, 0.45, 1.0, 2.0])


@pytest.mark.parametrize("num_levels", [2, 256])
def test_discretized_masses_are_scipys_and_sum_to_one(float64, num_levels):
    location, scale = map(np.ravel, np.meshgrid(LOCATIONS, [0.02, 0.1, 1.0]))
    log_mass = np.asarray(_log_masses(num_levels)(jnp.array(location), jnp.array(np.log(scale))))
    expected = _masses(num_levels, location, scale)
    np.testing.assert_allclose(np.exp(log_mass), expected, rtol=1e-7, atol=1e-15)
    np.testing.assert_allclose(np.exp(log_mass).sum(axis=-1), 1.0, rtol=1e-12)


@pytest.mark.parametrize("num_levels", [2, 256])
def test_discretized_masses_sum_to_one_at_any_scale(num_levels):
    """In float32, from a scale of 1e-8, one level's, to 1e4, where the end levels share it."""
    location, scale = map(np.ravel, np.meshgrid(LOCATIONS, [1e-8, 1e-3, 1.0, 1e4]))
    location, log_scale = (jnp.array(v, jnp.float32) for v in (location, np.log(scale)))
    log_mass = np.asarray(_log_masses(num_levels)(location, log_scale), float)
    assert np.all(np.isfinite(log_mass))
    np.testing.assert_allclose(np.exp(log_mass).sum(axis=-1), 1.0, rtol=1e-4)
    np.testing.assert_allclose(np.exp(log_mass[scale == 1e4][:, [0, -1]]), 0.5, rtol=1e-3)


@pytest.mark.parametrize("location", [-50.0, 50.0])
def test_discretized_tails_are_finite_with_finite_gradients(location):
    """Float32, 50 from the data at log s = -10, against SciPy's log survival in float64."""
    levels = np.arange(256) / 255

    def log_prob(x, location, log_scale):
        return DiscretizedLogistic().log_prob(x[None], (location[None], log_scale))

    both = jax.jit(jax.vmap(jax.value_and_grad(log_prob, (1, 2)), (0, None, None)))
    arguments = jnp.array(levels, jnp.float32), jnp.array(location), jnp.array(-10.0)
    values, grads = jax.device_get(both(*arguments))
    assert all(np.isfinite(grad).all() for grad in grads)
    # From the nearest level on: the distances of a bin's near and far edges, in scales.
    distance = np.sort(np.abs(location - levels))
    near, far = ((distance + side / 510) * np.exp(10.0) for side in (-1, 1))
    near[0], far[-1] = -np.inf, np.inf
    near, far = (scipy.stats.logistic.logsf(edge) for edge in (near, far))
    expected = near + np.log1p(-np.exp(far - near))
    np.testing.assert_allclose(values, expected if location < 0 else expected[::-1], rtol=1e-5)
    # The slope in mu is 1 / s all through the tail, but at the end level that swallows the rest.
    inner = slice(1, None) if location < 0 else slice(None, -1)
    np.testing.assert_allclose(np.abs(grads[0][inner]), np.exp(10.0), rtol=1e-4)


def test_discretized_moments_and_fisher(float64):
    """The mean by a sum over the levels, the Fisher information by finite differences."""
    location, scale = map(np.ravel, np.meshgrid(LOCATIONS, [0.05, 0.3]))
    likelihood, levels = DiscretizedLogistic(16), np.arange(16) / 15

    @jax.jit
    def values(location, log_scale):
        parameters = location, log_scale
        return likelihood.mean(parameters), likelihood.fisher(parameters)

    mean, fisher = values(jnp.array(location), jnp.array(np.log(scale)))
    masses = _masses(16, location, scale)
    np.testing.assert_allclose(mean, masses @ levels, rtol=1e-10)
    step = 1e-6
    slope = _masses(16, location + step, scale) - _masses(16, location - step, scale)
    expected = np.sum((slope / (2.0 * step)) ** 2 / np.maximum(masses, 1e-300), axis=-1)
    np.testing.assert_allclose(fisher, expected, rtol=1e-4)


@pytest.mark.parametrize("num_levels", [2, 5, 256])
def test_discretized_samples(keys, num_levels):
    """10,000 draws: frequencies within 4 standard errors and every one of them on a level."""
    likelihood, location, scale = DiscretizedLogistic(num_levels), 0.4, 0.15
    parameters = jnp.full(10_000, location), jnp.array(np.log(scale), jnp.float32)
    draws = np.asarray(jax.jit(likelihood.sample)(next(keys), parameters)) * (num_levels - 1)
    levels = np.round(draws)
    np.testing.assert_allclose(draws, levels, atol=1e-4)
    assert levels.min() >= 0
    assert levels.max() <= num_levels - 1
    masses = _masses(num_levels, location, scale)
    counts = np.bincount(levels.astype(int), minlength=num_levels)
    if num_levels == 256:  # sixteen at a time: some hundreds of draws in each
        masses, counts = (np.reshape(v, (16, 16)).sum(axis=1) for v in (masses, counts))
    error = np.sqrt(masses * (1.0 - masses) / 10_000)
    assert np.all(np.abs(counts / 10_000 - masses) < 4 * error)


def test_discretized_samples_at_any_scale(keys):
    """Float32: a scale of 1e-8 rounds mu to a level, one of 1e4 draws the two end levels alike."""
    location = jnp.array(np.linspace(-0.5, 1.5, 10_000), jnp.float32)
    sample = jax.jit(DiscretizedLogistic().sample)
    draws = np.asarray(sample(next(keys), (location, jnp.float32(np.log(1e-8)))))
    expected = np.round(np.clip(np.asarray(location), 0.0, 1.0) * 255) / 255
    # Within rounding of an edge either neighbour is right.
    assert np.mean(np.abs(draws - expected) > 1e-6) < 0.001
    draws = np.asarray(sample(next(keys), (location, jnp.float32(np.log(1e4)))))
    assert np.mean((draws == 0.0) | (draws == 1.0)) > 0.999
    assert abs(draws.mean() - 0.5) < 4 * 0.5 / 100


def test_discretized_scale_of_a_channel(float64, keys):
    """log s [C] over images [H, W, C], two at once: all methods as with log s written out."""
    rng = np.random.default_rng(0)
    location, scale = rng.uniform(size=(2, 2, 3, 2)), np.array([0.05, 0.4])
    levels = rng.integers(0, 256, size=(2, 2, 3, 2))
    likelihood = DiscretizedLogistic()

    def every(x, location, log_scale, key):
        parameters = location, log_scale
        own = likelihood.mean(parameters), likelihood.fisher(parameters)
        return likelihood.log_prob(x, parameters), *own, likelihood.sample(key, parameters)

    axes = 0, 0, None, None
    values = jax.jit(jax.vmap(every, axes))
    arguments = jnp.array(levels / 255), jnp.array(location)
    channels = values(*arguments, jnp.array(np.log(scale)), key := next(keys))
    full = np.broadcast_to(np.log(scale), (2, 3, 2))
    for obtained, expected in zip(channels, values(*arguments, jnp.array(full), key), strict=True):
        np.testing.assert_allclose(obtained, expected, rtol=1e-12)
    assert all(value.shape == (2, 2, 3, 2) for value in channels[1:])
    masses = _masses(256, location, np.broadcast_to(scale, location.shape))
    picked = np.take_along_axis(masses, levels[..., None], axis=-1)
    np.testing.assert_allclose(channels[0], np.log(picked).sum(axis=(1, 2, 3, 4)), rtol=1e-8)


@pytest.mark.parametrize(
    ("likelihood", "parameters"),
    [
        (Gaussian(1.0), jnp.zeros(3)),
        (HeteroscedasticGaussian(), (jnp.zeros(3), jnp.ones(3))),
        (Bernoulli(), jnp.zeros(3)),
        (DiscretizedLogistic(), (jnp.zeros(3), jnp.zeros(()))),
    ],
)
def test_data_of_another_shape_are_refused(likelihood, parameters):
    with pytest.raises(ArgumentError):
        likelihood.log_prob(jnp.zeros(1), parameters)
