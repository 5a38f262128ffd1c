"""The posterior of a decoder's tangent: dense algebra, quadrature and BACK's identities."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from jax.test_util import check_grads

from sfvae_jax import likelihoods, objectives, posteriors
from sfvae_jax.config import validate
from sfvae_jax.errors import UsageError
from sfvae_jax.grammars import rule_tables, sequence_grammar
from sfvae_jax.posteriors import linearized_posterior

RNG = np.random.default_rng(0)
N, M = 6, 3
WEIGHTS, OFFSET, X = RNG.normal(size=(N, M)), RNG.normal(size=N), RNG.normal(size=N)
MEAN, PRIOR = np.array([0.4, -0.7, 0.2]), np.array([0.6, 1.0, 2.5])
VARIANCES = {"scalar": 0.5, "per element": RNG.uniform(0.1, 2.0, N)}


def _linear(z):
    return jnp.array(WEIGHTS, z.dtype) @ z + jnp.array(OFFSET, z.dtype)


def _curved(z):
    return jnp.tanh(_linear(z)) + 0.2 * (z @ z)


def _covariance(posterior):
    return np.asarray(posterior.scale_tril) @ np.asarray(posterior.scale_tril).T


@pytest.mark.parametrize("variance", VARIANCES)
def test_it_is_the_true_posterior_of_a_linear_decoder(float64, variance):
    """Covariance, density, divergence and evidence, by dense algebra."""
    c = np.broadcast_to(VARIANCES[variance], N)
    precision = np.diag(PRIOR**-2.0) + WEIGHTS.T @ (WEIGHTS / c[:, None])
    covariance = np.linalg.inv(precision)
    mean = covariance @ WEIGHTS.T @ ((X - OFFSET) / c)

    @jax.jit
    def look(x, mean, prior):
        likelihood = likelihoods.Gaussian(jnp.array(VARIANCES[variance]))
        posterior = linearized_posterior(_linear, x, mean, likelihood, prior_stddev=prior)
        elbo = objectives.sampling_elbo(
            jax.random.key(0), _linear, x, posterior, likelihood, prior_stddev=prior
        )
        stuck = objectives.sticking_the_landing_elbo(
            jax.random.key(0), _linear, x, posterior, likelihood, prior_stddev=prior
        )
        return posterior, posterior.log_prob(jnp.zeros(M)), elbo.kl, stuck.value

    found, log_prob, kl, stuck = jax.device_get(look(X, mean, PRIOR))
    np.testing.assert_allclose(_covariance(found), covariance, rtol=1e-10, atol=1e-12)
    np.testing.assert_array_equal(np.triu(found.scale_tril, 1), 0.0)
    assert np.all(np.diag(found.scale_tril) > 0.0)
    dense = scipy.stats.multivariate_normal(mean, covariance)
    np.testing.assert_allclose(log_prob, dense.logpdf(np.zeros(M)), rtol=1e-10)
    prior = np.diag(PRIOR**2.0)
    log_ratio = np.linalg.slogdet(prior)[1] - np.linalg.slogdet(covariance)[1]
    trace = np.trace(np.linalg.solve(prior, covariance)) + mean @ np.linalg.solve(prior, mean)
    np.testing.assert_allclose(kl, 0.5 * (trace - M + log_ratio), rtol=1e-10)
    # Every sample of the exact posterior has the evidence as its weight.
    evidence = scipy.stats.multivariate_normal(OFFSET, WEIGHTS @ prior @ WEIGHTS.T + np.diag(c))
    np.testing.assert_allclose(stuck, evidence.logpdf(X), rtol=1e-10)


def test_its_linearised_elbo_is_the_log_evidence_and_no_other_covariance_gives_more(float64):
    """BACK Eqs. 16 to 19 for a curved decoder and any code."""
    scale = {"observation_variance": 0.5, "prior_stddev": jnp.array(PRIOR)}
    kicks = 0.1 * np.tril(RNG.normal(size=(20, M, M)))

    @jax.jit
    def look(x, mean):
        gaussian = likelihoods.Gaussian(0.5)
        posterior = linearized_posterior(_curved, x, mean, gaussian, prior_stddev=PRIOR)

        def at(factor):
            other = posteriors.FullCovarianceGaussian(mean, factor)
            return objectives.linearized_elbo(_curved, x, other, **scale).value

        evidence = objectives.log_evidence(_curved, x, mean, **scale)
        free = objectives.sampling_free_elbo(_curved, x, posterior, **scale).value
        others = jax.vmap(lambda kick: at(posterior.scale_tril @ (jnp.eye(M) + kick)))(kicks)
        value, slope = jax.value_and_grad(at)(posterior.scale_tril)
        return value, evidence, free, others, slope

    value, evidence, free, others, slope = jax.device_get(look(X, MEAN))
    np.testing.assert_allclose(value, evidence, rtol=1e-12)
    np.testing.assert_allclose(slope, 0.0, atol=1e-10)
    assert np.all(others < value)
    assert free > value  # by Jensen's inequality


@pytest.mark.parametrize("likelihood", ["bernoulli", "categorical"])
def test_other_likelihoods_give_their_information(float64, likelihood):
    """Sigma^-1 - S^-2 is J' F J with a dense F, and no other covariance gives a higher value."""
    shape = (N,) if likelihood == "bernoulli" else (2, N // 2)
    decode = lambda z: _curved(z).reshape(shape)  # noqa: E731
    logits, jacobian = jax.device_get(
        jax.jit(lambda z: (_curved(z), jax.jacfwd(_curved)(z)))(jnp.array(MEAN))
    )
    if likelihood == "bernoulli":
        built, x = likelihoods.Bernoulli(), jnp.array(X > 0, float)
        p = 1 / (1 + np.exp(-logits))
        information = np.diag(p * (1 - p))
    else:
        built, x = likelihoods.Categorical(), jnp.array([2, 0])
        information = np.zeros((N, N))
        for place in (slice(0, 3), slice(3, 6)):
            p = np.exp(logits[place]) / np.exp(logits[place]).sum()
            information[place, place] = np.diag(p) - np.outer(p, p)

    @jax.jit
    def look(mean):
        posterior = linearized_posterior(decode, x, mean, built, prior_stddev=PRIOR)

        def at(factor):
            other = posteriors.FullCovarianceGaussian(mean, factor)
            given = {"likelihood": built, "prior_stddev": jnp.array(PRIOR)}
            return objectives.second_order_elbo(decode, x, other, **given).value

        return posterior, jax.grad(at)(posterior.scale_tril)

    posterior, slope = jax.device_get(look(jnp.array(MEAN)))
    precision = np.diag(PRIOR**-2.0) + jacobian.T @ information @ jacobian
    np.testing.assert_allclose(_covariance(posterior), np.linalg.inv(precision), rtol=1e-9)
    np.testing.assert_allclose(slope, 0.0, atol=1e-10)


def test_sequences_with_values_of_a_fixed_variance_are_no_gaussians(float64):
    """Sigma^-1 - S^-2 is minus the second derivative of log p of a linear decoder."""
    layers = sequence_grammar(("conv", "pool"), separator=" ")
    likelihood = likelihoods.Sequence(rule_tables(layers), 0.3)
    rules = [*layers.parse("pool conv"), layers.padding]
    x = jnp.array(np.stack([rules, [0.3, 0.9, 0.0, 0.0]], axis=1))
    rows = np.random.default_rng(3).normal(size=(4 * (layers.size + 1), M))

    def decode(z):
        logits, values = jnp.split(jnp.array(rows) @ z, [4 * layers.size])
        return logits.reshape(4, layers.size), values

    @jax.jit
    def both(mean):
        curvature = jax.hessian(lambda z: likelihood.log_prob(x, decode(z)))(mean)
        return linearized_posterior(decode, x, mean, likelihood), curvature

    posterior, curvature = jax.device_get(both(jnp.array(MEAN)))
    expected = np.linalg.inv(np.eye(M) - curvature)
    np.testing.assert_allclose(_covariance(posterior), expected, rtol=1e-9)


def test_a_dense_output_layer_and_a_gaussian_by_its_information_are_the_same(float64):
    """J is not formed in the first; the second goes the way of all other likelihoods."""
    kernel, hidden = jnp.array(RNG.normal(size=(4, 30))), jnp.array(RNG.normal(size=(M, 4)))
    short = objectives.DenseOutput(lambda z: jnp.tanh(z @ hidden), kernel, None)
    assert objectives.has_short_form(short, M)

    class Informed:
        information = likelihoods.Gaussian(0.3).information

    @jax.jit
    def look(mean):
        x, gaussian = jnp.zeros(30), likelihoods.Gaussian(0.3)
        ways = ((short, gaussian), (lambda z: short(z), gaussian), (short, Informed()))
        return [linearized_posterior(f, x, mean, p).scale_tril for f, p in ways]

    first, second, third = look(jnp.array(MEAN))
    np.testing.assert_allclose(second, first, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(third, first, rtol=1e-10, atol=1e-12)


def test_gradients_go_through_the_tangents(float64):
    """Of the ELBO of a sample, in the decoder and the mean, by finite differences."""

    def value(scale, mean):
        decode = lambda z: scale * _curved(z)  # noqa: E731
        likelihood, x = likelihoods.Gaussian(0.5), jnp.array(X)
        posterior = linearized_posterior(decode, x, mean, likelihood)
        key = jax.random.key(0)
        return objectives.sampling_elbo(key, decode, x, posterior, likelihood).value

    check_grads(jax.jit(value), (1.3, jnp.array(MEAN)), order=1, modes=["rev", "fwd"])


def test_its_sampled_elbo_is_a_bound_where_the_linearised_one_is_not(float64):
    """One latent and a sine, by quadrature; 4,000 draws agree within 4 standard errors."""
    decode = lambda z: jnp.sin(2.0 * z)  # noqa: E731
    x, c = np.array([1.0]), 0.05
    grid = np.linspace(-12.0, 12.0, 200_001)
    step = grid[1] - grid[0]

    def log_likelihood(z):
        return scipy.stats.norm(np.sin(2 * z), c**0.5).logpdf(x[0])

    evidence = np.log(np.sum(np.exp(log_likelihood(grid)) * scipy.stats.norm.pdf(grid)) * step)

    @jax.jit
    def look(mean, keys):
        likelihood, given = likelihoods.Gaussian(c), jnp.array(x)
        posterior = linearized_posterior(decode, given, mean, likelihood)

        def draw(key):
            return objectives.sampling_elbo(key, decode, given, posterior, likelihood).value

        linearized = objectives.linearized_elbo(decode, given, posterior, observation_variance=c)
        return posterior.scale_tril[0, 0], linearized.value, jax.vmap(draw)(keys)

    excess = []
    for mean in (0.3, 0.6, np.pi / 4):
        keys = jax.random.split(jax.random.key(0), 4000)
        stddev, linearized, draws = jax.device_get(look(jnp.array([mean]), keys))
        slope = 2 * np.cos(2 * mean)
        np.testing.assert_allclose(stddev, (1 + slope**2 / c) ** -0.5, rtol=1e-12)
        density = scipy.stats.norm(mean, stddev)
        log_joint = log_likelihood(grid) + scipy.stats.norm.logpdf(grid)
        elbo = np.sum(density.pdf(grid) * log_joint) * step + density.entropy()
        assert elbo < evidence
        assert abs(draws.mean() - elbo) < 4 * draws.std() / np.sqrt(4000)
        excess.append(linearized - evidence)
    assert max(excess) > 0.5


def test_a_batch_by_name_and_in_few_bits():
    """`batch_loss` takes the posteriors of a batch; a mean in bfloat16 gives samples in it."""
    x = jnp.array(np.stack([X, X + 1.0]), jnp.float32)
    means, gaussian = jnp.array(np.stack([MEAN, -MEAN]), jnp.float32), likelihoods.Gaussian(0.5)

    @jax.jit
    def look(x, means):
        batch = jax.vmap(lambda x, mean: linearized_posterior(_curved, x, mean, gaussian))(x, means)
        losses = {
            name: objectives.batch_loss(name, jax.random.key(0), _curved, x, batch, gaussian)[0]
            for name in ("linearized", "iwae", "sticking_the_landing", "sampling")
        }
        evidence = jax.vmap(
            lambda x, mean: objectives.log_evidence(_curved, x, mean, observation_variance=0.5)
        )(x, means)
        return batch, losses, -jnp.mean(evidence)

    batch, losses, expected = look(x, means)
    np.testing.assert_allclose(losses.pop("linearized"), expected, rtol=1e-5)
    assert all(np.isfinite(loss) for loss in losses.values())
    narrow, losses, _ = look(x, means.astype(jnp.bfloat16))
    assert narrow.scale_tril.dtype == jnp.bfloat16
    assert losses["sampling"].dtype == jnp.float32
    np.testing.assert_allclose(narrow.scale_tril.astype(float), batch.scale_tril, atol=0.03)


def test_what_it_cannot_be_made_of_is_refused():
    mean, gaussian = jnp.array(MEAN), likelihoods.Gaussian(0.5)
    with pytest.raises(objectives.ArgumentError, match="likelihood must have a method information"):
        linearized_posterior(_linear, jnp.array(X), mean, object())
    with pytest.raises(objectives.ArgumentError, match=r"mean must have shape \[m\], got shape"):
        linearized_posterior(_linear, jnp.array(X), mean[None], gaussian)
    with pytest.raises(objectives.ArgumentError, match="prior_stddev must be positive, got -1.0"):
        linearized_posterior(_linear, jnp.array(X), mean, gaussian, prior_stddev=-1.0)
    with pytest.raises(objectives.ArgumentError, match="variance must be positive, got 0.0"):
        linearized_posterior(_linear, jnp.array(X), mean, likelihoods.Gaussian(0.0))


def test_a_config_is_told_that_its_likelihood_has_no_information(tiny_config, monkeypatch):
    config = tiny_config(**{"objective.name": "sampling", "posterior.name": "linearized"})
    validate(config)
    without = dataclasses.replace(likelihoods.LIKELIHOODS["gaussian"], has_information=False)
    monkeypatch.setitem(likelihoods.LIKELIHOODS, "gaussian", without)
    with pytest.raises(UsageError, match="'linearized' requires a likelihood with the method"):
        validate(config)
