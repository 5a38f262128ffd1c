"""The curvature of learned scales: SciPy along lines of (1/s, mu/s), and its mean over x."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from sfvae_jax.likelihoods import DiscretizedLogistic, HeteroscedasticGaussian
from sfvae_jax.objectives import ArgumentError

LEVELS = 16
BOUNDS = 0.05, 2.0
RNG = np.random.default_rng(3)
X = np.arange(LEVELS) / (LEVELS - 1)
MU, SCALE = RNG.uniform(-0.3, 1.3, LEVELS), RNG.uniform(0.05, 0.5, LEVELS)
TANGENT = RNG.normal(size=(2, LEVELS))


def _logistic_log_mass(x, rate, rated_mean):
    """log P of each level from 1/s and mu/s, with SciPy's tails."""
    half = 0.5 / (LEVELS - 1)
    low = np.where(x < half, -np.inf, rate * (x - half) - rated_mean)
    high = np.where(x > 1.0 - half, np.inf, rate * (x + half) - rated_mean)
    flipped = low > 0.0  # the difference is taken in the tail where it keeps its digits
    low, high = np.where(flipped, -high, low), np.where(flipped, -low, high)
    return np.log(scipy.stats.logistic.cdf(high) - scipy.stats.logistic.cdf(low))


def _gaussian_log_prob(x, rate, rated_mean):
    return scipy.stats.norm(rated_mean / rate, 1.0 / rate).logpdf(x)


def _curvature(log_prob, x, rate, rated_mean, change, step=1e-4):
    """Minus the second difference along a straight line of (1/s, mu/s), at each element."""
    values = [
        log_prob(x, rate + size * change[0], rated_mean + size * change[1])
        for size in (-step, 0.0, step)
    ]
    return -(values[0] - 2.0 * values[1] + values[2]) / step**2


def _each(likelihood):
    """`information` of every element by itself."""

    @jax.jit
    @jax.vmap
    def of_each(x, parameters, tangent):
        return likelihood.information(x, parameters, tangent)

    return of_each


def _logistic_line():
    """1/s and mu/s, and their tangents for tangents of mu and log s."""
    rate, (shift, widening) = 1.0 / SCALE, TANGENT
    return rate, rate * MU, np.stack([-rate * widening, rate * (shift - MU * widening)])


def test_of_the_discretised_logistic(float64):
    """Every level, the two ends among them, at other locations and scales."""
    rate, rated_mean, change = _logistic_line()
    obtained = _each(DiscretizedLogistic(LEVELS))(X, (MU, np.log(SCALE)), tuple(TANGENT))
    expected = _curvature(_logistic_log_mass, X, rate, rated_mean, change)
    np.testing.assert_allclose(obtained, expected, rtol=2e-5, atol=1e-6)


def test_of_the_heteroscedastic_gaussian(float64):
    """The decoder's variance v gives T = low + v r / (v + r), and its tangent the one of T."""
    low, span = BOUNDS[0], BOUNDS[1] - BOUNDS[0]
    given, (shift, change) = np.square(SCALE), TANGENT
    variance = low + given * span / (given + span)
    slope = span**2 / (given + span) ** 2
    rate = variance**-0.5
    narrowing = -0.5 * rate**3 * slope * change
    line = np.stack([narrowing, shift * rate + MU * narrowing])
    obtained = _each(HeteroscedasticGaussian(*BOUNDS))(X, (MU, given), (shift, change))
    expected = _curvature(_gaussian_log_prob, X, rate, rate * MU, line)
    np.testing.assert_allclose(obtained, expected, rtol=2e-5, atol=1e-6)


def test_its_mean_over_x_is_the_fisher_information(float64):
    """Of all levels by their masses; of the Gaussian by quadrature, against its closed form."""
    parameters = jnp.array(0.3), jnp.array(np.log(0.15))
    tangent = jnp.array(0.7), jnp.array(-0.4)
    likelihood = DiscretizedLogistic(LEVELS)

    @jax.jit
    @jax.vmap
    def at(x):
        log_mass = functools.partial(likelihood.log_prob, x)
        value, score = jax.jvp(log_mass, (parameters,), (tangent,))
        return value, score, likelihood.information(x, parameters, tangent)

    log_mass, score, information = map(np.asarray, at(jnp.array(X)))
    mass = np.exp(log_mass)
    np.testing.assert_allclose(mass @ information, mass @ score**2, rtol=1e-10)
    assert np.abs(information - mass @ score**2).max() > 0.1

    nodes, mass = np.polynomial.hermite_e.hermegauss(8)
    variance, given = 0.4, (jnp.array(0.3), jnp.array(0.4))
    x = jnp.array(0.3 + np.sqrt(variance) * nodes)
    information = jax.vmap(lambda x: HeteroscedasticGaussian().information(x, given, tangent))(x)
    expected = 0.7**2 / variance + 0.4**2 / (2.0 * variance**2)
    np.testing.assert_allclose(mass @ information / mass.sum(), expected, rtol=1e-10)


