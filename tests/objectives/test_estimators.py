"""Sticking the landing and the importance-weighted bound, where log p(x) is known.

It is known in closed form for a linear decoder with Gaussian noise, and by quadrature for two
latents. Every tolerance is 4 standard errors of a mean over draws with a fixed key.
"""

import itertools
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats

from sfvae_jax import likelihoods, objectives, posteriors

RNG = np.random.default_rng(0)
WEIGHTS, OFFSET, X = RNG.normal(size=(3, 2)), RNG.normal(size=3), np.array([0.3, -1.0, 0.8])
VARIANCE, PRIOR = 0.5, np.array([1.5, 0.8])
GAUSSIAN = likelihoods.Gaussian(VARIANCE)

# The linear decoder's posterior N(EXACT_MEAN, PRECISION^-1) and evidence.
PRECISION = np.diag(PRIOR**-2) + WEIGHTS.T @ WEIGHTS / VARIANCE
EXACT_MEAN = np.linalg.solve(PRECISION, WEIGHTS.T @ (X - OFFSET) / VARIANCE)
EXACT_TRIL = np.linalg.cholesky(np.linalg.inv(PRECISION))
LOG_P = scipy.stats.multivariate_normal(
    OFFSET, WEIGHTS * PRIOR**2 @ WEIGHTS.T + VARIANCE * np.eye(3)
).logpdf(X)

# A diagonal posterior that is not it, and its ELBO: log p(x) less a KL between Gaussians.
MEAN, STDDEV = EXACT_MEAN + np.array([0.3, -0.2]), np.array([0.7, 0.6])
ELBO = LOG_P - 0.5 * (
    np.diag(PRECISION) @ STDDEV**2
    + (MEAN - EXACT_MEAN) @ PRECISION @ (MEAN - EXACT_MEAN)
    - 2.0
    - np.linalg.slogdet(PRECISION)[1]
    - 2.0 * np.sum(np.log(STDDEV))
)


def _sampled(posterior):
    """A posterior without its closed forms, so that `sampling_elbo` samples the KL too."""
    return types.SimpleNamespace(
        mean=posterior.mean, sample_and_log_prob=posterior.sample_and_log_prob
    )


def _linear(z):
    return jnp.array(WEIGHTS, z.dtype) @ z + jnp.array(OFFSET, z.dtype)


def _estimate(objective, key, posterior, num_samples=1, decode=_linear):
    """An estimate on the linear-Gaussian problem, an `Elbo` or a scalar."""
    return objective(
        key,
        decode,
        jnp.array(X, posterior.mean.dtype),
        posterior,
        GAUSSIAN,
        num_samples=num_samples,
        prior_stddev=jnp.array(PRIOR, posterior.mean.dtype),
    )


def _plain(key, posterior, num_samples=1, decode=_linear):
    """The fully sampled ELBO whose gradient keeps the score."""
    objective = objectives.sampling_elbo
    return _estimate(objective, key, _sampled(posterior), num_samples, decode).value


def _sticking(key, posterior, num_samples=1, decode=_linear):
    objective = objectives.sticking_the_landing_elbo
    return _estimate(objective, key, posterior, num_samples, decode).value


def _exact(dtype=jnp.float64):
    return posteriors.FullCovarianceGaussian(
        jnp.array(EXACT_MEAN, dtype), jnp.array(EXACT_TRIL, dtype)
    )


def _wrong(dtype=jnp.float32):
    return posteriors.DiagonalGaussian(jnp.array(MEAN, dtype), jnp.array(STDDEV, dtype))


def _mean_and_error(draws):
    draws = np.asarray(draws, np.float64)
    return draws.mean(axis=0), draws.std(axis=0, ddof=1) / np.sqrt(len(draws))


def test_the_exact_posterior_gives_log_p(float64, keys):
    """Of a linear decoder: sample by sample where all is sampled, and by its mean elsewhere."""
    draws = jax.random.split(next(keys), 20_000)

    @jax.jit
    @jax.vmap
    def three(key):
        return (
            _estimate(objectives.sampling_elbo, key, _exact()).value,
            _sticking(key, _exact(), 2),
            _estimate(objectives.iwae_bound, key, _exact(), 3),
        )

    sampling, sticking, iwae = three(draws)
    np.testing.assert_allclose(sticking, LOG_P, rtol=1e-10)
    np.testing.assert_allclose(iwae, LOG_P, rtol=1e-10)
    mean, error = _mean_and_error(sampling)
    assert abs(mean - LOG_P) < 4 * error
    assert 4 * error < 0.01 * abs(LOG_P)


