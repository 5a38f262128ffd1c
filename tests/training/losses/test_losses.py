"""A config's values reach the objective it names."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from sfvae_jax import objectives
from sfvae_jax.config import resolve
from sfvae_jax.objectives import Weights
from sfvae_jax.posteriors import DiagonalGaussian, FullCovarianceGaussian, Point
from sfvae_jax.training.losses.base import build_loss
from sfvae_jax.training.losses.model_functions import Functions

WEIGHTS = np.array([[1.0, -0.5], [0.3, 0.8], [-1.2, 0.4]])
X = np.array([0.2, -0.1, 0.9])
MEAN, STDDEV = np.array([0.4, -0.2]), np.array([0.8, 0.3])


def _log_likelihood(config, gamma, key):
    """That of a batch of one example, whose place is 0."""
    loss = build_loss(resolve(config), None)
    functions = Functions(
        encode=lambda x: DiagonalGaussian(jnp.array(MEAN), jnp.array(STDDEV)),
        decode=lambda z: jnp.array(WEIGHTS, z.dtype) @ z,
        decoder_params={},
    )
    weights = Weights(gamma=gamma, beta=1.0, entropy=1.0)
    return jax.jit(lambda key, x: loss(key, functions, x, weights)[1])(key, X[None])[
        "log_likelihood"
    ]


def test_sampling_free_has_the_configs_variance_and_the_steps_gamma(float64, tiny_config):
    config = tiny_config(**{"objective.name": "sampling_free", "likelihood.variance": 0.7})
    obtained = _log_likelihood(config, 0.3, jax.random.key(0))
    residual = WEIGHTS @ MEAN - X
    covariance = WEIGHTS * STDDEV**2 @ WEIGHTS.T + 0.7 * np.eye(3)
    full = scipy.stats.multivariate_normal(np.zeros(3), covariance).logpdf(residual)
    exact = residual @ np.linalg.solve(covariance, residual)
    expected = full - 0.5 * (1 - 0.3) * (residual @ residual / 0.7 - exact)
    np.testing.assert_allclose(obtained, expected, rtol=1e-10)


@pytest.mark.parametrize(("weight", "applied"), [("gamma", 0.3), (0.8, 0.8)])
def test_sampling_free_has_the_configs_weight_of_the_log_determinant(
    float64, tiny_config, weight, applied
):
    """Less that of weight 1: (1 - w) / 2 log det(I + U'U/c)."""
    configs = [
        tiny_config(**{"objective.name": "sampling_free", "objective.log_det_weight": w})
        for w in (weight, 1.0)
    ]
    obtained = [_log_likelihood(config, 0.3, jax.random.key(0)) for config in configs]
    factor = WEIGHTS * STDDEV
    log_det = np.linalg.slogdet(np.eye(2) + factor.T @ factor / 0.5)[1]
    np.testing.assert_allclose(obtained[0] - obtained[1], 0.5 * (1 - applied) * log_det, rtol=1e-9)


def test_sampling_has_the_configs_variance_and_number_of_samples(float64, keys, tiny_config):
    """Mean and deviation of 4-sample estimates over 4,000 keys, by their closed forms."""
    config = tiny_config(
        **{"objective.name": "sampling", "objective.num_samples": 4, "likelihood.variance": 0.7}
    )
    draws = jax.vmap(lambda key: _log_likelihood(config, 0.5, key))(
        jax.random.split(next(keys), 4000)
    )
    # |W z - x|^2 for z = mean + S e: r'r + 2 r'WS e + e'SW'WS e, a quadratic form of normals.
    residual, factor = WEIGHTS @ MEAN - X, WEIGHTS * STDDEV
    form = factor.T @ factor
    mean = residual @ residual + np.trace(form)
    variance = 4 * np.sum((residual @ factor) ** 2) + 2 * np.sum(form**2)
    expected = -1.5 * np.log(2 * np.pi * 0.7) - mean / 1.4
    deviation = np.sqrt(variance) / 1.4 / np.sqrt(4)
    assert abs(draws.mean() - expected) < 4 * deviation / np.sqrt(4000)
    np.testing.assert_allclose(draws.std(), deviation, rtol=0.1)


def _loss(config, x, weights, key=None):
    """The loss of a batch whose posteriors are at 1/2 of the example and of one stddev."""
    functions = Functions(
        encode=lambda x: DiagonalGaussian(0.5 * x[:2], jnp.array(STDDEV)),
        decode=lambda z: jnp.array(WEIGHTS, z.dtype) @ z,
        decoder_params={"kernel": jnp.array(WEIGHTS), "bias": jnp.array([0.0, 0.7])},
    )
    loss = build_loss(resolve(config), None)
    key = jax.random.key(0) if key is None else key
    return jax.jit(lambda key, x: loss(key, functions, x, weights))(key, x)


BATCH = np.array([[0.2, -0.1, 0.9], [1.4, 2.0, -0.3]])


def _kl_by_hand():
    mean = 0.5 * BATCH[:, :2]
    return 0.5 * (mean**2 + STDDEV**2 - 1) - np.log(STDDEV)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, lambda kl: 2.0 * kl.sum(axis=1).mean()),
        ({"free_bits": 0.4}, lambda kl: 2.0 * np.maximum(kl, 0.4).sum(axis=1).mean()),
        (
            {"free_bits": 1.0, "free_bits_groups": (2,)},
            lambda kl: 2.0 * np.maximum(kl.sum(axis=1), 1.0).mean(),
        ),
        (
            {"free_bits": 0.4, "free_bits_of_batch": True},
            lambda kl: 2.0 * np.maximum(kl.mean(axis=0), 0.4).sum(),
        ),
    ],
    ids=["beta", "each dimension", "one group", "of the batch"],
)
def test_beta_and_free_bits_reach_the_loss(float64, tiny_config, settings, expected):
    """The difference to the loss with weight 0 on the KL divergence, beta = 2."""
    changes = {f"objective.{key}": value for key, value in settings.items()}
    config = tiny_config(**{"objective.name": "linearized", "model.latent_size": 2, **changes})
    weigh = lambda beta: Weights(0.5, beta, 1.0)  # noqa: E731
    losses = [_loss(config, jnp.array(BATCH), weigh(beta))[0] for beta in (2.0, 0.0)]
    kl = _kl_by_hand()
    assert (kl < 0.4).any()
    assert (kl > 0.4).any()
    np.testing.assert_allclose(losses[0] - losses[1], expected(kl), rtol=1e-10)


