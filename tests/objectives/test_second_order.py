"""The second-order ELBO: Gaussian algebra, quadrature, samples, and the order of what it misses."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special

from sfvae_jax import objectives
from sfvae_jax.grammars import Grammar, rule_tables, sequence_grammar
from sfvae_jax.likelihoods import Bernoulli, Categorical, Gaussian, Sequence

RNG = np.random.default_rng(0)
SUMS = Grammar('s -> s "+" t | t\nt -> "x" | "(" s ")" | "1"')
LAYERS = sequence_grammar(("conv", "pool"), separator=" ")
X = np.array([*SUMS.parse("x+1"), SUMS.padding])
T, K, M = len(X), SUMS.size, 2
WEIGHTS, OFFSET = RNG.normal(size=(T, K, M)), RNG.normal(size=(T, K))
MEAN, STDDEV = np.array([0.4, -0.7]), np.array([0.5, 0.3])
INPUT, STATE = RNG.normal(size=(2, 3, 3, M)), RNG.normal(size=(2, 3, 3, 3))
OUTPUT = RNG.normal(size=(T, K, 3))
LIKELIHOOD = Categorical(rule_tables(SUMS))


def _linear(z):
    return jnp.array(WEIGHTS) @ z + jnp.array(OFFSET)


def _recurrent(z):
    """A gated unit that runs on its own state, then a dense layer at each place."""
    state, logits = jnp.zeros(3), []
    for weights in OUTPUT:
        gate, candidate = (
            jnp.array(of_input[0]) @ z + jnp.array(of_state[0]) @ state
            for of_input, of_state in zip(INPUT, STATE, strict=True)
        )
        gate = jax.nn.sigmoid(gate)
        state = gate * state + (1.0 - gate) * jnp.tanh(candidate)
        logits.append(jnp.array(weights) @ state)
    return jnp.stack(logits)


def _exact(decode, likelihood, x, mean, stddev, points=60):
    """E_q log p(x|z) by a product of Gauss-Hermite rules."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(points)
    grid = np.stack(np.meshgrid(*[nodes] * len(mean), indexing="ij"), -1).reshape(-1, len(mean))
    product = np.prod(np.stack(np.meshgrid(*[weights] * len(mean))), axis=0).ravel()
    values = jax.vmap(lambda e: likelihood.log_prob(x, decode(mean + stddev * e)))(jnp.array(grid))
    return values @ jnp.array(product / product.sum())


def _obtained(decode, likelihood, x, mean, stddev):
    return objectives.second_order_elbo(decode, x, mean, stddev, likelihood).log_likelihood


@pytest.mark.parametrize("variance", [0.3, np.array([[0.1, 2.0], [0.5, 1.0]])])
def test_for_a_gaussian_it_is_the_linearised_elbo(float64, variance):
    """All parts and gradients, of a curved decoder and under a prior of its own."""

    def decode(weights, z):
        return jnp.tanh(weights @ z + 0.3 * (z @ z)).reshape(2, 2)

    @jax.jit
    def both(weights, x, mean, stddev, variance):
        def parts(elbo):
            return jax.tree.leaves(elbo)

        def second(weights, stddev):
            return objectives.second_order_elbo(
                lambda z: decode(weights, z), x, mean, stddev, Gaussian(variance), prior_stddev=1.7
            )

        def linearized(weights, stddev):
            return objectives.linearized_elbo(
                lambda z: decode(weights, z),
                x,
                mean,
                stddev,
                observation_variance=variance,
                prior_stddev=1.7,
            )

        def everything(elbo):
            grads = jax.grad(lambda *given: elbo(*given).value, (0, 1))(weights, stddev)
            return parts(elbo(weights, stddev)), grads

        return everything(second), everything(linearized)

    arguments = RNG.normal(size=(4, M)), RNG.normal(size=(2, 2)), MEAN, STDDEV, variance
    second, linearized = both(*map(jnp.array, arguments))
    assert len(second[0]) == 4
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12), second, linearized)