def test_sticking_the_landing_has_no_noise_at_the_exact_posterior(float64, keys):
    """No gradient in any single sample; the estimator that keeps the score has one in each."""
    draws = jax.random.split(next(keys), 20)

    @jax.jit
    def gradients(posterior):
        return tuple(
            jax.vmap(jax.grad(estimate, 1), (0, None))(draws, posterior)
            for estimate in (_sticking, _plain)
        )

    for part in ("mean", "scale_tril"):
        sticking, plain = (getattr(grads, part) for grads in gradients(_exact()))
        np.testing.assert_allclose(sticking, 0.0, atol=1e-8)
        assert np.all(np.abs(plain).reshape(20, -1).max(axis=1) > 1e-2)


@pytest.mark.parametrize("num_samples", [1, 3])
def test_sticking_the_landing_has_the_value_of_the_sampled_elbo(float64, keys, num_samples):
    """With the same key, part by part, for a posterior that is not exact."""
    draws = jax.random.split(next(keys), 5)

    @jax.jit
    @jax.vmap
    def both(key):
        posterior = _wrong(jnp.float64)
        return (
            _estimate(objectives.sticking_the_landing_elbo, key, posterior, num_samples),
            _estimate(objectives.sampling_elbo, key, _sampled(posterior), num_samples),
        )

    sticking, plain = both(draws)
    for part in ("log_likelihood", "log_prior", "entropy", "value"):
        np.testing.assert_allclose(getattr(sticking, part), getattr(plain, part), rtol=1e-12)
    assert np.std(sticking.value) > 0.1


def test_gradients_are_unbiased(keys):
    """Means over 50,000 draws of both estimators' gradients meet those of the closed form."""
    draws = jax.random.split(next(keys), 50_000)

    def estimate(parameters, key, estimator):
        posterior = posteriors.DiagonalGaussian(parameters["mean"], parameters["stddev"])
        return estimator(key, posterior, 1, lambda z: parameters["weights"] @ z + OFFSET)

    @jax.jit
    def gradients(parameters):
        return [
            jax.vmap(jax.grad(estimate), (None, 0, None))(parameters, draws, estimator)
            for estimator in (_sticking, _plain)
        ]

    parameters = {"mean": MEAN, "stddev": STDDEV, "weights": WEIGHTS}
    residual = X - OFFSET - WEIGHTS @ MEAN
    expected = {
        "mean": WEIGHTS.T @ residual / VARIANCE - MEAN / PRIOR**2,
        "stddev": 1.0 / STDDEV - np.diag(PRECISION) * STDDEV,
        "weights": (np.outer(residual, MEAN) - WEIGHTS * STDDEV**2) / VARIANCE,
    }
    parameters = jax.tree.map(lambda a: jnp.array(a, jnp.float32), parameters)
    for grads in gradients(parameters):
        for name, value in expected.items():
            mean, error = _mean_and_error(grads[name])
            assert np.all(np.abs(mean - value) < 4 * error)
            assert np.max(4 * error) < 0.1 * np.max(np.abs(value))


def test_iwae_rises_towards_log_p(keys):
    """k = 1 is the ELBO; more samples tighten it; its exponential has mean p(x) for every k."""
    sizes = (1, 4, 16, 64)
    draws = jax.random.split(next(keys), 20_000)
    bounds = jax.jit(
        jax.vmap(lambda k: [_estimate(objectives.iwae_bound, k, _wrong(), n) for n in sizes])
    )(draws)
    bounds = [np.asarray(bound, np.float64) for bound in bounds]
    mean, error = _mean_and_error(bounds[0])
    assert abs(mean - ELBO) < 4 * error
    assert 4 * error < 0.1 * (LOG_P - ELBO)
    for bound in bounds:
        mean, error = _mean_and_error(bound)
        assert mean < LOG_P + 4 * error
        mean, error = _mean_and_error(np.exp(bound - LOG_P))
        assert abs(mean - 1.0) < 4 * error
        assert 4 * error < 0.06
    for fewer, more in itertools.pairwise(bounds):
        mean, error = _mean_and_error(more - fewer)
        assert mean > 4 * error
    # The gap falls about as 1/k.
    gaps = [LOG_P - bound.mean() for bound in bounds]
    assert gaps[3] < 0.5 * gaps[2] < 0.25 * gaps[1]


