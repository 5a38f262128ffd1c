"""The bend of a decoder, by Gaussian moments and quadrature, and the bounds that it gives."""

import functools
import itertools

import jax
import jax.numpy as jnp
import kinked_decoder as kinked
import numpy as np
import pytest

from sfvae_jax import likelihoods, objectives
from sfvae_jax.config import resolve
from sfvae_jax.errors import UsageError
from sfvae_jax.objectives import Weights, batch_loss
from sfvae_jax.posteriors import DiagonalGaussian, FullCovarianceGaussian, PlanarFlow
from sfvae_jax.training.losses.base import build_loss
from sfvae_jax.training.losses.model_functions import Functions

N, M = 4, 3
_rng = np.random.default_rng(0)
LINEAR, CURVES = _rng.normal(size=(N, M)), _rng.normal(size=(N, M, M))
CURVES = CURVES + np.swapaxes(CURVES, 1, 2)  # the second derivatives h_ij of each output
MEAN, STDDEV = np.array([0.4, -0.7, 1.1]), np.array([0.5, 0.3, 0.8])
TRIL = np.array([[0.5, 0.0, 0.0], [0.2, 0.3, 0.0], [-0.4, 0.1, 0.8]])
VARIANCE = np.array([0.3, 0.5, 1.0, 0.2])


def _quadratic(z):
    bend = 0.5 * jnp.einsum("kij,i,j->k", jnp.array(CURVES, z.dtype), z, z)
    return jnp.array(LINEAR, z.dtype) @ z + bend


def _straight(z):
    return jnp.array(LINEAR, z.dtype) @ z


def _expected(factor, curves=CURVES, variance=VARIANCE, numpy=np):
    """1/2 E |b|^2_c for v ~ N(0, S), S = factor factor', b_k = v'H_k v / 2, by Isserlis' theorem.

    E (v'Hv)^2 = tr(HS)^2 + 2 tr(HSHS).
    """
    product = curves @ (factor @ factor.T)
    trace = numpy.einsum("kii->k", product)
    moment = trace**2 + 2.0 * numpy.einsum("kij,kji->k", product, product)
    return numpy.sum(moment / variance) / 8.0


def test_a_quadratic_decoder_bends_alike_everywhere(float64):
    step = np.array([0.3, -0.2, 0.9])
    value, tangent, bend = jax.jit(
        lambda z, v: objectives.decoder_bend(lambda z: {"a": _quadratic(z)}, z, v)
    )(jnp.array(MEAN), jnp.array(step))
    np.testing.assert_allclose(value["a"], _quadratic(jnp.array(MEAN)), rtol=1e-12)
    slopes = LINEAR + CURVES @ MEAN
    np.testing.assert_allclose(tangent["a"], slopes @ step, rtol=1e-12)
    np.testing.assert_allclose(bend["a"], 0.5 * np.einsum("kij,i,j", CURVES, step, step))


def test_a_linear_decoder_only_rounds():
    z = jnp.array(100.0 * MEAN, jnp.float32)
    for size in (1.0, 1e-3):
        step = size * jnp.array(STDDEV, jnp.float32)
        _, tangent, bend = objectives.decoder_bend(_straight, z, step)
        assert np.max(np.abs(bend)) < 2e-4  # outputs are about 100 in size
        assert np.max(np.abs(tangent)) > 0.1 * size


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("size", [1.0, 1e-3])
def test_a_step_is_what_the_latent_moves_by(dtype, size):
    """As rounded in z + v: a decoder that only copies has no bend, however small the step is."""
    z, step = jnp.array(100.0 * MEAN, dtype), size * jnp.array(STDDEV, dtype)
    _, tangent, bend = objectives.decoder_bend(lambda z: jnp.concatenate([z, -z]), z, step)
    assert tangent.dtype == bend.dtype == jnp.float32
    np.testing.assert_array_equal(bend, 0.0)
    moved = (z + step).astype(jnp.float32) - z.astype(jnp.float32)
    np.testing.assert_array_equal(tangent, jnp.concatenate([moved, -moved]))