def _own_bend(decode, mean, stddev):
    """1/2 sum_i s_i^2 g' d^2 theta / d z_i^2, g the gradient of log p in the logits."""
    slope = jax.grad(LIKELIHOOD.log_prob, 1)(jnp.array(X), decode(mean))
    curvature = jnp.diagonal(jax.hessian(decode)(mean), axis1=2, axis2=3)
    return 0.5 * jnp.einsum("tk,tki,i->", slope, curvature, jnp.square(stddev))


@pytest.mark.parametrize("decode", [_linear, pytest.param(_recurrent, marks=pytest.mark.slow)])
def test_samples_agree_where_the_posterior_is_narrow(float64, keys, decode):
    """100,000 draws at stddev of 0.05 and 0.03: within 4 standard errors, below 3e-4 nats.

    Less the recurrent decoder's own bend, which the second order leaves out.
    """
    mean, stddev = jnp.array(MEAN), jnp.array(0.1 * STDDEV)

    @jax.jit
    def values(key):
        noise = stddev * jax.random.normal(key, (50_000, 1, M))
        z = mean + jnp.concatenate([noise, -noise], axis=1)  # pairs: no linear term
        log_prob = jax.vmap(jax.vmap(lambda z: LIKELIHOOD.log_prob(jnp.array(X), decode(z))))
        at_mean = LIKELIHOOD.log_prob(jnp.array(X), decode(mean))
        obtained = _obtained(decode, LIKELIHOOD, jnp.array(X), mean, stddev)
        return log_prob(z), at_mean, obtained, _own_bend(decode, mean, stddev)

    with jax.numpy_rank_promotion("allow"):
        draws, at_mean, obtained, bend = map(np.asarray, values(next(keys)))
    pairs = draws.mean(axis=1)
    error = pairs.std(ddof=1) / np.sqrt(len(pairs))
    assert 4 * error < 3e-4
    assert abs(obtained + bend - pairs.mean()) < 4 * error
    assert abs(at_mean + bend - pairs.mean()) > 8 * error  # what the second order adds is seen


def test_the_order_of_what_is_missed(float64):
    """By quadrature in two latents. Linear: s^4. Recurrent: s^2, by the decoder's own bend.

    The scales are of stddev 0.5 and 0.3.
    """
    scales = np.array([0.1, 0.05, 0.025, 0.0125])

    @jax.jit
    def errors(mean, stddev):
        def error(decode, stddev):
            arguments = LIKELIHOOD, jnp.array(X), mean, stddev
            return _obtained(decode, *arguments) - _exact(decode, *arguments, points=12)

        found = [[error(decode, s * stddev) for s in scales] for decode in (_linear, _recurrent)]
        return found, -_own_bend(_recurrent, mean, stddev)

    (linear, recurrent), missed = errors(jnp.array(MEAN), jnp.array(STDDEV))
    orders = np.log2(np.abs(np.array(linear)[:-1] / np.array(linear)[1:]))
    np.testing.assert_allclose(orders[1:], 4.0, atol=0.5)
    np.testing.assert_allclose(orders[-1], 4.0, atol=0.1)
    assert abs(missed) > 0.01
    np.testing.assert_allclose(np.array(recurrent[-2:]) / scales[-2:] ** 2, missed, rtol=0.05)
    np.testing.assert_allclose(recurrent[-1] / scales[-1] ** 2, missed, rtol=0.01)


def _line(weights, offset):
    return lambda z: jnp.array([offset]) + jnp.array([weights]) * z[0]


def _three_errors(offset, stddevs, weights=(1.0, 0.0, -2.0)):
    """Approximation less truth at one place of three, one latent, by quadrature in NumPy."""
    nodes, mass = np.polynomial.hermite_e.hermegauss(200)
    mass, errors = mass / mass.sum(), []
    obtained = jax.jit(
        lambda stddev: _obtained(
            _line(weights, offset), Categorical(), jnp.array([0]), jnp.zeros(1), stddev[None]
        )
    )
    for stddev in stddevs:
        logits = np.array(offset) + np.outer(stddev * nodes, weights)
        exact = mass @ scipy.special.log_softmax(logits, axis=1)[:, 0]
        errors.append(float(obtained(jnp.array(stddev))) - exact)
    return np.array(errors)


