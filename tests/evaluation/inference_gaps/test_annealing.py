"""Annealed importance sampling against closed forms, quadrature and exact samples."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate
import scipy.special
import scipy.stats

from sfvae_jax import likelihoods
from sfvae_jax.evaluation import annealed_importance_sampling
from sfvae_jax.evaluation.inference_gaps import annealing

# A linear decoder: log p(x) and p(z|x) are Gaussian.
WEIGHTS = np.random.default_rng(0).normal(size=(6, 2)).astype(np.float32)
VARIANCE, PRIOR = 2.0, np.array([1.5, 0.7], np.float32)
X = np.array([0.3, -1.0, 0.5, 2.0, 0.1, -0.4], np.float32)


def _linear(z):
    return likelihoods.Gaussian(VARIANCE).log_prob(jnp.array(X), jnp.array(WEIGHTS) @ z)


def _linear_log_evidence():
    covariance = WEIGHTS * PRIOR**2 @ WEIGHTS.T + VARIANCE * np.eye(6)
    return scipy.stats.multivariate_normal(np.zeros(6), covariance).logpdf(X)


def _chains(keys, *arguments, log_weight=annealing.forward_log_weight):
    """Log weights and acceptances of many chains."""
    settings = {"prior_stddev": jnp.array(PRIOR), "num_leapfrog_steps": 5}
    return jax.jit(jax.vmap(lambda key: log_weight(key, *arguments, **settings)))(keys)


@pytest.mark.parametrize("num", [1, 2, 9, 500])
def test_temperatures_follow_their_formulas(num):
    t = np.arange(num + 2) / (num + 1)
    np.testing.assert_allclose(annealing.temperatures(num, "linear"), t, atol=1e-15)
    curve = scipy.special.expit(4 * (2 * t - 1))
    expected = (curve - curve[0]) / (curve[-1] - curve[0])
    np.testing.assert_allclose(annealing.temperatures(num), expected, atol=1e-15)
    for schedule in annealing.SCHEDULES:
        betas = annealing.temperatures(num, schedule)
        assert betas.dtype == np.float64
        assert (betas[0], betas[-1]) == (0.0, 1.0)
        assert (np.diff(betas) > 0).all()


def test_invalid_temperatures_are_refused():
    with pytest.raises(ValueError, match="one of linear, sigmoidal, got 'cosine'"):
        annealing.temperatures(5, "cosine")
    with pytest.raises(ValueError, match="at least 1, got 0"):
        annealing.temperatures(0)


@jax.jit
@functools.partial(jax.vmap, in_axes=(0, 0, None, None))
def _moved(key, z, beta, step_size):
    """Returns where four transitions lead one chain, and their acceptances."""

    def step(z, key):
        settings = {"prior_stddev": jnp.array(PRIOR), "num_leapfrog_steps": 3}
        z, _, acceptance = annealing.hmc_transition(key, _linear, z, beta, step_size, **settings)
        return z, acceptance

    return jax.lax.scan(step, z, jax.random.split(key, 4))


@pytest.mark.parametrize(("beta", "step_size"), [(0.0, 1.8), (0.4, 1.3), (1.0, 0.85)])
def test_hmc_leaves_a_correlated_gaussian_invariant(keys, beta, step_size):
    """Exact samples stay exact; steps are so large that at least a fifth is rejected.

    Without the rejections the variances would be wrong by far more than the 4 standard errors:
    v sqrt(2 / n) of a variance, sqrt((v_1 v_2 + c^2) / n) of the covariance.
    """
    covariance = np.linalg.inv(np.diag(PRIOR**-2.0) + beta * WEIGHTS.T @ WEIGHTS / VARIANCE)
    mean, n = covariance @ WEIGHTS.T @ X * beta / VARIANCE, 20_000
    exact = np.random.default_rng(3).multivariate_normal(mean, covariance, n)

    keys = jax.random.split(next(keys), n)
    z, acceptance = _moved(keys, jnp.array(exact, jnp.float32), beta, step_size)
    assert 0.1 < acceptance.mean() < 0.8
    assert np.abs(z - exact).mean() > 0.3  # it moves
    assert (np.abs(np.mean(z, axis=0) - mean) < 4 * np.sqrt(np.diag(covariance) / n)).all()
    variances = np.diag(covariance)
    errors = np.sqrt((np.outer(variances, variances) + covariance**2) / n)
    assert (np.abs(np.cov(z, rowvar=False) - covariance) < 4 * errors).all()


def test_hmc_leaves_a_standard_normal_invariant(keys):
    n = 20_000
    z = jax.random.normal(next(keys), (n, 1))
    settings = {"prior_stddev": jnp.ones(1), "num_leapfrog_steps": 2}
    move = jax.jit(
        jax.vmap(lambda k, z: annealing.hmc_transition(k, jnp.sum, z, 0.0, 1.7, **settings))
    )
    for _ in range(3):
        z, value, acceptance = move(jax.random.split(next(keys), n), z)
    assert value.shape == (n,)
    assert acceptance.mean() < 0.9
    assert abs(z.mean()) < 4 / np.sqrt(n)
    assert abs(z.var() - 1) < 4 * np.sqrt(2 / n)
    # The fourth moment, 3, has a variance of 96 / n.
    assert abs((z**4).mean() - 3) < 4 * np.sqrt(96 / n)


# p(z) = N(0, 1) and 4 pixels, 3 of them white, of logit z^2 - 2: modes near 1.7 and -1.7. (In a
# Gaussian likelihood of z^2 the reverse weights would have no variance, and no standard error.)
def _two_modes(z):
    x = jnp.array([1.0, 1.0, 1.0, 0.0])
    return likelihoods.Bernoulli().log_prob(x, jnp.broadcast_to(jnp.square(z) - 2.0, (4,)))


def _two_modes_joint(z):
    white = scipy.special.expit(z**2 - 2)
    return white**3 * (1 - white) * scipy.stats.norm.pdf(z)


@pytest.mark.parametrize("schedule", annealing.SCHEDULES)
def test_weights_of_both_directions_estimate_the_evidence_of_two_modes(keys, schedule):
    """E[w] = p(x) and E[w'] = 1/p(x), where each reverse chain has an exact sample of its own."""
    exact = np.log(scipy.integrate.quad(_two_modes_joint, -8, 8, points=[-2, 2])[0])
    betas, step_sizes = annealing.temperatures(16, schedule), jnp.linspace(1.0, 0.4, 16)
    n = 4000
    settings = {"prior_stddev": jnp.ones(1), "num_leapfrog_steps": 5}
    chains = jax.random.split(next(keys), n)

    forward = jax.jit(
        jax.vmap(
            lambda key: annealing.forward_log_weight(key, _two_modes, betas, step_sizes, **settings)
        )
    )
    log_weights, acceptance = forward(chains)
    assert acceptance.shape == (n, 16)
    value, effective, error = annealing.log_mean_weight(log_weights)
    assert abs(value - exact) < 4 * error
    assert error < 0.03
    assert effective < 0.95 * n  # the weights differ

    grid = np.linspace(-5, 5, 100_001)
    cumulative = np.cumsum(_two_modes_joint(grid))
    uniform = np.random.default_rng(8).random(n)
    starts = np.interp(uniform, cumulative / cumulative[-1], grid)[:, None].astype(np.float32)
    reverse = jax.jit(
        jax.vmap(
            lambda key, z: annealing.reverse_log_weight(
                key, _two_modes, z, betas, step_sizes, **settings
            )
        )
    )
    log_weights, _ = reverse(chains, jnp.array(starts))
    value, _, error = annealing.log_mean_weight(log_weights)
    assert abs(-value - exact) < 4 * error
    assert error < 0.05


def test_another_prior_and_the_order_of_acceptances(keys):
    """The first step size is far too large: only its transitions are rejected."""
    betas = annealing.temperatures(8, "linear")
    step_sizes = jnp.array([9.0] + 7 * [0.4])
    arguments = (_linear, betas, step_sizes)
    log_weights, acceptance = _chains(jax.random.split(next(keys), 3000), *arguments)
    value, _, error = annealing.log_mean_weight(log_weights)
    assert abs(value - _linear_log_evidence()) < 4 * error < 0.2
    covariance = np.linalg.inv(np.diag(PRIOR**-2.0) + WEIGHTS.T @ WEIGHTS / VARIANCE)
    z = jnp.array(covariance @ WEIGHTS.T @ X / VARIANCE, jnp.float32)

    def down(key, *arguments, **settings):
        return annealing.reverse_log_weight(key, _linear, z, betas, step_sizes, **settings)

    _, back = _chains(jax.random.split(next(keys), 100), log_weight=down)
    for rates in (acceptance.mean(axis=0), back.mean(axis=0)):
        assert rates[0] < 0.02
        assert (rates[1:] > 0.4).all()


def test_the_weight_keeps_its_digits_in_float32(keys):
    """If log p(x|z) is -15,000 for every z, so is the log weight, however many terms it has.

    Added up as they come, these 2,001 terms lose more than 0.01 nats.
    """
    level = np.float32(-15_000.3)
    betas = annealing.temperatures(2000, "linear")
    terms = np.diff(betas).astype(np.float32) * level
    assert abs(np.cumsum(terms, dtype=np.float32)[-1] - float(level)) > 0.01
    found, _ = annealing.forward_log_weight(
        next(keys),
        lambda z: level + 0.0 * jnp.sum(z),
        betas,
        jnp.ones(2000),
        prior_stddev=jnp.ones(2),
        num_leapfrog_steps=1,
    )
    assert found.dtype == jnp.float32
    assert abs(float(found) - float(level)) < 0.002


def test_a_sample_that_no_chain_reaches_has_no_weight(keys):
    found, _ = annealing.forward_log_weight(
        next(keys),
        lambda z: jnp.where(z[0] < 100.0, -jnp.inf, 0.0),
        annealing.temperatures(3),
        jnp.ones(3),
        prior_stddev=jnp.ones(2),
        num_leapfrog_steps=1,
    )
    assert found == -np.inf


def test_each_transition_takes_one_gradient_more_than_its_leapfrog_steps(keys):
    calls = []

    def counted(z):
        jax.debug.callback(lambda: calls.append(1))
        return _linear(z)

    settings = {"prior_stddev": jnp.array(PRIOR), "num_leapfrog_steps": 4}
    betas = annealing.temperatures(3)
    run = jax.jit(
        lambda key: annealing.forward_log_weight(key, counted, betas, jnp.ones(3), **settings)
    )
    jax.block_until_ready(run(next(keys)))
    jax.effects_barrier()
    assert len(calls) == 3 * (1 + 4) + 1


@jax.jit
def _frozen_run(pilot_key, keys, target):
    """Step sizes and acceptances with a likelihood of 8 different widths."""
    betas, scale = annealing.temperatures(100), jnp.geomspace(0.3, 3.0, 8)

    def log_likelihood(z):
        return -0.5 * jnp.sum(jnp.square((z - 1.0) * scale)) - jnp.sum(jnp.logaddexp(z, -z))

    settings = {"prior_stddev": jnp.linspace(0.5, 2.0, 8), "num_leapfrog_steps": 10}
    pilot = {"num_chains": 10, "target_acceptance": target}
    step_sizes = annealing.pilot_step_sizes(pilot_key, log_likelihood, betas, **settings, **pilot)

    def accepted(key):
        return annealing.forward_log_weight(key, log_likelihood, betas, step_sizes, **settings)[1]

    return step_sizes, jax.vmap(accepted)(keys)


@pytest.mark.parametrize("target", [0.65, 0.85])
def test_the_frozen_run_has_the_acceptance_that_the_pilot_aimed_at(keys, target):
    step_sizes, acceptance = _frozen_run(next(keys), jax.random.split(next(keys), 200), target)
    assert step_sizes.shape == (100,)
    assert acceptance.mean() == pytest.approx(target, abs=0.1)
    assert step_sizes[-10:].mean() < 0.8 * step_sizes[:10].mean()  # they follow the temperature


def test_the_mean_weight_has_its_error_and_effective_size():
    log_weights = np.random.default_rng(0).normal(size=(3, 40))
    weights = np.exp(log_weights)
    value, effective, error = annealing.log_mean_weight(np.float32(log_weights) - 500.0)
    np.testing.assert_allclose(value, np.log(weights.mean(axis=1)) - 500.0, atol=1e-4)
    expected = weights.sum(axis=1) ** 2 / (weights**2).sum(axis=1)
    np.testing.assert_allclose(effective, expected, rtol=1e-3)
    expected = weights.std(axis=1, ddof=1) / weights.mean(axis=1) / np.sqrt(40)
    np.testing.assert_allclose(error, expected, rtol=1e-3)
    value, effective, error = annealing.log_mean_weight(np.full(7, -2.5))
    assert (value, effective) == pytest.approx((-2.5, 7.0))
    assert error < 1e-7
    assert np.isnan(annealing.log_mean_weight(np.full(1, -2.5))[2])


def _estimate(rng, **changes):
    settings = {"latent_size": 2, "num_chains": 100, "num_temperatures": 30, **changes}
    return annealed_importance_sampling(
        rng,
        lambda z: jnp.array(WEIGHTS) @ z,
        jnp.array(X),
        likelihoods.Gaussian(VARIANCE),
        prior_stddev=PRIOR,
        **settings,
    )


def test_one_call_gives_the_evidence(keys):
    rng = next(keys)
    estimate = _estimate(rng)
    assert abs(estimate.log_evidence - _linear_log_evidence()) < 4 * estimate.standard_error
    assert 0 < estimate.standard_error < 0.1
    assert 1 <= estimate.effective_sample_size <= 100
    assert estimate.log_weights.shape == (100,)
    assert estimate.acceptance_rate.shape == estimate.step_sizes.shape == (30,)
    # The step sizes are those of the pilot run, for any chains.
    other = _estimate(rng, num_chains=7)
    np.testing.assert_array_equal(other.step_sizes, estimate.step_sizes)
    assert other.log_weights.shape == (7,)


@pytest.mark.parametrize("name", ["latent_size", "num_chains", "num_temperatures", "pilot_chains"])
def test_a_call_with_a_count_of_0_is_refused(keys, name):
    with pytest.raises(ValueError, match="must be at least 1"):
        _estimate(next(keys), **{name: 0})