FACTOR = np.array([[0.9, 0.0], [0.35, 0.8]])


def _full_covariance_loss(config, x, beta, factor, axis_name=None):
    """The loss of a batch whose posteriors have means of 1/2 of the example and one covariance."""
    functions = Functions(
        encode=lambda x: FullCovarianceGaussian(0.5 * x[:2], factor),
        decode=lambda z: jnp.zeros(3),
        decoder_params={},
    )
    loss = build_loss(resolve(config), axis_name)
    return loss(jax.random.key(0), functions, x, Weights(0.5, beta, 1.0))[0]


def _full_kl_by_hand():
    """1/2 [|mean|^2 + tr S - m - log det S] of each example, S = L L'   (FLOW Eq. 25)."""
    covariance = FACTOR @ FACTOR.T
    squares = np.sum((0.5 * BATCH[:, :2]) ** 2, axis=1)
    return 0.5 * (squares + np.trace(covariance) - 2 - np.linalg.slogdet(covariance)[1])


@pytest.mark.parametrize("of_batch", [False, True])
@pytest.mark.parametrize("floor", [0.1, 0.3, 0.6, 0.9])
def test_free_bits_of_a_full_covariance_are_of_its_whole_divergence(
    float64, tiny_config, floor, of_batch
):
    """Value and gradient, which is that of the examples above the floor; two devices as one."""
    config = tiny_config(
        **{
            "objective.name": "sampling",
            "posterior.name": "full_covariance",
            "model.latent_size": 2,
            "objective.free_bits": floor,
            "objective.free_bits_of_batch": of_batch,
        }
    )
    x, kl = jnp.array(BATCH), _full_kl_by_hand()
    assert 0.1 < kl[0] < 0.3 < kl.mean() < 0.6 < kl[1] < 0.9
    expected = max(kl.mean(), floor) if of_batch else np.maximum(kl, floor).mean()

    def cost(factor, axis_name=None, x=x):
        losses = [_full_covariance_loss(config, x, beta, factor, axis_name) for beta in (1.0, 0.0)]
        return losses[0] - losses[1]

    @jax.jit
    def both(factor, shares):
        split = jax.vmap(lambda x: cost(factor, "batch", x), axis_name="batch")(shares)
        return *jax.value_and_grad(cost)(factor), split

    shares = x[:, None]  # an example a device, on different sides of the floor
    value, gradient, split = both(jnp.array(FACTOR), shares)
    np.testing.assert_allclose(value, expected, rtol=1e-10)
    above = kl.mean() > floor if of_batch else np.mean(kl > floor)
    slope = FACTOR - np.diag(1.0 / np.diag(FACTOR))  # of each example's divergence in L
    np.testing.assert_allclose(np.tril(gradient), above * slope, rtol=1e-9, atol=1e-12)
    if floor > kl[1]:
        np.testing.assert_array_equal(gradient, 0.0)
    np.testing.assert_allclose(split.mean(), value, rtol=1e-10)


