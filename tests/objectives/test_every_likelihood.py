"""The second-order ELBO of every likelihood of images: quadrature, the order of its error, docs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from jax.test_util import check_grads

from sfvae_jax import likelihoods, objectives, posteriors

NODES, MASS = np.polynomial.hermite_e.hermegauss(200)
MASS = MASS / MASS.sum()
COLUMNS = (0.5, 1.0, 2.0, 4.0)
HALF = 0.5 / 255


# One element and one latent: what the decoder gives for z, and log p(x|z) in NumPy and SciPy.


def _bernoulli(logit):
    """A logit that grows by 2 for each unit of z; x is 1."""
    return (
        likelihoods.Bernoulli(),
        1.0,
        lambda z: logit + 2.0 * z,
        lambda z: -np.logaddexp(0.0, -(logit + 2.0 * z)),
    )


def _gaussian(x, rate):
    """The mean moves by one deviation of 0.2 for each unit of z, log deviation by `rate`."""
    return (
        likelihoods.HeteroscedasticGaussian(),
        x,
        lambda z: (0.2 * z, 0.04 * jnp.exp(2.0 * rate * z)),
        lambda z: scipy.stats.norm(0.2 * z, 0.2 * np.exp(rate * z)).logpdf(x),
    )


def _logistic(x, rate):
    """The location starts at 0.6 and moves by one scale of 0.1, log scale by `rate`."""

    def log_mass(z):
        location, scale = 0.6 + 0.1 * z, 0.1 * np.exp(rate * z)
        low = np.where(x == 0.0, -np.inf, (x - HALF - location) / scale)
        high = np.where(x == 1.0, np.inf, (x + HALF - location) / scale)
        flipped = low > 0.0
        low, high = np.where(flipped, -high, low), np.where(flipped, -low, high)
        below, above = (scipy.stats.logistic.logcdf(edge) for edge in (low, high))
        return above + np.log(-np.expm1(below - above))

    return (
        likelihoods.DiscretizedLogistic(),
        x,
        lambda z: (0.6 + 0.1 * z, np.log(0.1) + rate * z),
        log_mass,
    )


# By the beginning of its row in docs/second_order.md.
CASES = {
    "`bernoulli`, logit 0": _bernoulli(0.0),
    "`bernoulli`, logit 4": _bernoulli(4.0),
    "`heteroscedastic_gaussian`, x at the mean": _gaussian(0.0, 0.25),
    "`heteroscedastic_gaussian`, x two deviations above": _gaussian(0.4, 0.25),
    "`discretized_logistic`, x at the location": _logistic(0.6, 0.0),
    "`discretized_logistic`, x four scales below": _logistic(0.2, 0.0),
    "`discretized_logistic`, x the highest level": _logistic(1.0, 0.0),
    "`discretized_logistic`, x at the location, with a scale": _logistic(0.6, 0.25),
}


def _errors(case, stddevs):
    """Value less truth, by quadrature in NumPy."""
    likelihood, x, decode, log_prob = CASES[case]

    @jax.jit
    @jax.vmap
    def obtained(stddev):
        def of_latent(z):
            return jax.tree.map(lambda leaf: jnp.reshape(leaf, 1), decode(z[0]))

        given = jnp.array([x]), jnp.zeros(1), stddev[None]
        return objectives.second_order_elbo(of_latent, *given, likelihood).log_likelihood

    exact = [MASS @ log_prob(stddev * NODES) for stddev in stddevs]
    return np.asarray(obtained(jnp.array(stddevs))) - exact


def test_the_truth_of_a_gaussian_with_a_learned_scale_has_a_closed_form():
    """E log N(x; a z, d^2 exp(2 k z)) for z ~ N(0, s^2): the quadrature is that."""
    for x in (0.0, 0.4):
        for s in COLUMNS:
            mean = 2 * 0.25 * s**2  # of z, under its density times exp(-2 k z)
            square = np.exp(2 * 0.25**2 * s**2) * ((x + 0.2 * mean) ** 2 + (0.2 * s) ** 2)
            expected = -0.5 * np.log(2 * np.pi * 0.04) - square / 0.08
            obtained = MASS @ _gaussian(x, 0.25)[3](s * NODES)
            np.testing.assert_allclose(obtained, expected, rtol=1e-8)


@pytest.mark.parametrize("case", CASES)
def test_the_errors_in_the_documentation(float64, root, case):
    lines = (root / "docs" / "second_order.md").read_text().splitlines()
    row = next(line for line in lines if line.startswith(f"| {case} |"))
    documented = [float(cell) for cell in row.strip("|").split("|")[1:]]
    np.testing.assert_allclose(_errors(case, COLUMNS), documented, atol=6e-5)


# Three elements and two latents.

RNG = np.random.default_rng(0)
LINES, OFFSETS = RNG.normal(size=(2, 3, 2)), np.array([[5.0, 4.0, 6.0], [2.0, 3.0, 1.5]])
MEAN, STDDEV = jnp.array([0.4, -0.7]), jnp.array([0.5, 0.3])
IMAGE = jnp.array([0.2, 1.0, 0.4])
LEARNED = {
    "heteroscedastic_gaussian": (likelihoods.HeteroscedasticGaussian(), lambda s: jnp.square(s)),
    "discretized_logistic": (likelihoods.DiscretizedLogistic(), lambda s: jnp.log(s)),
}


def _straight(z):
    """1/s and mu/s that are linear in z, [2, 3]."""
    return jnp.array(LINES) @ z + jnp.array(OFFSETS)


def _curved(z):
    """The same of mu and log s that are bent."""
    location, log_scale = jnp.array(LINES) @ z
    rate = jnp.exp(1.5 - 0.3 * log_scale)
    return jnp.stack([rate, rate * jax.nn.sigmoid(location)])


@pytest.mark.parametrize("name", LEARNED)
def test_the_order_of_what_is_missed(float64, name):
    """By quadrature in two latents. s^4 if 1/s and mu/s are linear, else the decoder's own bend."""
    likelihood, nodes = LEARNED[name][0], np.polynomial.hermite_e.hermegauss(12)
    grid = np.stack(np.meshgrid(nodes[0], nodes[0], indexing="ij"), axis=-1).reshape(-1, 2)
    mass = np.outer(nodes[1], nodes[1]).ravel() / nodes[1].sum() ** 2
    scales = np.array([0.1, 0.05, 0.025])

    def parameters(theta):
        return theta[1] / theta[0], LEARNED[name][1](1.0 / theta[0])

    @jax.jit
    def errors():
        def error(of_latent, stddev):
            def decode(z):
                return parameters(of_latent(z))

            log_prob = jax.vmap(lambda e: likelihood.log_prob(IMAGE, decode(MEAN + stddev * e)))
            given = decode, IMAGE, MEAN, stddev, likelihood
            obtained = objectives.second_order_elbo(*given).log_likelihood
            return obtained - log_prob(jnp.array(grid)) @ jnp.array(mass)

        def of_all(of_latent):
            return jax.vmap(lambda scale: error(of_latent, scale * STDDEV))(jnp.array(scales))

        slope = jax.grad(lambda theta: likelihood.log_prob(IMAGE, parameters(theta)))
        bent = jnp.diagonal(jax.hessian(_curved)(MEAN), axis1=2, axis2=3)
        own_bend = 0.5 * jnp.einsum("tk,tki,i->", slope(_curved(MEAN)), bent, jnp.square(STDDEV))
        return of_all(_straight), of_all(_curved), -own_bend

    straight, curved, missed = map(np.asarray, errors())
    np.testing.assert_allclose(np.log2(straight[:-1] / straight[1:]), 4.0, atol=0.1)
    assert abs(missed) > 0.01
    np.testing.assert_allclose(curved / scales**2, missed, rtol=0.05)
    np.testing.assert_allclose(curved[-1] / scales[-1] ** 2, missed, rtol=0.01)


