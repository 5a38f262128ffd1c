"""The control variate: without bias, without noise on linear decoders, less noise on others."""

import functools

import jax
import jax.numpy as jnp
import kinked_decoder as kinked
import numpy as np
import optax
import pytest

from sfvae_jax import likelihoods, objectives, posteriors
from sfvae_jax.objectives import control_variate, monte_carlo

N, M = 6, 2
_rng = np.random.default_rng(0)
WEIGHTS = _rng.normal(size=(N, M))
X = np.linspace(-0.6, 0.9, N)
MEAN, STDDEV, VARIANCE = np.array([0.4, -0.2]), np.array([0.8, 0.3]), 0.3
FACTOR = np.array([[0.8, 0.0], [-0.35, 0.3]])
GAUSSIAN = likelihoods.Gaussian(VARIANCE)
POSTERIORS = {
    "diagonal": lambda mean, factor: posteriors.DiagonalGaussian(mean, jnp.diagonal(factor)),
    "full_covariance": posteriors.FullCovarianceGaussian,
}
SIGNS = np.array([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])


def _linear(z):
    return jnp.array(WEIGHTS, z.dtype) @ z


def _curved(z, weights):
    """A decoder that bends: a hidden layer of tanh, and a square."""
    hidden = jnp.tanh(weights @ z)
    return hidden + 0.3 * jnp.roll(hidden, 1) ** 2


def _draws(number, decode=_linear, likelihood=GAUSSIAN, x=X, family="diagonal", **options):
    """Expected log likelihoods of many keys."""
    q = POSTERIORS[family](jnp.array(MEAN), jnp.array(FACTOR))
    x = jnp.array(x)

    @jax.jit
    @jax.vmap
    def draw(key):
        return objectives.control_variate_elbo(
            key, decode, x, q, likelihood, **options
        ).log_likelihood

    return np.asarray(draw(jax.random.split(jax.random.key(1), number)), np.float64)


def _covariance(family):
    return np.diag(STDDEV**2) if family == "diagonal" else FACTOR @ FACTOR.T


def _closed_form(family):
    """E_q log N(x; W z, c I) of a linear decoder."""
    residual = X - WEIGHTS @ MEAN
    spread = np.trace(WEIGHTS @ _covariance(family) @ WEIGHTS.T)
    return -0.5 * (N * np.log(2 * np.pi * VARIANCE) + (residual @ residual + spread) / VARIANCE)


@pytest.mark.parametrize("antithetic", [False, True])
@pytest.mark.parametrize("family", POSTERIORS)
def test_a_linear_decoder_has_no_noise(float64, family, antithetic):
    draws = _draws(50, family=family, num_samples=2, antithetic=antithetic)
    np.testing.assert_allclose(draws, _closed_form(family), rtol=1e-13)


def test_in_32_bits_the_noise_of_a_linear_decoder_is_rounding():
    np.testing.assert_allclose(_draws(50), _closed_form("diagonal"), rtol=3e-6)


@pytest.mark.parametrize(("num_samples", "num_probes"), [(1, 1), (1, 4), (2, 3)])
def test_the_noise_of_probes(num_samples, num_probes):
    """Mean and variance of 40,000 draws on a linear decoder, within 4 standard errors of theory.

    With M = L'W'W L / c, s samples and k directions of each, what is left is minus half of the
    estimate of tr M from all s k directions. N(0, I) has Var u'M u = 2 |M|^2 and signs have
    2 sum_{i != j} M_ij^2, so that the variance is [|M|^2 + (k - 1) sum_{i != j} M_ij^2]/(2 s k^2).
    """
    draws = _draws(40_000, num_samples=num_samples, num_probes=num_probes)
    shape = WEIGHTS * STDDEV
    form = shape.T @ shape / VARIANCE
    off_diagonal = np.sum(form**2) - np.sum(np.diagonal(form) ** 2)
    variance = np.sum(form**2) + (num_probes - 1) * off_diagonal
    variance /= 2 * num_samples * num_probes**2
    centered = draws - np.mean(draws)
    assert abs(np.mean(draws) - _closed_form("diagonal")) < 4 * np.std(draws) / 200
    assert abs(np.mean(centered**2) - variance) < 4 * np.std(centered**2) / 200
    assert 4 * np.std(centered**2) / 200 < 0.2 * variance