def _bound_and_samples(key, posterior, likelihood, x, k):
    """iwae_bound under a prior of `PRIOR`, and its z_k [k, m]."""

    @jax.jit
    def both(posterior, x):
        prior = jnp.array(PRIOR, x.dtype)
        bound = objectives.iwae_bound(
            key, _linear, x, posterior, likelihood, num_samples=k, prior_stddev=prior
        )
        return bound, jax.vmap(posterior.sample_and_log_prob)(jax.random.split(key, k))[0]

    bound, z = both(posterior, jnp.array(x, posterior.mean.dtype))
    return bound, np.asarray(z, np.float64)


def _log_prior_ratio(z):
    """log p(z) - log q(z|x) of every row."""
    ratio = scipy.stats.norm(0, PRIOR).logpdf(z) - scipy.stats.norm(MEAN, STDDEV).logpdf(z)
    return ratio.sum(axis=1)


def test_tiny_weights_count():
    """Log weights about -1e5, whose exponentials are 0 in any precision, against float64 SciPy."""
    x, k = np.array([3.0, -2.0, 2.5]), 7
    bound, z = _bound_and_samples(jax.random.key(3), _wrong(), likelihoods.Gaussian(5e-5), x, k)
    log_likelihood = scipy.stats.norm(z @ WEIGHTS.T + OFFSET, 5e-5**0.5).logpdf(x)
    log_weights = log_likelihood.sum(axis=1) + _log_prior_ratio(z)
    assert log_weights.min() < -1e5 < log_weights.max() < -5e4
    expected = scipy.special.logsumexp(log_weights) - np.log(k)
    np.testing.assert_allclose(bound, expected, rtol=1e-5)


@pytest.mark.parametrize("k", [1, 3])
def test_bernoulli_samples_by_hand(float64, k):
    """k = 1 is log p(x|z) + log p(z) - log q(z|x), by SciPy; k = 3 the log of a mean."""
    key, posterior = jax.random.key(5), _wrong(jnp.float64)
    bound, z = _bound_and_samples(key, posterior, likelihoods.Bernoulli(), BITS, k)
    probability = scipy.special.expit(z @ WEIGHTS.T + OFFSET)
    log_likelihood = scipy.stats.bernoulli(probability).logpmf(BITS)
    log_weights = log_likelihood.sum(axis=1) + _log_prior_ratio(z)
    assert k == 1 or np.ptp(log_weights) > 0.1
    np.testing.assert_allclose(bound, np.log(np.mean(np.exp(log_weights))), rtol=1e-12)


BITS = np.array([1.0, 0.0, 1.0])
CASES = {  # likelihood, data, and NumPy's log p(x|z) of the decoder's output
    "gaussian": (
        likelihoods.Gaussian(2.0),
        X,
        lambda out: scipy.stats.norm(out, np.sqrt(2.0)).logpdf(X),
    ),
    "bernoulli": (
        likelihoods.Bernoulli(),
        BITS,
        lambda out: scipy.stats.bernoulli(scipy.special.expit(out)).logpmf(BITS),
    ),
}


def _curved(z):
    return 2.0 * jnp.tanh(_linear(z))


def _log_p(log_likelihood):
    """log p(x) of the curved decoder by a rule that is spectral for what vanishes at the edges."""
    axes = [np.linspace(-9.0 * s, 9.0 * s, 181) for s in PRIOR]
    z = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
    log_joint = log_likelihood(2.0 * np.tanh(z @ WEIGHTS.T + OFFSET)).sum(axis=-1)
    log_joint += scipy.stats.norm(0, PRIOR).logpdf(z).sum(axis=-1)
    cell = np.prod([axis[1] - axis[0] for axis in axes])
    return scipy.special.logsumexp(log_joint) + np.log(cell)