@pytest.mark.parametrize("name", ["logistic", "gaussian"])
def test_in_location_and_log_scale_the_log_density_is_not_concave(float64, name):
    """Which is why `information` takes other lines; its own is never negative, in any direction."""
    if name == "logistic":
        likelihood, of_log_scale = DiscretizedLogistic(256), lambda log_scale: log_scale
    else:
        likelihood, of_log_scale = (
            HeteroscedasticGaussian(),
            lambda log_scale: jnp.exp(2 * log_scale),
        )
    x, angles = jnp.array(0.6), np.linspace(0.0, np.pi, 200)
    directions = np.stack([np.cos(angles), np.sin(angles)], axis=1)

    @jax.jit
    @jax.vmap
    def at(location, log_scale):
        def parameters(theta):
            return theta[0], of_log_scale(theta[1])

        theta = jnp.stack([location, log_scale])
        hessian = jax.hessian(lambda theta: likelihood.log_prob(x, parameters(theta)))(theta)

        def along(direction):
            return likelihood.information(x, *jax.jvp(parameters, (theta,), (direction,)))

        return -hessian, jax.vmap(along)(jnp.array(directions))

    grid = np.meshgrid([0.0, 0.3, 0.55, 0.65, 0.9, 2.0], np.log([0.05, 0.2, 1.0]))
    location, log_scale = (axis.ravel() for axis in grid)
    observed, information = map(np.asarray, at(jnp.array(location), jnp.array(log_scale)))
    assert np.all(np.linalg.det(observed) < 0.0)
    assert np.all(information >= 0.0)
    if name == "gaussian":  # halfway between the observed and the Fisher information
        fisher = np.stack([np.exp(-2.0 * log_scale), np.full(log_scale.shape, 2.0)], axis=1)
        between = 0.5 * (observed + fisher[:, None, :] * np.eye(2))
        expected = np.einsum("ai,nij,aj->na", directions, between, directions)
        np.testing.assert_allclose(information, expected, rtol=1e-9, atol=1e-12)


def test_with_a_constant_scale_it_is_the_observed_information(float64):
    """Along mu alone, where mu/s is a line as well; the sum over an image with a scale [C]."""
    rng = np.random.default_rng(0)
    location, change = rng.uniform(size=(2, 2, 3, 2))
    x, log_scale = rng.integers(0, 256, (2, 3, 2)) / 255, jnp.array(np.log([0.05, 0.4]))
    likelihood, zeros = DiscretizedLogistic(), jnp.zeros(2)

    @jax.jit
    def both(x, location, change):
        def log_prob(size):
            return likelihood.log_prob(x, (location + size * change, log_scale))

        parameters = location, log_scale
        own = likelihood.information(x, parameters, (change, zeros))
        written_out = jax.tree.map(lambda a: jnp.broadcast_to(a, x.shape), (log_scale, 1.0 + zeros))
        scaled = likelihood.information(x, parameters, (change, 1.0 + zeros))
        full = likelihood.information(x, (location, written_out[0]), (change, written_out[1]))
        return own, -jax.grad(jax.grad(log_prob))(0.0), scaled, full

    own, observed, scaled, full = both(*map(jnp.array, (x, location, change)))
    np.testing.assert_allclose(own, observed, rtol=1e-10)
    np.testing.assert_allclose(scaled, full, rtol=1e-12)


@pytest.mark.parametrize("log_scale", [-40.0, -10.0, 0.0, 10.0, 60.0])
def test_extremes_are_finite_with_finite_gradients(log_scale):
    """Float32, from a scale far below a level to one far above all, 50 away and on the level."""
    x = jnp.array([0.0, 0.2, 1.0] * 3, jnp.float32)
    location = jnp.array([-50.0] * 3 + [0.2] * 3 + [50.0] * 3, jnp.float32)
    scales, tangent = jnp.full(9, log_scale), (jnp.full(9, 0.1), jnp.full(9, 0.3))

    @jax.jit
    def both(location, scales, tangent):
        def value(*given):
            return DiscretizedLogistic().information(x, given[:2], given[2])

        return jax.value_and_grad(value, (0, 1, 2))(location, scales, tangent)

    for leaf in jax.tree.leaves(jax.device_get(both(location, scales, tangent))):
        assert np.isfinite(leaf).all()


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_few_bits_are_summed_in_more(dtype):
    """2,000 elements: as in float64 from the same rounded numbers, in float32."""
    rng = np.random.default_rng(1)
    rounded = [jnp.asarray(rng.uniform(0.1, 0.9, 2000), dtype) for _ in range(4)]
    exact = [np.float64(value) for value in rounded]
    for likelihood in (HeteroscedasticGaussian(0.01), DiscretizedLogistic(8)):
        x = jnp.asarray(rng.integers(0, 8, 2000) / 7, dtype)
        own = (
            np.round(np.float64(x) * 7) / 7 if hasattr(likelihood, "num_levels") else np.float64(x)
        )
        obtained = likelihood.information(x, tuple(rounded[:2]), tuple(rounded[2:]))
        assert obtained.dtype == jnp.float32
        wide = [jnp.asarray(value, jnp.float32) for value in (own, *exact)]
        expected = np.sum(np.float64(_each(likelihood)(wide[0], tuple(wide[1:3]), tuple(wide[3:]))))
        np.testing.assert_allclose(obtained, expected, rtol=1e-4)


@pytest.mark.parametrize("likelihood", [HeteroscedasticGaussian(), DiscretizedLogistic()])
def test_what_does_not_fit_is_refused(likelihood):
    parameters = jnp.zeros(3), jnp.ones(3)
    message = r"the tangent must be the pair \(m.*, got one array of shape \(3,\)"
    with pytest.raises(ArgumentError, match=message):
        likelihood.information(jnp.zeros(3), parameters, jnp.zeros(3))
    with pytest.raises(ArgumentError, match=message):
        jax.vmap(lambda t: likelihood.information(jnp.zeros(3), parameters, t))(jnp.zeros((4, 3)))
    with pytest.raises(ArgumentError, match="the tangent's m"):
        likelihood.information(jnp.zeros(3), parameters, (jnp.zeros(2), jnp.ones(3)))
    with pytest.raises(ArgumentError, match="x must have shape"):
        likelihood.information(jnp.zeros(2), parameters, parameters)