@pytest.mark.parametrize("family", ["diagonal", "full"])
def test_the_mean_and_its_gradient_are_those_of_gaussian_moments(float64, family):
    """10,000 draws, value and gradient in the deviations within 4 standard errors."""
    full = family == "full"
    factor = TRIL if full else np.diag(STDDEV)
    likelihood = likelihoods.Gaussian(jnp.array(VARIANCE))

    def penalty(given, key):
        q = (FullCovarianceGaussian if full else DiagonalGaussian)(jnp.array(MEAN), given)
        return objectives.bend_penalty(key, _quadratic, jnp.zeros(N), q, likelihood)

    keys = jax.random.split(jax.random.key(1), 10_000)
    given = jnp.array(TRIL if full else STDDEV)
    with jax.numpy_rank_promotion("allow"):
        values, grads = jax.jit(jax.vmap(jax.value_and_grad(penalty), (None, 0)))(given, keys)

    def closed(given):
        return _expected(jnp.tril(given) if full else jnp.diag(given), numpy=jnp)

    for draws, expected in ((values, _expected(factor)), (grads, jax.grad(closed)(given))):
        error = np.std(draws, axis=0, ddof=1) / np.sqrt(len(draws))
        assert np.all(np.abs(np.mean(draws, axis=0) - expected) <= 4 * error)
    assert 4 * np.std(values) / 100 < 0.2 * _expected(factor)


def test_more_samples_are_a_mean_and_have_less_noise(float64):
    q, likelihood = (
        DiagonalGaussian(jnp.array(MEAN), jnp.array(STDDEV)),
        likelihoods.Gaussian(0.5),
    )

    @jax.jit
    def draws(keys):
        def penalty(key):
            return objectives.bend_penalty(
                key, _quadratic, jnp.zeros(N), q, likelihood, num_samples=4000
            )

        return jax.lax.map(penalty, keys)

    with jax.numpy_rank_promotion("allow"):
        values = draws(jax.random.split(jax.random.key(2), 4))
    expected = _expected(np.diag(STDDEV), variance=0.5)
    np.testing.assert_allclose(values, expected, rtol=0.2)


def _wavy(z):
    return jnp.tanh(jnp.array([1.5, -0.8]) * (z[0] ** 2 + z[0])) + jnp.array([0.0, 0.3]) * z[0]


@functools.cache
def _squares(decode, mean, stddev):
    """E|x - f(mu) - J v|^2, E|b|^2 and E|x - f(z)|^2, by the trapezoidal rule; and the ELBO."""
    nodes = np.linspace(-10.0, 10.0, 4001)
    mass = np.exp(-0.5 * nodes**2)

    @jax.jit
    def at(nodes):
        center, width = jnp.array([mean]), jnp.array([stddev])

        def of(node):
            value, tangent, bend = objectives.decoder_bend(decode, center, width * node)
            errors = kinked.X - value - tangent, bend, kinked.X - decode(center + width * node)
            return [jnp.sum(jnp.square(error)) for error in errors]

        given = decode, jnp.array(kinked.X), center, width
        elbo = objectives.linearized_elbo(*given, observation_variance=kinked.VARIANCE)
        return jax.vmap(of)(nodes), elbo

    parts, elbo = at(jnp.array(nodes))
    return [np.array(part) @ mass / mass.sum() for part in parts], elbo


REGIMES = tuple(kinked.REGIMES.values())


@pytest.mark.parametrize("decode", [kinked.decode, _wavy])
@pytest.mark.parametrize(("mean", "stddev"), REGIMES[1:])
def test_the_bounds_that_the_penalty_gives(float64, decode, mean, stddev):
    """Minkowski's, and that of a wider likelihood."""
    (linear, bent, true), elbo = _squares(decode, mean, stddev)
    c = kinked.VARIANCE
    assert abs(linear**0.5 - bent**0.5) <= true**0.5 <= linear**0.5 + bent**0.5
    normal = -np.log(2 * np.pi * c)  # n = 2
    np.testing.assert_allclose(elbo.log_likelihood, normal - linear / (2 * c), rtol=1e-6)
    for weight in (0.3, 1.0, 5.0, 40.0):
        wider = c * (1 + 1 / weight)
        bound = elbo.value - weight * bent / (2 * c) - np.log(1 + 1 / weight)
        assert bound <= -np.log(2 * np.pi * wider) - true / (2 * wider) - elbo.kl + 1e-12
    # With weight 1 the value is closer exactly where it is too high by half the penalty.
    excess, penalty = (true - linear) / (2 * c), bent / (2 * c)
    assert (abs(excess - penalty) < abs(excess)) == (excess > 0.5 * penalty)