def _family(name):
    """A wide posterior of each family, its flows small and random."""
    mean, stddev = jnp.array([-1.5, 0.1]), jnp.array([1.9, 1.3])
    key = jax.random.key(11)
    if name == "diagonal":
        return posteriors.DiagonalGaussian(mean, stddev)
    if name == "full_covariance":
        return posteriors.FullCovarianceGaussian(mean, jnp.array([[1.9, 0.0], [-0.3, 1.2]]))
    if name == "planar":
        u, w = 0.5 * jax.random.normal(key, (2, 3, 2))
        return posteriors.PlanarFlow(mean, stddev, u, w, jnp.array([0.3, -0.2, 0.0]))
    if name == "iaf":
        networks = posteriors.init_iaf(key, 2, hidden_sizes=(4,), context_size=1)
        return posteriors.InverseAutoregressiveFlow(mean, stddev, jnp.ones(1), networks)
    networks = posteriors.init_auxiliary_flow(key, 2, hidden_sizes=(4,), context_size=1)
    networks = jax.tree.map(lambda leaf: 0.3 * leaf, networks)
    return posteriors.AuxiliaryFlow(mean, stddev, jnp.ones(1), networks)


FAMILIES = ("diagonal", "full_covariance", "planar", "iaf", "auxiliary_flow")


@pytest.mark.parametrize("name", FAMILIES)
def test_bounds_of_every_family_hold(keys, name):
    """ELBO < IWAE < log p(x) by quadrature, and E exp(IWAE) = p(x), for both likelihoods."""
    draws = jax.random.split(next(keys), 1000)

    @jax.jit
    def bounds(posterior):
        def both(key, likelihood, x):
            arguments = key, _curved, jnp.array(x, jnp.float32), posterior, likelihood
            prior = {"prior_stddev": jnp.array(PRIOR, jnp.float32)}
            elbo = objectives.sampling_elbo(*arguments, num_samples=10, **prior).value
            return elbo, objectives.iwae_bound(*arguments, num_samples=200, **prior)

        return [
            jax.vmap(lambda key, a=a, x=x: both(key, a, x))(draws) for a, x, _ in CASES.values()
        ]

    obtained = bounds(_family(name))
    for (elbo, iwae), (_, _, log_likelihood) in zip(obtained, CASES.values(), strict=True):
        log_p = _log_p(log_likelihood)
        elbo_mean, elbo_error = _mean_and_error(elbo)
        iwae_mean, iwae_error = _mean_and_error(iwae)
        assert elbo_mean < log_p + 4 * elbo_error
        assert iwae_mean < log_p + 4 * iwae_error
        assert iwae_mean - elbo_mean > 4 * np.hypot(elbo_error, iwae_error)
        assert log_p - iwae_mean < 0.01
        mean, error = _mean_and_error(np.exp(np.asarray(iwae, np.float64) - log_p))
        assert abs(mean - 1.0) < 4 * error
        assert 4 * error < 0.015


@pytest.mark.parametrize("name", ["full_covariance", "iaf", "auxiliary_flow"])
def test_the_score_left_out_has_mean_zero(keys, name):
    """Both gradients have one mean, in every parameter that is not a reverse model's or unused."""
    draws = jax.random.split(next(keys), 4000)
    likelihood, x, _ = CASES["bernoulli"]

    @jax.jit
    def differences(posterior):
        def elbo(posterior, key, objective):
            if objective is objectives.sampling_elbo:
                posterior = _sampled(posterior)
            return objective(key, _curved, jnp.array(x, jnp.float32), posterior, likelihood).value

        sticking, plain = (
            jax.vmap(jax.grad(elbo), (None, 0, None))(posterior, draws, objective)
            for objective in (objectives.sticking_the_landing_elbo, objectives.sampling_elbo)
        )
        return jax.tree.map(jnp.subtract, sticking, plain)

    leaves = jax.tree.leaves(differences(_family(name)))
    flat = np.concatenate([leaf.reshape(len(draws), -1) for leaf in leaves], axis=1)
    mean, error = _mean_and_error(flat)
    scored = np.abs(flat).max(axis=0) > 1e-4
    assert scored.sum() >= 4
    assert np.all(np.abs(mean[scored]) < 4 * error[scored])
    assert np.median(4 * error[scored]) < 0.1


def test_planar_flows_are_refused():
    with pytest.raises(NotImplementedError, match="a planar flow has no inverse"):
        _sticking(jax.random.key(0), _family("planar"))


@pytest.mark.parametrize("num_samples", [0, -1])
@pytest.mark.parametrize("name", ["sampling_elbo", "sticking_the_landing_elbo", "iwae_bound"])
def test_no_samples_are_refused(name, num_samples):
    with pytest.raises(ValueError, match=f"num_samples must be at least 1, got {num_samples}"):
        _estimate(getattr(objectives, name), jax.random.key(0), _wrong(), num_samples)
