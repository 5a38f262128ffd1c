"""Inputs in bfloat16 and float16: sums in float32 at least, beside NumPy in float64."""

import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats

from sfvae_jax import likelihoods, objectives, posteriors

M, N = 8, 300
C = 0.004  # so that the squares of all pixels sum to more than float16 holds
KEY = jax.random.key(0)
HALF = [jnp.bfloat16, jnp.float16]


def _one_of_both(quick):
    """Both types, the other one slow: each operation is compiled for each type."""
    return [pytest.param(t, marks=[pytest.mark.slow] * (t != quick)) for t in HALF]


def _arrays(dtype, batch=()):
    """x, mean, stddev, W and c in a type, and what they are in float64."""
    rng = np.random.default_rng(0)
    shapes = {"x": (*batch, N), "mean": (*batch, M), "weights": (N, M)}
    given = {name: jnp.asarray(rng.normal(size=shape), dtype) for name, shape in shapes.items()}
    given["stddev"] = jnp.asarray(rng.uniform(0.2, 1.0, M), dtype)
    given["c"] = jnp.asarray(C, dtype)
    return given, {name: np.asarray(value, np.float64) for name, value in given.items()}


def _decoder(given):
    return lambda z: given["weights"] @ z


def _exactly(value):
    return np.asarray(value, np.float64)


def _log_normal(x, mean, variance):
    return scipy.stats.norm.logpdf(x, mean, np.sqrt(variance)).sum()


def _agree(found, expected, rtol=3e-6):
    jax.tree.map(lambda leaf: _is(leaf, jnp.float32), found)
    np.testing.assert_allclose(_exactly(found), expected, rtol=rtol)


def _is(value, dtype):
    assert value.dtype == dtype, value.dtype


def _kl(exact):
    s2 = exact["stddev"] ** 2
    return 0.5 * (exact["mean"] ** 2 + s2 - 1 - np.log(s2))


def _densities(z, noise, exact):
    """log p(z), and log q of the noise that it came from."""
    log_q = _log_normal(noise, 0.0, 1.0) - np.log(exact["stddev"]).sum()
    return _log_normal(_exactly(z), 0.0, 1.0), log_q


@pytest.mark.parametrize("dtype", HALF)
def test_sampled_objectives(dtype):
    given, exact = _arrays(dtype)
    decode, x, likelihood = _decoder(given), given["x"], likelihoods.Gaussian(given["c"])
    q = posteriors.DiagonalGaussian(given["mean"], given["stddev"])
    own = jax.random.split(KEY, 1)[0]
    z, log_q = q.sample_and_log_prob(own)
    _is(z, dtype)  # a decoder in bfloat16 is fed in bfloat16
    noise = _exactly(jax.random.normal(own, (M,)))
    np.testing.assert_allclose(_exactly(z), exact["mean"] + exact["stddev"] * noise, rtol=2e-2)
    log_p, expected_log_q = _densities(z, noise, exact)
    _agree(log_q, expected_log_q)
    fit = _log_normal(exact["x"], _exactly(decode(z)), exact["c"])
    assert fit < -65_504

    elbo = objectives.sampling_elbo(KEY, decode, x, q, likelihood)
    _agree(elbo.log_likelihood, fit)
    _agree(elbo.kl_per_dimension, _kl(exact), rtol=1e-5)
    _agree(elbo.value, fit - _kl(exact).sum())
    path = objectives.sticking_the_landing_elbo(KEY, decode, x, q, likelihood)
    _agree(path.value, fit + log_p - expected_log_q)
    bound = objectives.iwae_bound(KEY, decode, x, q, likelihood, num_samples=1)
    _agree(bound, _exactly(path.value))
    _agree(objectives.weighted_value(elbo, beta=given["c"]), fit - exact["c"] * _kl(exact).sum())