def _grid(size=24):
    """Nodes [size^2, 2] and weights of a quadrature of N(0, I) in two dimensions."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(size)
    grid = np.stack(np.meshgrid(nodes, nodes), axis=-1).reshape(-1, 2)
    return jnp.array(grid), jnp.array(np.outer(weights, weights).ravel() / (2 * np.pi))


LIKELIHOODS = {
    "gaussian": (GAUSSIAN, X),
    "per_pixel": (likelihoods.Gaussian(jnp.linspace(0.2, 0.7, N)), X),
    "bernoulli": (likelihoods.Bernoulli(), np.array([0.0, 1.0, 1.0, 0.0, 1.0, 0.3])),
}


@pytest.mark.parametrize(
    ("likelihood", "family", "options"),
    [
        ("gaussian", "diagonal", {}),
        ("gaussian", "full_covariance", {"antithetic": True, "num_samples": 2}),
        ("per_pixel", "full_covariance", {"num_probes": 5}),
        ("bernoulli", "full_covariance", {}),
        ("bernoulli", "diagonal", {"num_probes": 5}),
    ],
)
def test_the_expectation_is_the_elbo(float64, monkeypatch, likelihood, family, options):
    """Value and gradients, by quadrature over the noise and over all signs of the probes.

    What is subtracted is of second order in the noise, so that the quadrature finds its mean
    exactly, and both sides have the same error for what is left.
    """
    p, x = LIKELIHOODS[likelihood]
    x = jnp.array(x)
    nodes, node_weights = _grid()
    monkeypatch.setattr(control_variate, "probe_signs", lambda *_: jnp.array(SIGNS))

    def estimate(mean, factor, weights):
        def at(node):
            pair = jnp.stack([node, -node]) if "antithetic" in options else node[None]
            monkeypatch.setattr(control_variate, "noise_of_samples", lambda *_: pair)
            q, key = POSTERIORS[family](mean, factor), jax.random.key(0)
            decode = functools.partial(_curved, weights=weights)
            return objectives.control_variate_elbo(key, decode, x, q, p, **options).log_likelihood

        return node_weights @ jax.vmap(at)(nodes)

    def exact(mean, factor, weights):
        scale = jnp.diag(jnp.diagonal(factor)) if family == "diagonal" else jnp.tril(factor)
        at = jax.vmap(lambda node: p.log_prob(x, _curved(mean + scale @ node, weights)))
        return node_weights @ at(nodes)

    both = [jax.value_and_grad(f, (0, 1, 2)) for f in (estimate, exact)]
    given = jnp.array(MEAN), jnp.array(FACTOR), jnp.array(WEIGHTS)
    obtained, expected = jax.jit(lambda *given: [f(*given) for f in both])(*given)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9), obtained, expected
    )


# Mean and deviation of the posterior: the standard deviations in docs/noise.md, in nats.
KINKED = {
    (1.5, 0.05): (0.22608, 0.02210, 0.02210, 0.00000, 0.00000),
    (1.1, 0.3): (1.07214, 1.00949, 1.03663, 0.32255, 0.22026),
    (0.5, 1.0): (12.52501, 8.44075, 9.46830, 10.20831, 9.26322),
    (1.2, 1.0): (9.36592, 9.33998, 9.42176, 1.53653, 0.90918),
}


@pytest.mark.parametrize("moments", KINKED)
def test_noise_near_kinks(float64, monkeypatch, root, moments):
    """One latent and a decoder of two ReLUs, on a fine grid of the noise."""
    nodes = jnp.linspace(-12.0, 12.0, 240_001)
    weights = jnp.exp(-0.5 * nodes**2) / jnp.sum(jnp.exp(-0.5 * nodes**2))
    q = posteriors.DiagonalGaussian(*(jnp.array([value]) for value in moments))
    p, x, decode = likelihoods.Gaussian(kinked.VARIANCE), jnp.array(kinked.X), kinked.decode

    def estimate(function, **options):
        def at(node):
            noise = jnp.array([[node], [-node]] if options.get("antithetic") else [[node]])
            for module in (monte_carlo, control_variate):
                monkeypatch.setattr(module, "noise_of_samples", lambda *_: noise)
            return function(jax.random.key(0), decode, x, q, p, **options).log_likelihood

        return jax.jit(jax.vmap(at))(nodes)

    pair = {"num_samples": 2, "antithetic": True}
    estimates = [
        jax.vmap(lambda node: p.log_prob(x, decode(moments[0] + moments[1] * node)))(
            nodes[:, None]
        ),
        estimate(objectives.sampling_elbo, **pair),
        estimate(objectives.control_variate_elbo, num_probes=1),
        estimate(objectives.control_variate_elbo),
        estimate(objectives.control_variate_elbo, **pair),
    ]
    obtained = [jnp.sqrt(weights @ (values - weights @ values) ** 2) for values in estimates]
    np.testing.assert_allclose(obtained, KINKED[moments], atol=2e-5)
    page = (root / "docs" / "noise.md").read_text()
    column = list(KINKED).index(moments)
    rows = page.partition("| `sampling`, one sample |")[2].splitlines()[:5]
    cells = [row.split("|")[-5 + column] for row in rows]
    assert [float(cell) for cell in cells] == list(KINKED[moments])


def _trained(loss, params, steps):
    """Parameters after some steps of Adam, which gain more than a nat."""
    optimizer = optax.adam(0.01)

    def step(carry, _):
        params, state = carry
        value, grads = jax.value_and_grad(loss)(params)
        updates, state = optimizer.update(grads, state)
        return (optax.apply_updates(params, updates), state), value

    carry = params, optimizer.init(params)
    (params, _), losses = jax.jit(lambda: jax.lax.scan(step, carry, length=steps))()
    assert not steps or losses[-1] < losses[0] - 1.0
    return params


@pytest.mark.parametrize(
    ("function", "options"),
    [
        ("control_variate_elbo", {}),
        ("control_variate_elbo", {"num_probes": 2}),
        ("control_variate_elbo", {"num_samples": 2, "antithetic": True, "num_probes": 2}),
        ("sampling_elbo", {"num_samples": 2, "antithetic": True}),
    ],
)
@pytest.mark.parametrize("steps", [0, 300])
def test_mean_value_and_gradient_of_draws(function, options, steps):
    """10,000 draws are within 4 standard errors of the quadrature, in every component.

    So they are before training and after it, at the best decoder and posterior of one example.
    """
    nodes, node_weights = _grid()

    def value(key, mean, factor, weights):
        decode = functools.partial(_curved, weights=weights)
        q = posteriors.FullCovarianceGaussian(mean, factor)
        elbo = getattr(objectives, function)(key, decode, jnp.array(X), q, GAUSSIAN, **options)
        return elbo.log_likelihood

    def exact(mean, factor, weights):
        def at(node):
            z = mean + jnp.tril(factor) @ node
            return GAUSSIAN.log_prob(jnp.array(X), _curved(z, weights))

        return node_weights @ jax.vmap(at)(nodes)

    def loss(given):
        mean, factor, _ = given
        return posteriors.FullCovarianceGaussian(mean, factor).kl_to_prior() - exact(*given)

    given = _trained(loss, (jnp.array(MEAN), jnp.array(FACTOR), jnp.array(WEIGHTS)), steps)
    keys = jax.random.split(jax.random.key(2), 10_000)
    of_keys = jax.vmap(jax.value_and_grad(value, (1, 2, 3)), (0, None, None, None))
    draws, expected = jax.jit(
        lambda: (of_keys(keys, *given), jax.value_and_grad(exact, (0, 1, 2))(*given))
    )()
    for drawn, known in zip(jax.tree.leaves(draws), jax.tree.leaves(expected), strict=True):
        drawn = np.asarray(drawn, np.float64)
        error = np.abs(np.mean(drawn, axis=0) - known)
        assert np.all(error <= 4 * np.std(drawn, axis=0) / 100 + 1e-4)


def test_less_noise_in_the_gradient_than_a_sample(keys):
    """Where the posterior is narrow: a twentieth of the variance, of mean and weights apart.

    The variance of 2,000 draws is known to a few percent, and the factors found are below 0.01.
    """
    x, weights = jnp.array(_curved(MEAN, WEIGHTS)) + 0.1, jnp.array(WEIGHTS)

    def variances(function):
        def value(mean, weights, key):
            decode = functools.partial(_curved, weights=weights)
            q = posteriors.DiagonalGaussian(mean, 0.1 * jnp.array(STDDEV))
            return function(key, decode, x, q, likelihoods.Gaussian(0.01)).value

        gradient = jax.vmap(jax.grad(value, (0, 1)), (None, None, 0))
        draws = jax.jit(gradient)(jnp.array(MEAN), weights, jax.random.split(next(keys), 2000))
        return np.array([np.sum(np.var(draw, axis=0)) for draw in draws])

    ratio = variances(objectives.control_variate_elbo) / variances(objectives.sampling_elbo)
    assert np.all(ratio < 0.05)


def test_pairs_of_first_order_are_pairs_of_samples():
    """With pairs and one direction nothing is left to subtract."""
    q = posteriors.DiagonalGaussian(jnp.array(MEAN), jnp.array(STDDEV))
    given = (jax.random.key(0), _linear, jnp.array(X), q, GAUSSIAN)
    options = {"num_samples": 4, "antithetic": True}
    first = objectives.control_variate_elbo(*given, num_probes=1, **options)
    assert first.value == objectives.sampling_elbo(*given, **options).value


def test_a_pair_is_on_opposite_sides_of_the_mean():
    """The samples of `antithetic=False`, each with its image, and log p linear in z."""

    class Sum:
        def log_prob(self, x, parameters):
            return jnp.sum(parameters) - jnp.sum(x)

    q = posteriors.FullCovarianceGaussian(jnp.array(MEAN), jnp.array(FACTOR))
    given = (jax.random.key(0), _linear, jnp.array(X), q, Sum())
    paired = objectives.sampling_elbo(*given, num_samples=6, antithetic=True)
    expected = np.sum(WEIGHTS @ MEAN) - np.sum(X)
    np.testing.assert_allclose(paired.log_likelihood, expected, rtol=1e-5)
    assert abs(objectives.sampling_elbo(*given, num_samples=6).log_likelihood - expected) > 0.01
    assert paired.kl == objectives.sampling_elbo(*given).kl


@pytest.mark.parametrize("options", [{}, {"num_probes": 2}])
def test_a_dense_output_layer_gives_the_same(float64, options):
    kernel = jnp.array(_rng.normal(size=(3, 40)))
    first = jnp.array(_rng.normal(size=(3, M)))
    decode = objectives.DenseOutput(lambda z: jnp.tanh(first @ z), kernel, batch_size=1000)
    assert objectives.has_short_form(decode, M)
    x = jnp.linspace(-1.0, 1.0, 40)

    def value(decode):
        q = posteriors.FullCovarianceGaussian(jnp.array(MEAN), jnp.array(FACTOR))
        key = jax.random.key(0)
        return objectives.control_variate_elbo(key, decode, x, q, GAUSSIAN, **options).value

    short, general = jax.jit(lambda: (value(decode), value(lambda z: decode(z))))()
    np.testing.assert_allclose(short, general, rtol=1e-12)


def test_other_tangents_have_noise_but_no_bias():
    """Tangents in bfloat16, rounded: 10,000 draws are within 4 standard errors."""

    def rounded(z):
        return jnp.array(WEIGHTS, jnp.bfloat16) @ z.astype(jnp.bfloat16)

    draws = _draws(10_000, tangent_decode=rounded, family="full_covariance")
    assert 0 < np.std(draws) < 0.1
    assert abs(np.mean(draws) - _closed_form("full_covariance")) < 4 * np.std(draws) / 100


@pytest.mark.parametrize("num_probes", [0, 1, 3])
def test_tangents_of_a_constant_take_nothing_away(num_probes):
    """With m tangents and with probes `tangent_decode` is asked: the ELBO is that of `sampling`."""
    q = posteriors.DiagonalGaussian(jnp.array(MEAN), jnp.array(STDDEV))
    given = (jax.random.key(0), _linear, jnp.array(X), q, GAUSSIAN)

    def constant(z):
        return 0.0 * _linear(z)

    options = {"num_probes": num_probes, "tangent_decode": constant}
    value = objectives.control_variate_elbo(*given, **options).value
    np.testing.assert_allclose(value, objectives.sampling_elbo(*given).value, rtol=1e-6)


@pytest.mark.parametrize("options", [{}, {"num_probes": 2}])
def test_inputs_in_fewer_bits_are_summed_in_32(options):
    q = posteriors.DiagonalGaussian(*(jnp.array(v, jnp.bfloat16) for v in (MEAN, STDDEV)))
    x = jnp.array(X, jnp.bfloat16)

    def value(q, x):
        key = jax.random.key(0)
        return objectives.control_variate_elbo(key, _linear, x, q, GAUSSIAN, **options).value

    narrow = value(q, x)
    wide = value(*jax.tree.map(lambda leaf: leaf.astype(jnp.float32), (q, x)))
    assert narrow.dtype == jnp.float32
    np.testing.assert_allclose(narrow, wide, rtol=0.03)


def test_samples_are_those_of_the_sampling_elbo():
    """If the control is 0, as where log p ignores the decoder's tangents, the values agree."""

    class Flat(likelihoods.Bernoulli):
        def information(self, x, parameters, tangent):
            return 0.0 * jnp.sum(tangent)

        def log_prob(self, x, parameters):
            return super().log_prob(x, parameters**3)  # without a slope at 0

    q = posteriors.DiagonalGaussian(jnp.zeros(M), jnp.array(STDDEV))
    given = (jax.random.key(3), _linear, jnp.array(X), q, Flat())
    obtained = objectives.control_variate_elbo(*given, num_samples=3)
    expected = objectives.sampling_elbo(*given, num_samples=3)
    np.testing.assert_allclose(obtained.value, expected.value, rtol=1e-6)