def test_entropy_weight_reaches_the_loss(float64, tiny_config):
    config = tiny_config(**{"objective.name": "linearized"})
    losses = [
        _loss(config, jnp.array(BATCH), Weights(0.5, 1.0, weight))[0] for weight in (1.0, 0.25)
    ]
    entropy = np.sum(0.5 * np.log(2 * np.pi * np.e) + np.log(STDDEV))
    np.testing.assert_allclose(losses[1] - losses[0], 0.75 * entropy, rtol=1e-10)


@pytest.mark.parametrize(
    ("name", "penalty"),
    [
        ("autoencoder", 0.0),
        ("rae", 0.0),
        ("rae_l2", 0.3 * (np.sum(WEIGHTS**2) + 0.7**2)),
        ("rae_gp", 0.3 * np.sum(WEIGHTS**2)),
        ("rae_sn", 0.0),
    ],
)
def test_the_weights_of_the_rae_family_reach_the_loss(float64, tiny_config, name, penalty):
    """A linear decoder's Jacobian is its kernel alone. Parts in the metrics are unweighted."""
    beta = 0.0 if name == "autoencoder" else 0.7
    config = tiny_config(**{"objective.name": name})
    config.objective.beta = beta or None
    config.objective.penalty_weight = 0.3 if penalty else None
    loss, metrics = _loss(config, jnp.array(BATCH), Weights(0.5, 1.0, 1.0))
    z = 0.5 * BATCH[:, :2]
    errors = np.sum((z @ WEIGHTS.T - BATCH) ** 2, axis=1)
    expected = np.mean(errors + 0.5 * beta * np.sum(z**2, axis=1)) + penalty
    np.testing.assert_allclose(loss, expected, rtol=1e-10)
    np.testing.assert_allclose(metrics["squared_error"], errors.mean(), rtol=1e-10)
    np.testing.assert_allclose(metrics["code_norm"], np.sum(z**2, axis=1).mean(), rtol=1e-10)
    np.testing.assert_allclose(0.3 * metrics["penalty"], penalty, rtol=1e-10, atol=1e-12)