def test_the_numbers_of_the_documentation(float64, root):
    lines = (root / "docs" / "linearised.md").read_text().splitlines()
    found = [
        np.array(_squares(kinked.decode, *regime)[0]) / (2 * kinked.VARIANCE) for regime in REGIMES
    ]
    residuals = [
        np.sum(np.square(kinked.X - kinked.decode(np.array([mean])))) for mean, _ in REGIMES
    ]
    rows = {
        "tangent, E_q": [a[0] - r / 0.2 for a, r in zip(found, residuals, strict=True)],
        "bend |": [bent for _, bent, _ in found],
        "`linearized` with `bend_weight` 1": [true - a - bent for a, bent, true in found],
    }
    for start, expected in rows.items():
        row = next(line for line in lines if line.startswith(f"| {start}"))
        quoted = [float(cell) for cell in row.strip("| ").split("|")[1:]]
        np.testing.assert_allclose(quoted, expected, atol=6e-5)


def test_other_likelihoods_weigh_the_bend_by_their_information(float64):
    """Bernoulli: p (1 - p) at the mean; the step is that of the posterior's own noise."""
    q = DiagonalGaussian(jnp.array(MEAN), jnp.array(STDDEV))
    x, key = jnp.array([1.0, 0.0, 1.0, 1.0]), jax.random.key(3)
    obtained = objectives.bend_penalty(key, _quadratic, x, q, likelihoods.Bernoulli())
    (own,) = jax.random.split(key, 1)
    step = STDDEV * np.array(jax.random.normal(own, (M,)))
    bend = 0.5 * np.einsum("kij,i,j", CURVES, step, step)
    p = 1 / (1 + np.exp(-np.array(_quadratic(jnp.array(MEAN)))))
    np.testing.assert_allclose(obtained, 0.5 * np.sum(p * (1 - p) * bend**2), rtol=1e-10)


BATCH = 5
X = jnp.float32(_rng.normal(size=(BATCH, N)))
Q = DiagonalGaussian(
    jnp.float32(_rng.normal(size=(BATCH, M))), jnp.float32(_rng.uniform(0.2, 0.6, (BATCH, M)))
)


@pytest.mark.parametrize("name", ["sampling_free", "linearized"])
def test_the_loss_of_a_batch_has_the_weighted_bend(name):
    """The metric is unweighted, and example i draws from a key of its own, `fold_in(rng, i)`."""
    likelihood, rng = likelihoods.Gaussian(0.5), jax.random.key(0)

    @jax.jit
    def look():
        plain, weighted = (
            batch_loss(name, rng, _quadratic, X, Q, likelihood, bend_weight=weight, beta=0.5)
            for weight in (0.0, 3.0)
        )
        keys = jax.vmap(jax.random.fold_in, (None, 0))(rng, jnp.arange(BATCH))
        keys = jax.vmap(jax.random.fold_in, (0, None))(keys, 2**31 - 3)
        each = jax.vmap(
            lambda key, x, q: objectives.bend_penalty(key, _quadratic, x, q, likelihood)
        )(keys, X, Q)
        return plain, weighted, each

    with jax.numpy_rank_promotion("allow"):
        (plain, without), (loss, metrics), each = look()
    assert set(metrics) - set(without) == {"bend"}
    np.testing.assert_allclose(loss, plain + 3.0 * metrics["bend"], rtol=1e-6)
    np.testing.assert_allclose(metrics["bend"], each.mean(), rtol=1e-5)
    assert np.ptp(each) > 0.01
    for key in without:
        np.testing.assert_allclose(metrics[key], without[key], rtol=1e-6)