class _Unknown:
    def log_prob(self, x, parameters):
        return jnp.sum(x * parameters)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_samples": 0}, "num_samples must be at least 1, got 0"),
        ({"num_samples": 3, "antithetic": True}, "num_samples must be even with antithetic pairs"),
        ({"num_probes": -1}, "num_probes must not be negative, got -1"),
        ({"posterior": posteriors.Point(jnp.zeros(M))}, "posterior must have a method deviation"),
        ({"likelihood": _Unknown()}, "likelihood must have a method information"),
        ({"x": jnp.zeros(5)}, r"x must have shape \(6,\)"),
    ],
)
def test_what_does_not_fit_is_refused(changes, message):
    given = {
        "rng": jax.random.key(0),
        "decode": _linear,
        "x": jnp.array(X),
        "posterior": posteriors.DiagonalGaussian(jnp.array(MEAN), jnp.array(STDDEV)),
        "likelihood": GAUSSIAN,
    }
    with pytest.raises(objectives.ArgumentError, match=message):
        objectives.control_variate_elbo(**given | changes)


def test_pairs_of_a_flow_are_refused():
    flow = posteriors.PlanarFlow(*(jnp.ones(M),) * 2, *(jnp.ones((1, M)),) * 2, jnp.ones(1))
    with pytest.raises(objectives.ArgumentError, match="deviation, as posteriors.DiagonalGau"):
        objectives.sampling_elbo(
            jax.random.key(0), _linear, jnp.array(X), flow, GAUSSIAN, num_samples=2, antithetic=True
        )