@pytest.mark.parametrize("dtype", _one_of_both(jnp.float16))
def test_linearized_objectives(dtype):
    given, exact = _arrays(dtype)
    decode, x, mean, stddev = _decoder(given), given["x"], given["mean"], given["stddev"]
    c, w, s2 = exact["c"], exact["weights"], exact["stddev"] ** 2
    x_hat = _exactly(decode(mean))
    fit = _log_normal(exact["x"], x_hat, c)
    settings = {"observation_variance": given["c"]}

    elbo = objectives.linearized_elbo(decode, x, mean, stddev, **settings)
    _agree(elbo.log_likelihood, fit - 0.5 * np.sum(w**2 * s2) / c)
    _agree(elbo.kl, _kl(exact).sum(), rtol=1e-5)
    elbo = objectives.sampling_free_elbo(decode, x, mean, stddev, **settings)
    covariance = w * s2 @ w.T + c * np.eye(N)
    dense = scipy.stats.multivariate_normal(x_hat, covariance).logpdf(exact["x"])
    _agree(elbo.log_likelihood, dense, rtol=1e-4)  # float32's, of terms of 1e5
    evidence = objectives.log_evidence(decode, x, mean, **settings)
    log_det = np.linalg.slogdet(np.eye(M) + w.T @ w / c)[1]
    _agree(evidence, fit - 0.5 * log_det - 0.5 * np.sum(exact["mean"] ** 2))
    precision = objectives.posterior_precision(decode, mean, **settings)
    _agree(precision, np.eye(M) + w.T @ w / c, rtol=1e-4)

    a, covariance = jnp.diag(jnp.asarray(1.0 + s2, dtype)), jnp.asarray(s2, dtype)
    product = np.diag(_exactly(a)) * _exactly(covariance)
    gap = 0.5 * np.sum(product - 1 - np.log(product))
    _agree(objectives.posterior_gap(a, covariance), gap, rtol=1e-4)
    bend = 0.5 * np.sum(w**2 * s2) / c
    second = objectives.second_order_elbo(decode, x, mean, stddev, likelihoods.Gaussian(given["c"]))
    _agree(second.log_likelihood, fit - bend)


@pytest.mark.parametrize("dtype", _one_of_both(jnp.bfloat16))
def test_objectives_of_a_batch(dtype):
    given, exact = _arrays(dtype, batch=(6,))
    decode, x, means = _decoder(given), given["x"], given["mean"]
    variance = jnp.asarray(exact["stddev"] ** 2, dtype)
    sigma, likelihood = _exactly(variance), likelihoods.Gaussian(given["c"])
    keys = jax.vmap(jax.random.fold_in, (None, 0))(KEY, jnp.arange(6))
    noise = _exactly(jax.vmap(lambda key: jax.random.normal(key, (M,)))(keys))
    z = jnp.asarray(exact["mean"] + np.sqrt(sigma) * noise, dtype)
    x_hat = _exactly(jax.vmap(decode)(z))
    scatter = np.mean(exact["mean"] ** 2, axis=0)
    information = 1.0 + scatter / sigma
    rounding = 5e-3  # of z, whose last bit may differ

    arguments = KEY, decode, x, means, variance
    floating = objectives.floating_prior_variance(means, variance)
    _agree(floating, sigma + scatter, rtol=1e-5)
    fits = scipy.stats.norm.logpdf(exact["x"], x_hat, np.sqrt(exact["c"])).sum(1)
    bound = fits.mean() - 0.5 * np.log(information).sum()
    _agree(objectives.bilbo(*arguments, likelihood), bound, rounding)
    elbos = objectives.constant_variance_elbo(*arguments, likelihood)
    _agree(jnp.mean(elbos.value), bound, rounding)
    squares = np.sum((exact["x"] - x_hat) ** 2, axis=1)
    log_variance = np.mean(np.log(2 * np.pi * 0.7 * squares / information.sum()))
    bound = -0.5 * (np.log(information).sum() + information.sum() / 0.7 + N * log_variance)
    _agree(objectives.bilbo_baggins(*arguments, tau=0.7), bound, rounding)

    second = jnp.asarray(np.random.default_rng(1).normal(size=(7, M)), dtype)
    a, b = exact["mean"], _exactly(second)
    discrepancy = _mmd(a, b)
    found = objectives.maximum_mean_discrepancy(means, second)
    _is(found, jnp.float32)
    np.testing.assert_allclose(found, discrepancy, atol=2e-6)
    loss = objectives.wae_mmd_loss(KEY, decode, x, means, weight=given["c"])
    errors = np.sum((exact["x"] - _exactly(jax.vmap(decode)(means))) ** 2, axis=1)
    loss_expected = errors.mean() + exact["c"] * _mmd(a, noise)
    _agree(loss, loss_expected)
    kl = jnp.asarray(np.random.default_rng(2).uniform(0, 1, (6, M)), dtype)
    floor = np.maximum(_exactly(kl).mean(0), 0.5).sum()
    _agree(objectives.batch_free_bits_kl(kl, minimum=0.5), floor)
    _agree(objectives.free_bits_kl(kl[0], minimum=0.5), np.maximum(_exactly(kl[0]), 0.5).sum())


def _mmd(a, b):
    def kernel(a, b):
        squares = np.sum((a[:, None] - b[None]) ** 2, axis=2)
        scales = 2.0 * M * np.array(objectives.MMD_SCALES)
        return np.sum(scales / (scales + squares[..., None]), axis=2)

    def pairs(a):
        return (kernel(a, a).sum() - np.trace(kernel(a, a))) / (len(a) * (len(a) - 1))

    return pairs(a) + pairs(b) - 2.0 * kernel(a, b).mean()