def test_a_config_trains_with_the_same_loss(tiny_config):
    """The weight, the key of each example and the metric are those of `batch_loss`."""
    options = {"objective.name": "linearized", "objective.bend_weight": 2.0}
    loss = build_loss(resolve(tiny_config(**options, **{"likelihood.variance": 0.5})), None)

    @jax.jit
    def both(rng):
        functions = Functions(
            encode=lambda x: DiagonalGaussian(x[:M], 0.3 + jnp.square(x[1:])),
            decode=_quadratic,
            decoder_params={},
        )
        q = jax.vmap(functions.encode)(X)
        given = rng, _quadratic, X, q, likelihoods.Gaussian(0.5)
        trained = loss(rng, functions, X, Weights(gamma=0.5, beta=1.0, entropy=1.0))
        return trained, batch_loss("linearized", *given, bend_weight=2.0)

    with jax.numpy_rank_promotion("allow"):
        (obtained, metrics), (expected, others) = both(jax.random.key(1))
    np.testing.assert_allclose(obtained, expected, rtol=1e-6)
    np.testing.assert_allclose(metrics["bend"], others["bend"], rtol=1e-6)


def test_gradients_straighten_the_decoder_and_narrow_the_posterior():
    """By Euler's theorem: b is quadratic in the deviations and linear in the curves."""

    def bend(stddev, curves):
        def decode(z):
            return jnp.array(LINEAR, z.dtype) @ z + 0.5 * jnp.einsum("kij,i,j->k", curves, z, z)

        q = DiagonalGaussian(Q.mean, stddev)
        given = (X, q, likelihoods.Gaussian(0.5))
        _, metrics = batch_loss("linearized", jax.random.key(0), decode, *given, bend_weight=1.0)
        return metrics["bend"]

    curves = jnp.float32(CURVES)
    with jax.numpy_rank_promotion("allow"):
        value, (of_stddev, of_curves) = jax.jit(jax.value_and_grad(bend, (0, 1)))(Q.stddev, curves)
    np.testing.assert_allclose(jnp.sum(of_stddev * Q.stddev), 4.0 * value, rtol=1e-3)
    np.testing.assert_allclose(jnp.sum(of_curves * curves), 2.0 * value, rtol=1e-3)


def test_posteriors_in_bfloat16_give_float32():
    def bend(q):
        likelihood = likelihoods.Gaussian(0.5)
        return objectives.bend_penalty(
            jax.random.key(0), _quadratic, X[0], q, likelihood, num_samples=50
        )

    q = jax.tree.map(lambda leaf: leaf[0], Q)
    with jax.numpy_rank_promotion("allow"):
        found = jax.jit(bend)(jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), q))
        expected = jax.jit(bend)(q)
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, expected, rtol=0.1)


def test_what_does_not_fit_is_refused(tiny_config):
    key, q, gaussian = jax.random.key(0), jax.tree.map(lambda a: a[0], Q), likelihoods.Gaussian(1.0)
    flow = PlanarFlow(q.mean, q.stddev, *(jnp.ones((1, M)),) * 2, jnp.ones(1))
    given = (key, _quadratic, X[0])
    for arguments, message in (
        ((*given, flow, gaussian), "posterior must have a method deviation"),
        ((*given, q, object()), "likelihood must have a method information"),
    ):
        with pytest.raises(objectives.ArgumentError, match=message):
            objectives.bend_penalty(*arguments)
    with pytest.raises(objectives.ArgumentError, match="num_samples must be at least 1"):
        objectives.bend_penalty(*given, q, gaussian, num_samples=0)
    with pytest.raises(objectives.ArgumentError, match="step must have shape"):
        objectives.decoder_bend(_quadratic, jnp.zeros(M), jnp.zeros(2))
    with pytest.raises(objectives.ArgumentError, match="bend_weight only applies to sampling_free"):
        batch_loss("sampling", key, _quadratic, X, Q, gaussian, bend_weight=1.0)
    for name, weight in itertools.product(("sampling", "iwae"), (0.0, 1.0)):
        config = tiny_config(**{"objective.name": name, "objective.bend_weight": weight})
        if weight:
            with pytest.raises(UsageError, match=r"objective\.bend_weight only applies to"):
                resolve(config)
        else:
            resolve(config)
