"""Invalid arguments are refused in one line; what can be broadcast is broadcast correctly."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sfvae_jax import likelihoods, objectives, posteriors
from sfvae_jax.objectives import ArgumentError

M, N = 3, 5
WEIGHTS = np.random.default_rng(0).normal(size=(N, M)).astype(np.float32)
X = jnp.linspace(-1.0, 1.5, N)
MEAN = jnp.array([0.4, -0.2, 0.1])
KEY = jax.random.key(0)
GAUSSIAN = likelihoods.Gaussian(0.5)


def _decode(z):
    return jnp.array(WEIGHTS) @ z


@functools.cache
def _networks():
    sizes = {"num_flows": 1, "hidden_sizes": (4,)}
    with jax.ensure_compile_time_eval():  # also where the first call is traced
        return {
            "iaf": posteriors.init_iaf(KEY, M, **sizes),
            "auxiliary": posteriors.init_auxiliary_flow(KEY, M, **sizes),
        }


def _posteriors(mean, stddev):
    """Each family on one base."""
    draw = lambda seed, *shape: jax.random.normal(jax.random.key(seed), shape)  # noqa: E731
    networks = _networks()
    return {
        "diagonal": posteriors.DiagonalGaussian(mean, stddev),
        "planar": posteriors.PlanarFlow(mean, stddev, draw(1, 2, M), draw(2, 2, M), draw(3, 2)),
        "iaf": posteriors.InverseAutoregressiveFlow(mean, stddev, None, networks["iaf"]),
        "auxiliary": posteriors.AuxiliaryFlow(mean, stddev, None, networks["auxiliary"]),
    }


FAMILIES = ("diagonal", "planar", "iaf", "auxiliary")
LINEARIZED = {
    "sampling_free": objectives.sampling_free_elbo,
    "linearized": objectives.linearized_elbo,
}


def _linearized(name, mean=MEAN, stddev=0.5, x=X, **settings):
    return LINEARIZED[name](_decode, x, mean, stddev, **{"observation_variance": 0.5, **settings})


def _equal(a, b):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), a, b)


# ---- one deviation for all latents ----


def _same_for_all(function, scalar):
    """A function of a deviation gives the same for a scalar and for one of each latent."""
    both = jax.jit(lambda whole: (function(scalar), function(whole)))  # one program is compiled
    _equal(*both(jnp.full(M, scalar)))


@pytest.mark.parametrize("family", FAMILIES)
def test_a_scalar_stddev_is_that_of_every_latent(family):
    def values(stddev):
        q = _posteriors(MEAN, stddev)[family]
        if family != "diagonal":
            return q.sample_and_log_prob(KEY)
        bounds = objectives.iwae_bound, objectives.sticking_the_landing_elbo
        sampled = [bound(KEY, _decode, X, q, GAUSSIAN, num_samples=3) for bound in bounds]
        return sampled, q.kl_to_prior(4.0 * stddev), q.entropy(), q.log_prob(MEAN)

    _same_for_all(values, 0.5)


def test_a_scalar_stddev_applies_to_every_latent_in_closed_forms():
    batch = KEY, _decode, jnp.stack([X, 2 * X]), jnp.stack([MEAN, -MEAN])

    def values(scale):
        return (
            [_linearized(name, stddev=scale, prior_stddev=2.0 * scale) for name in LINEARIZED],
            objectives.gaussian_kl_per_dimension(MEAN, scale, 2.0 * scale),
            objectives.gaussian_expected_log_prior(MEAN, scale, 2.0 * scale),
            objectives.bilbo(*batch, scale, GAUSSIAN),
            objectives.constant_variance_elbo(*batch, scale, GAUSSIAN),
        )

    _same_for_all(values, 0.5)


@pytest.mark.parametrize("shape", [(1,), (2,), (1, M), (M, 1)])
@pytest.mark.parametrize("family", FAMILIES)
def test_every_other_shape_of_a_deviation_is_refused(family, shape):
    """A [1] broadcasts through a sample, and not through a sum of logs."""
    wrong = jnp.full(shape, 0.5)
    expected = "must be a scalar or have shape"
    with pytest.raises(ArgumentError, match=f"stddev {expected}"):
        jax.eval_shape(lambda: _posteriors(MEAN, wrong)[family].sample_and_log_prob(KEY))
    settings = {"num_samples": 2, "prior_stddev": wrong}
    right = _posteriors(MEAN, 0.5)[family]
    for bound in (objectives.sampling_elbo, objectives.iwae_bound):
        with pytest.raises(ArgumentError, match=f"prior_stddev {expected}"):
            jax.eval_shape(functools.partial(bound, KEY, _decode, X, right, GAUSSIAN, **settings))


@pytest.mark.parametrize("shape", [(1,), (2,), (1, M), (1, N), (N, 1), (7, M), (7, N)])
def test_every_objective_refuses_wrong_shapes(shape):
    wrong = jnp.full(shape, 0.5)
    batch = KEY, _decode, jnp.stack([X, X]), jnp.stack([MEAN, MEAN])
    refused = {
        "stddev": lambda: _linearized("sampling_free", stddev=wrong),
        "linearized stddev": lambda: _linearized("linearized", stddev=wrong),
        "prior_stddev": lambda: _linearized("linearized", prior_stddev=wrong),
        "observation_variance": lambda: _linearized("linearized", observation_variance=wrong),
        "gamma": lambda: _linearized("sampling_free", gamma=wrong),
        "log_evidence": lambda: objectives.log_evidence(
            _decode, X, MEAN, observation_variance=0.5, prior_stddev=wrong
        ),
        "precision": lambda: objectives.posterior_precision(
            _decode, MEAN, observation_variance=wrong
        ),
        "posterior_variance": lambda: objectives.bilbo(*batch, wrong, GAUSSIAN),
        "tau": lambda: objectives.bilbo_baggins(*batch, 0.5, tau=wrong),
        "beta": lambda: objectives.rae_loss(_decode, X, MEAN, beta=wrong),
        "penalty": lambda: objectives.rae_loss(_decode, X, MEAN, beta=1.0, penalty=wrong),
        "noise": lambda: objectives.cv_vae_loss(KEY, _decode, X, MEAN, variance=wrong),
        "weight": lambda: objectives.wae_mmd_loss(*batch, weight=wrong),
        "variance": lambda: likelihoods.Gaussian(wrong).log_prob(X, X),
        "fisher": lambda: likelihoods.Gaussian(wrong).fisher(X),
        "drawn": lambda: likelihoods.Gaussian(wrong).sample(KEY, X),
        "learned": lambda: likelihoods.HeteroscedasticGaussian().log_prob(X, (X, wrong)),
        "logits": lambda: likelihoods.Bernoulli().log_prob(X, wrong),
        "scale_tril": lambda: posteriors.FullCovarianceGaussian(MEAN, wrong).entropy(),
    }
    for name, call in refused.items():
        with pytest.raises(ArgumentError) as error:
            call()
        assert "\n" not in str(error.value), name
        assert str(shape) in str(error.value), name


def test_a_log_scale_broadcasts_or_is_refused():
    logistic, x = likelihoods.DiscretizedLogistic(), jnp.full((2, N), 0.2)
    for shape in ((), (1,), (N,), (2, 1), (2, N)):
        assert logistic.log_prob(x, (x, jnp.full(shape, -1.0))).shape == ()
    for shape in ((2,), (3, N), (1, 2, N)):
        with pytest.raises(ArgumentError, match=r"log s must broadcast to \(2, 5\)"):
            logistic.log_prob(x, (x, jnp.full(shape, -1.0)))


def test_parameters_of_flows_fit_or_are_refused():
    right = _posteriors(MEAN, 0.5)
    for name, wrong in {"u": (M,), "w": (2, 1), "b": (1,)}.items():
        with pytest.raises(ArgumentError, match="must have shape"):
            dataclasses.replace(right["planar"], **{name: jnp.ones(wrong)}).center()
    for sizes, what in {(M + 1, 4): "kernel", (1, 4): "kernel"}.items():
        networks = posteriors.init_iaf(KEY, sizes[0], num_flows=1, hidden_sizes=sizes[1:])
        with pytest.raises(ArgumentError, match=what):
            dataclasses.replace(right["iaf"], networks=networks).center()
    for family in ("iaf", "auxiliary"):
        with pytest.raises(ArgumentError, match="no context, but one is given"):
            dataclasses.replace(right[family], context=jnp.ones(2)).sample_and_log_prob(KEY)
    networks = posteriors.init_iaf(KEY, M, num_flows=1, context_size=2)
    with pytest.raises(ArgumentError, match="a context, but none is given"):
        dataclasses.replace(right["iaf"], networks=networks).center()
    flow = dataclasses.replace(right["iaf"], networks=networks, context=jnp.ones((7, 2)))
    with pytest.raises(ArgumentError, match="context must have shape"):
        flow.center()


# ---- what is no example, no posterior, no likelihood ----


def test_a_batch_without_vmap_is_told_what_to_do():
    means, batch = jnp.stack([MEAN] * 8), jnp.stack([X] * 8)
    hint = "takes one example; use jax.vmap"
    sampled = functools.partial(objectives.sampling_elbo, KEY, _decode)
    calls = [
        *(lambda name=name: _linearized(name, means, jnp.ones((8, M))) for name in LINEARIZED),
        *(lambda name=name: _linearized(name, x=batch) for name in LINEARIZED),
        lambda: objectives.log_evidence(_decode, batch, MEAN, observation_variance=0.5),
        lambda: objectives.decoder_jacobian(_decode, means),
        lambda: objectives.rae_loss(_decode, batch, means, beta=1.0),
        lambda: objectives.cv_vae_loss(KEY, _decode, batch, means, variance=1.0),
        lambda: objectives.gradient_penalty(_decode, means),
        lambda: sampled(batch, posteriors.DiagonalGaussian(MEAN, 0.5), GAUSSIAN),
        lambda: sampled(batch, posteriors.DiagonalGaussian(means, 0.5), GAUSSIAN),
        lambda: objectives.second_order_elbo(_decode, X, means, 0.5, GAUSSIAN),
        lambda: objectives.posterior_gap(jnp.ones((8, M, M)), jnp.ones(M)),
        lambda: posteriors.FullCovarianceGaussian(MEAN, jnp.ones((8, M, M))).entropy(),
        *(
            lambda family=family: _posteriors(means, jnp.ones((8, M)))[family].sample_and_log_prob(
                KEY
            )
            for family in FAMILIES
        ),
        lambda: objectives.free_bits_kl(jnp.ones((8, M)), minimum=0.1),
    ]
    for call in calls:
        with pytest.raises(ArgumentError, match=hint):
            call()


def test_arguments_that_are_no_posterior_or_likelihood_are_named():
    right = posteriors.DiagonalGaussian(MEAN, 0.5)
    refused = {
        "a tuple": ((MEAN, 0.5), GAUSSIAN),
        "a Point": (posteriors.Point(MEAN), GAUSSIAN),
        "the class DiagonalGaussian": (posteriors.DiagonalGaussian, GAUSSIAN),
        "a float": (right, 0.5),
        "the class Bernoulli": (right, likelihoods.Bernoulli),
    }
    for what, (posterior, likelihood) in refused.items():
        for bound in (
            objectives.sampling_elbo,
            objectives.sticking_the_landing_elbo,
            objectives.iwae_bound,
        ):
            with pytest.raises(ArgumentError, match=f"got {what}$"):
                bound(KEY, _decode, X, posterior, likelihood, num_samples=2)
    batch = KEY, _decode, jnp.stack([X, X]), jnp.stack([MEAN, MEAN]), 0.5
    for function in (objectives.bilbo, objectives.constant_variance_elbo):
        with pytest.raises(ArgumentError, match="likelihood must have a method log_prob"):
            function(*batch, (0.5,))
        with pytest.raises(ArgumentError, match="x must hold one example for each of the 2 means"):
            function(*batch[:2], X, *batch[3:], GAUSSIAN)


def test_a_likelihood_must_return_a_scalar():
    """Its mean over the pixels would pass for a bound."""

    class PerPixel:
        def log_prob(self, x, parameters):
            return -jnp.square(x - parameters)

    posterior = posteriors.DiagonalGaussian(MEAN, 0.5)
    for bound in (objectives.sampling_elbo, objectives.iwae_bound):
        with pytest.raises(ArgumentError, match="log_prob.* must be a scalar"):
            bound(KEY, _decode, X, posterior, PerPixel(), num_samples=2)


def test_an_array_of_two_rows_is_not_a_pair():
    rows = jnp.full((2, N), 0.5)
    for likelihood in (likelihoods.HeteroscedasticGaussian(), likelihoods.DiscretizedLogistic()):
        for call in (
            lambda likelihood=likelihood: likelihood.log_prob(X, rows),
            lambda likelihood=likelihood: likelihood.mean(rows),
            lambda likelihood=likelihood: likelihood.location(rows),
        ):
            with pytest.raises(ArgumentError, match="parameters must be the pair"):
                call()


# ---- values, where they are known ----


@pytest.mark.parametrize("bad", [-0.5, 0.0, float("nan")])
def test_deviations_and_variances_that_are_not_positive_are_refused(bad):
    one_bad = jnp.array([0.5, bad, 0.5])
    below = jnp.diag(one_bad)
    batch = KEY, _decode, jnp.stack([X, X]), jnp.stack([MEAN, MEAN])
    posterior = posteriors.DiagonalGaussian(MEAN, 0.5)
    calls = [
        *(lambda n=n, s=s: _linearized(n, stddev=s) for n in LINEARIZED for s in (bad, one_bad)),
        *(lambda n=n: _linearized(n, observation_variance=bad) for n in LINEARIZED),
        *(lambda n=n: _linearized(n, prior_stddev=one_bad) for n in LINEARIZED),
        *(
            lambda family=family: _posteriors(MEAN, bad)[family].sample_and_log_prob(KEY)
            for family in FAMILIES
        ),
        lambda: posteriors.FullCovarianceGaussian(MEAN, below).sample_and_log_prob(KEY),
        lambda: posterior.kl_to_prior(bad),
        lambda: objectives.iwae_bound(
            KEY, _decode, X, posterior, GAUSSIAN, num_samples=2, prior_stddev=bad
        ),
        lambda: objectives.gaussian_entropy(one_bad),
        lambda: objectives.gaussian_log_prob(X, X, bad),
        lambda: objectives.low_rank_gaussian_log_prob(X, jnp.array(WEIGHTS), bad),
        lambda: objectives.posterior_gap(jnp.eye(M), one_bad),
        lambda: objectives.bilbo(*batch, one_bad, GAUSSIAN),
        lambda: objectives.bilbo_baggins(*batch, 0.5, tau=bad),
        lambda: likelihoods.Gaussian(bad).log_prob(X, X),
        lambda: likelihoods.Gaussian(np.float32(bad)).fisher(X),
        lambda: likelihoods.HeteroscedasticGaussian().log_prob(X, (X, jnp.full(N, bad))),
    ]
    for call in calls:
        with pytest.raises(ArgumentError, match=rf"must be positive, got {bad}"):
            call()
    if bad:
        with pytest.raises(ArgumentError, match="variance must not be negative"):
            objectives.cv_vae_loss(KEY, _decode, X, MEAN, variance=bad)
        with pytest.raises(ArgumentError, match="gamma must lie"):
            _linearized("sampling_free", gamma=bad)


def test_traced_values_are_not_checked():
    """Values that are not known pass, under jit, vmap and grad; the checks add no operation."""

    bad = jnp.array([0.5, -1.0, 0.5])
    entropy = lambda stddev: posteriors.DiagonalGaussian(MEAN, stddev).entropy()  # noqa: E731
    assert np.isnan(jax.jit(entropy)(bad))
    assert np.isnan(jax.vmap(entropy)(bad[None])).all()
    jax.grad(entropy)(bad)
    jax.eval_shape(lambda stddev: _linearized("sampling_free", stddev=stddev), bad)
    of_kl = jax.make_jaxpr(objectives.gaussian_kl_per_dimension)(MEAN, MEAN)
    names = {str(eqn.primitive) for eqn in of_kl.eqns}
    assert names.isdisjoint({"gt", "lt", "is_finite", "reduce_and", "pure_callback"})


@pytest.mark.filterwarnings("error")
def test_numpys_float64_is_taken_as_float32():
    """As JAX takes it where its own float64 is off; without a warning."""
    x, mean, rows = (np.asarray(value, np.float64) for value in (X, MEAN, WEIGHTS))
    values = [
        objectives.gradient_penalty(_decode, mean),
        objectives.hutchinson_gradient_penalty(KEY, _decode, mean),
        *posteriors.DiagonalGaussian(mean, np.full(M, 0.5)).sample_and_log_prob(KEY),
        likelihoods.Categorical().noise(KEY, rows),
        likelihoods.DiscretizedLogistic().sample(KEY, (x, np.array(-1.0))),
    ]
    assert {value.dtype for value in values} == {jnp.dtype("float32")}
    np.testing.assert_allclose(values[0], np.sum(rows**2), rtol=1e-6)