@pytest.mark.parametrize("dtype", _one_of_both(jnp.float16))
def test_losses_and_penalties(dtype):
    given, exact = _arrays(dtype)
    decode, x, z, c = _decoder(given), given["x"], given["mean"], exact["c"]
    error = np.sum((exact["x"] - _exactly(decode(z))) ** 2)
    size = np.sum(exact["mean"] ** 2)
    _agree(objectives.squared_error(decode, x, z), error)
    loss = objectives.rae_loss(decode, x, z, beta=given["c"], penalty=given["c"])
    _agree(loss, error + 0.5 * c * size + c)
    found = objectives.cv_vae_loss(KEY, decode, x, z, variance=given["c"], beta=given["c"])
    noise = _exactly(jax.random.normal(KEY, (M,)))
    moved = jnp.asarray(exact["mean"] + np.sqrt(c) * noise, dtype)
    error = np.sum((exact["x"] - _exactly(decode(moved))) ** 2)
    _agree(found, error + c * size, 5e-3)
    _agree(objectives.gradient_penalty(decode, z), np.sum(exact["weights"] ** 2))
    scaled = lambda z: z * given["stddev"]  # noqa: E731  orthogonal columns: one probe is exact
    probed = objectives.hutchinson_gradient_penalty(KEY, scaled, z)
    _agree(probed, np.sum(exact["stddev"] ** 2))
    large = {"kernel": 16 * given["weights"], "bias": x}
    squares = 256 * np.sum(exact["weights"] ** 2) + np.sum(exact["x"] ** 2)
    _agree(objectives.squared_norm(large), squares)
    norm, vector = objectives.spectral_norm(given["weights"], jnp.ones(M, dtype), num_iterations=60)
    _is(vector, dtype)  # what a loop carries keeps its type
    _agree(norm, np.linalg.svd(exact["weights"])[1][0], rtol=1e-4)


@pytest.mark.parametrize("dtype", _one_of_both(jnp.bfloat16))
def test_likelihoods(dtype):
    rng = np.random.default_rng(3)
    levels = rng.integers(0, 256, N)
    x, logits = jnp.asarray(levels / 255, dtype), jnp.asarray(3 * rng.normal(size=N), dtype)
    variances = jnp.asarray(rng.uniform(1e-3, 2e-3, N), dtype)
    a, b, v = (_exactly(value) for value in (x, logits, variances))
    cases = likelihoods.Bernoulli(), likelihoods.HeteroscedasticGaussian()
    bernoulli, learned = cases
    _agree(bernoulli.log_prob(x, logits), np.sum(a * b - np.logaddexp(0, b)))
    _agree(bernoulli.fisher(jnp.asarray([30.0], dtype)), 2 + 2 * np.cosh([30.0]))
    _agree(learned.log_prob(x, (logits, variances)), _log_normal(a, b, v))
    _agree(learned.fisher((logits, variances)), 1 / v, 1e-5)
    p = scipy.special.expit(b)
    _agree(bernoulli.information(x, logits, x), np.sum(p * (1 - p) * a**2))

    logistic, scale = likelihoods.DiscretizedLogistic(), jnp.asarray(-4.0, dtype)
    mass = scipy.stats.logistic(loc=b / 8, scale=np.exp(-4.0))  # on the levels, not on x rounded
    half, exactly = 0.5 / 255, levels / 255
    upper = np.where(levels == 255, 1.0, mass.cdf(exactly + half))
    lower = np.where(levels == 0, 0.0, mass.cdf(exactly - half))
    expected = np.log(np.maximum(upper - lower, 1e-300))
    near = np.abs(exactly - b / 8) < 0.1  # where differences of distribution functions have digits
    found = logistic.log_prob(x[near], (logits[near] / 8, scale))
    _agree(found, expected[near].sum(), 1e-4)

    categorical = likelihoods.Categorical()
    rows = jnp.asarray(rng.normal(size=(N, 5)), dtype)
    rules = jnp.asarray(rng.integers(0, 5, N))
    log_p = _exactly(rows) - scipy.special.logsumexp(_exactly(rows), axis=1, keepdims=True)
    _agree(categorical.log_prob(rules, rows), log_p[np.arange(N), np.asarray(rules)].sum())


@pytest.mark.parametrize("dtype", HALF)
def test_draws_of_rare_pixels_are_rare(dtype):
    """A uniform number in bfloat16 is a multiple of 1/128, and zero once in 128 draws."""
    number, p = 100_000, scipy.special.expit(-9.0)
    drawn = likelihoods.Bernoulli().sample(KEY, jnp.full(number, -9.0, dtype))
    _is(drawn, dtype)
    assert abs(_exactly(drawn).sum() - number * p) < 5.0 * np.sqrt(number * p)