@pytest.mark.parametrize("name", ["bernoulli", *LEARNED])
def test_a_batch_and_its_gradient(name):
    """`linearized` by its name: the sums written out, and the Jacobian of another decoder."""
    likelihood, link = LEARNED.get(name, (likelihoods.Bernoulli(), None))
    means, stddevs = jnp.stack([MEAN, -MEAN]), jnp.stack([STDDEV, 2.0 * STDDEV])
    x = jnp.stack([IMAGE, IMAGE[::-1]])

    def decode(lines, z):
        location, log_scale = lines @ z
        location = 0.5 + 0.1 * location
        return location if link is None else (location, link(jnp.exp(0.1 * log_scale - 1.0)))

    @jax.jit
    def value(lines, means, tangent_lines):
        loss, _ = objectives.batch_loss(
            "linearized",
            jax.random.key(0),
            lambda z: decode(lines, z),
            x,
            posteriors.DiagonalGaussian(means, stddevs),
            likelihood,
            tangent_decode=lambda z: decode(tangent_lines, z),
        )
        return loss

    lines = jnp.array(LINES, jnp.float32)
    expected = 0.0
    for one, mean, stddev in zip(x, means, stddevs, strict=True):
        rows = jax.jacobian(lambda z: decode(lines, z))(mean)
        squares = [
            likelihood.information(
                one, decode(lines, mean), jax.tree.map(lambda leaf, i=i: leaf[:, i], rows)
            )
            for i in range(2)
        ]
        log_prob = likelihood.log_prob(one, decode(lines, mean))
        kl = 0.5 * np.sum(mean**2 + stddev**2 - 1.0 - np.log(stddev**2))
        expected += 0.5 * (0.5 * np.square(stddev) @ np.array(squares) + kl - log_prob)
    np.testing.assert_allclose(value(lines, means, lines), expected, rtol=1e-5)
    assert abs(value(lines, means, 2.0 * lines) - expected) > 1e-3
    check_grads(
        lambda lines, means: value(lines, means, lines), (lines, means), 1, ["rev"], eps=1e-2
    )


def test_a_likelihood_without_a_curvature_is_refused():
    class Student:
        def log_prob(self, x, parameters):
            return -jnp.sum(jnp.log1p(jnp.square(x - parameters)))

    posterior = posteriors.DiagonalGaussian(MEAN[None], STDDEV[None])
    with pytest.raises(objectives.ArgumentError, match="a Student; .* or any with `information`$"):
        objectives.batch_loss(
            "linearized", jax.random.key(0), lambda z: z, MEAN[None], posterior, Student()
        )