def test_one_latent_misses_the_fourth_cumulant(float64):
    """s^4/8 kappa_4, of either sign: too low where rules are alike, too high where one is sure."""
    for offset, sign in (((0.0, 0.0, 0.0), -1), ((4.0, 0.0, 0.0), 1)):
        weights = np.array([1.0, 0.0, -2.0])
        p = scipy.special.softmax(offset)
        centred = weights - p @ weights
        cumulant = p @ centred**4 - 3.0 * (p @ centred**2) ** 2
        obtained = _three_errors(offset, [0.05])
        np.testing.assert_allclose(obtained, 0.05**4 / 8.0 * cumulant, rtol=0.03)
        assert np.sign(obtained[0]) == sign


def test_a_wide_posterior_makes_it_too_low_without_limit(float64):
    """The truth falls as s, the value as s^2; a sure decoder is too sure in between."""
    alike = _three_errors((0.0, 0.0, 0.0), [1.0, 4.0, 16.0])
    assert np.all(np.diff(alike) < 0.0)
    assert alike[-1] / alike[-2] > 8.0
    sure = _three_errors((8.0, 0.0, 0.0), [1.0, 4.0, 2.0**14])
    assert sure[1] > 0.3
    assert sure[2] < 0.0


@pytest.mark.parametrize("first", [0.0, 4.0, 8.0])
def test_the_errors_in_the_documentation(float64, root, first):
    lines = (root / "docs" / "second_order.md").read_text().splitlines()
    row = next(line for line in lines if line.startswith(f"| {first:.0f}, 0, 0 |"))
    documented = [float(cell) for cell in row.strip("|").split("|")[1:]]
    obtained = _three_errors((first, 0.0, 0.0), [0.5, 1.0, 2.0, 4.0])
    np.testing.assert_allclose(obtained, documented, atol=6e-5)


@pytest.mark.parametrize("name", ["bernoulli", "sequence"])
def test_other_likelihoods_by_quadrature(float64, name):
    """Two latents, stddev 0.05 and 0.03; a pair of outputs, too."""
    if name == "bernoulli":
        likelihood, x = Bernoulli(), jnp.array([[1.0, 0.0, 1.0]])
        decode = lambda z: jnp.array(WEIGHTS[:1, :3]) @ z  # noqa: E731
    else:
        likelihood = Sequence(rule_tables(LAYERS), 0.3)
        rules = [*LAYERS.parse("pool conv"), LAYERS.padding]
        x = jnp.array(np.stack([rules, [0.3, 0.9, 0.0, 0.0]], axis=1))

        def decode(z):
            return jnp.array(WEIGHTS[:4, : LAYERS.size]) @ z, jnp.array(OFFSET[:4, :M]) @ z

    arguments = likelihood, x, jnp.array(MEAN), jnp.array(0.1 * STDDEV)
    obtained, expected, center = jax.jit(
        lambda *given: (
            _obtained(decode, likelihood, x, *given),
            _exact(decode, likelihood, x, *given, points=12),
            likelihood.log_prob(x, decode(given[0])),
        )
    )(*arguments[2:])
    np.testing.assert_allclose(obtained, expected, atol=1e-5)
    assert abs(center - expected) > 1e-4


def test_gradients_are_those_of_the_exact_expectation(float64):
    """In mean, stddev and the decoder's weights, of a linear decoder, where it is narrow."""

    @jax.jit
    def grads(weights, mean, stddev):
        def value(function, weights, mean, stddev):
            return function(lambda z: weights @ z, LIKELIHOOD, jnp.array(X), mean, stddev)

        return [
            jax.grad(lambda *given, f=f: value(f, *given), (0, 1, 2))(weights, mean, stddev)
            for f in (_obtained, lambda *given: _exact(*given, points=12))
        ]

    obtained, expected = grads(jnp.array(WEIGHTS), jnp.array(MEAN), jnp.array(0.1 * STDDEV))
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=5e-3, atol=1e-4), obtained, expected
    )


def test_shapes_that_do_not_fit_are_refused():
    for mean, stddev in ((jnp.zeros(2), jnp.ones(3)), (jnp.zeros((1, 2)), jnp.ones((1, 2)))):
        with pytest.raises(objectives.ArgumentError):
            objectives.second_order_elbo(_linear, jnp.array(X), mean, stddev, LIKELIHOOD)