def test_variance_and_tau_of_the_constant_family(float64, tiny_config):
    """BAGGINS by NumPy, with the posterior's variance and tau from the config."""
    config = tiny_config(
        **{"objective.name": "bilbo_baggins", "objective.tau": 0.5, "posterior.variance": 0.25}
    )
    loss, _ = _loss(config, jnp.array(BATCH), Weights(0.5, 1.0, 1.0))
    z = []
    means = 0.5 * BATCH[:, :2]
    for i, mean in enumerate(means):
        key = jax.random.fold_in(jax.random.key(0), i)
        z.append(mean + 0.5 * np.array(jax.random.normal(key, (2,), float)))
    squares = np.sum((np.array(z) @ WEIGHTS.T - BATCH) ** 2, axis=1)
    ratio = 1 + np.mean(means**2, axis=0) / 0.25
    variances = 0.5 * squares / ratio.sum()
    information = np.log(ratio).sum() + ratio.sum() / 0.5
    expected = 0.5 * (information + np.mean(3 * np.log(2 * np.pi * variances)))
    np.testing.assert_allclose(loss, expected, rtol=1e-10)


def test_probes_estimate_the_penalty(float64, tiny_config):
    """Mean over 2,000 keys within 4 standard errors; with 0 probes there is no noise."""
    base = {"objective.name": "rae_gp", "objective.penalty_weight": 1.0}
    weights = Weights(0.5, 1.0, 1.0)
    config = tiny_config(**base, **{"objective.num_probes": 1})
    penalty = jax.vmap(lambda key: _loss(config, jnp.array(BATCH), weights, key)[1]["penalty"])
    draws = penalty(jax.random.split(jax.random.key(1), 2000))
    standard_error = draws.std(ddof=1) / np.sqrt(2000)
    assert 0 < 4 * standard_error < 0.1 * np.sum(WEIGHTS**2)
    assert abs(draws.mean() - np.sum(WEIGHTS**2)) < 4 * standard_error


def test_an_objective_from_outside_only_needs_its_spec(float64, tiny_config, monkeypatch):
    """The sum of absolute errors, with the codes' size as a term."""

    def of_example(example):
        z = example.posterior.mean
        size = jnp.sum(jnp.abs(z))
        error = jnp.sum(jnp.abs(example.x - example.decode(z)))
        return objectives.Loss(error + example.options.beta * size, {"code_size": size})

    spec = dataclasses.replace(
        objectives.OBJECTIVES["rae"],
        name="mine",
        of_example=of_example,
        default_beta=0.3,
        term_weights=None,
    )
    monkeypatch.setitem(objectives.OBJECTIVES, spec.name, spec)
    weights = Weights(0.5, 1.0, 1.0)
    loss, metrics = _loss(tiny_config(**{"objective.name": "mine"}), jnp.array(BATCH), weights)
    z = 0.5 * BATCH[:, :2]
    size = np.abs(z).sum(axis=1).mean()
    error = np.abs(z @ WEIGHTS.T - BATCH).sum(axis=1).mean()
    np.testing.assert_allclose(loss, error + 0.3 * size, rtol=1e-12)
    np.testing.assert_allclose(metrics["code_size"], size, rtol=1e-12)


def test_a_spec_has_one_way_to_be_computed():
    with pytest.raises(TypeError, match="objective 'rae' must have one of of_example"):
        dataclasses.replace(objectives.OBJECTIVES["rae"], of_example=None)


def test_a_posterior_of_the_decoder_is_made_from_code_decoder_and_likelihood(tiny_config):
    """Its linearised ELBO is the log evidence at the code, by training and by an evaluation."""
    weights = jnp.array([[0.5, -1.0, 0.3], [0.8, 0.2, -0.6]])
    decode = lambda z: jnp.tanh(z @ weights)  # noqa: E731
    config = tiny_config(
        **{
            "objective.name": "linearized",
            "posterior.name": "linearized",
            "model.latent_size": 2,
            "likelihood.variance": 0.3,
        }
    )
    functions = Functions(lambda x: Point(0.5 * x[:2]), decode, {})
    x = jnp.array(BATCH)

    @jax.jit
    def both():
        loss = build_loss(resolve(config), None)
        evidence = jax.vmap(
            lambda x: objectives.log_evidence(decode, x, 0.5 * x[:2], observation_variance=0.3)
        )(x)
        value, _ = loss(jax.random.key(0), functions, x, Weights(0.5, 1.0, 1.0))
        return value, -jnp.mean(evidence)

    value, expected = both()
    np.testing.assert_allclose(value, expected, rtol=1e-5)