@pytest.mark.parametrize(("dtype", "levels"), [(jnp.bfloat16, 256), (jnp.float16, 2048)])
def test_dtypes_that_cannot_hold_the_levels_are_refused(dtype, levels):
    x, scale = jnp.arange(levels, dtype=jnp.float32) / (levels - 1), jnp.float32(-4.0)
    held = likelihoods.DiscretizedLogistic(levels)
    parameters = x[::-1], scale
    log_prob = jax.jit(held.log_prob)
    _agree(log_prob(x.astype(dtype), parameters), _exactly(log_prob(x, parameters)))
    with pytest.raises(objectives.ArgumentError, match=f"cannot represent all {levels + 1} levels"):
        likelihoods.DiscretizedLogistic(levels + 1).log_prob(x.astype(dtype), parameters)


def test_dtypes_that_cannot_hold_the_rules_are_refused():
    sequence = likelihoods.Sequence(types.SimpleNamespace(left=np.zeros(257)), 0.5)
    parameters = jnp.zeros((4, 257)), jnp.zeros(4)
    with pytest.raises(objectives.ArgumentError, match="cannot represent all 257 rules"):
        sequence.log_prob(jnp.zeros((4, 2), jnp.bfloat16), parameters)


@pytest.mark.parametrize(
    ("family", "dtype"),
    [
        ("full_covariance", jnp.float16),
        ("planar", jnp.bfloat16),
        ("iaf", jnp.float16),
        ("auxiliary", jnp.bfloat16),
    ],
)
def test_flows_and_full_covariance_agree_with_float32(dtype, family):
    """The same numbers in more bits: the same density, and a sample that rounds to the same."""

    def build(dtype):
        to = lambda tree: jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.bfloat16), tree)  # noqa: E731
        rng = np.random.default_rng(4)
        draw = lambda *shape: jnp.asarray(rng.normal(size=shape), jnp.bfloat16)  # noqa: E731
        mean, stddev = draw(M), jnp.full(M, 0.25)
        if family == "full_covariance":
            q = posteriors.FullCovarianceGaussian(mean, jnp.tril(draw(M, M)) + 4 * jnp.eye(M))
        elif family == "planar":
            q = posteriors.PlanarFlow(mean, stddev, draw(2, M), draw(2, M), draw(2))
        elif family == "iaf":
            q = posteriors.InverseAutoregressiveFlow(
                mean, stddev, None, posteriors.init_iaf(KEY, M, hidden_sizes=(5,))
            )
        else:
            networks = posteriors.init_auxiliary_flow(KEY, M, hidden_sizes=(5,))
            q = posteriors.AuxiliaryFlow(mean, stddev, None, networks)
        return jax.tree.map(lambda leaf: leaf.astype(dtype), to(q))

    narrow, wide = build(dtype), build(jnp.float32)
    methods = ["sample_and_log_prob"] + ["sample_and_path_log_prob"] * (family != "planar")
    for method in methods:
        z, log_q = getattr(narrow, method)(KEY)
        expected, expected_log_q = getattr(wide, method)(KEY)
        _is(z, dtype)
        np.testing.assert_array_equal(z, expected.astype(dtype))
        _agree(log_q, expected_log_q, 1e-5)
    if family == "full_covariance":
        _agree(narrow.kl_to_prior(), wide.kl_to_prior())
        _agree(narrow.entropy(), wide.entropy())


def test_float64_stays_float64(float64):
    given, exact = _arrays(jnp.float64)

    @jax.jit
    def compute(given):
        decode, x, mean, stddev = _decoder(given), given["x"], given["mean"], given["stddev"]
        q, likelihood = posteriors.DiagonalGaussian(mean, stddev), likelihoods.Gaussian(0.5)
        return [
            objectives.linearized_elbo(decode, x, mean, stddev, observation_variance=0.5),
            objectives.sticking_the_landing_elbo(KEY, decode, x, q, likelihood),
            objectives.rae_loss(decode, x, mean, beta=1.0),
            objectives.floating_prior_variance(jnp.stack([mean, -mean]), stddev),
        ]

    values = compute(given)
    jax.tree.map(lambda leaf: _is(leaf, jnp.float64), values)
    fit = _log_normal(exact["x"], exact["weights"] @ exact["mean"], 0.5)
    trace = 0.5 * np.sum(exact["weights"] ** 2 * exact["stddev"] ** 2) / 0.5
    np.testing.assert_allclose(values[0].log_likelihood, fit - trace, rtol=1e-13)
