"""Keys, counts and flags of the wrong kind: every public function says so, in its own words."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sfvae_jax import likelihoods, objectives, posteriors
from sfvae_jax.objectives import ArgumentError

M, N = 2, 3
Q = posteriors.DiagonalGaussian(jnp.zeros(M), jnp.ones(M))
X, MEANS, CODE = jnp.zeros(N), jnp.zeros((4, M)), jnp.zeros(M)
GAUSSIAN, KEY = likelihoods.Gaussian(0.1), jax.random.key(0)


def _decode(z):
    return jnp.tanh(z @ jnp.ones((M, N)))


def _sampled(function):
    return lambda rng, **options: function(rng, _decode, X, Q, GAUSSIAN, **options)


def _of_batch(function, *more, **options):
    return lambda rng: function(rng, _decode, jnp.zeros((4, N)), MEANS, *more, **options)


def _probed(function):
    def call(rng, **options):
        return function(_decode, X, *given[function], rng=rng, observation_variance=0.1, **options)

    given = {objectives.log_evidence: (CODE,)}
    given |= dict.fromkeys((objectives.linearized_elbo, objectives.sampling_free_elbo), (Q,))
    return call


def _second_order(rng, **options):
    return objectives.second_order_elbo(_decode, X, Q, likelihood=GAUSSIAN, rng=rng, **options)


SAMPLED = {
    "sampling": _sampled(objectives.sampling_elbo),
    "sticking": _sampled(objectives.sticking_the_landing_elbo),
    "iwae": _sampled(objectives.iwae_bound),
    "control_variate": _sampled(objectives.control_variate_elbo),
    "bend_penalty": _sampled(objectives.bend_penalty),
}
PROBED = {
    "linearized": _probed(objectives.linearized_elbo),
    "sampling_free": _probed(objectives.sampling_free_elbo),
    "log_evidence": _probed(objectives.log_evidence),
    "second_order": _second_order,
    "control_variate": SAMPLED["control_variate"],
    "hutchinson": lambda rng, **options: objectives.hutchinson_gradient_penalty(
        rng, _decode, CODE, **options
    ),
}
OTHERS = {
    "hutchinson": PROBED["hutchinson"],
    "iwae": lambda rng: SAMPLED["iwae"](rng, num_samples=1),
    "cv_vae": lambda rng: objectives.cv_vae_loss(rng, _decode, X, CODE, variance=0.1),
    "bilbo": _of_batch(objectives.bilbo, 0.1, GAUSSIAN),
    "constant_variance": _of_batch(objectives.constant_variance_elbo, 0.1, GAUSSIAN),
    "bilbo_baggins": _of_batch(objectives.bilbo_baggins, 0.1, tau=0.2),
    "wae_mmd": _of_batch(objectives.wae_mmd_loss, weight=1.0),
}


@pytest.mark.parametrize("name", sorted({*SAMPLED, *OTHERS}))
@pytest.mark.parametrize("rng", [0, None, "key", np.zeros(2)])
def test_rng_must_be_a_key(name, rng):
    call = (SAMPLED | OTHERS)[name]
    with pytest.raises(
        ArgumentError, match=r"rng must be a key such as jax.random.key\(0\), got .*"
    ) as error:
        call(rng)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", PROBED)
def test_probes_require_a_key(name):
    with pytest.raises(ArgumentError, match=r"such as jax.random.key\(0\)[;,] got 0"):
        PROBED[name](0, num_probes=2)


@pytest.mark.parametrize("rng", [KEY, jax.random.PRNGKey(0)])
def test_keys_of_both_kinds_are_keys(rng):
    assert np.isfinite(SAMPLED["sampling"](rng).value)


@pytest.mark.parametrize(
    ("name", "option"),
    [(name, "num_samples") for name in SAMPLED] + [(name, "num_probes") for name in PROBED],
)
@pytest.mark.parametrize("value", [1.5, 2.0, "2", True, None])
def test_counts_are_whole_numbers(name, option, value):
    call = SAMPLED[name] if option == "num_samples" else PROBED[name]
    with pytest.raises(ArgumentError, match=f"{option} must be a whole number, got {value!r}"):
        call(KEY, **{option: value})


def test_whole_numbers_of_numpy_and_jax_are_counts():
    expected = PROBED["linearized"](KEY, num_probes=2).value
    for count in (np.int64(2), jnp.int32(2)):
        assert PROBED["linearized"](KEY, num_probes=count).value == expected


@pytest.mark.parametrize("name", ["sampling_free", "log_evidence"])
def test_the_number_of_products_is_whole(name):
    with pytest.raises(ArgumentError, match="lanczos_steps must be a whole number, got 1.5"):
        PROBED[name](KEY, num_probes=1, lanczos_steps=1.5)


@pytest.mark.parametrize("name", ["sampling", "control_variate"])
def test_pairs_are_asked_for_by_true(name):
    with pytest.raises(ArgumentError, match="antithetic must be True or False, got 'yes'"):
        SAMPLED[name](KEY, num_samples=2, antithetic="yes")


def test_a_likelihood_in_the_place_of_a_deviation_is_missing():
    with pytest.raises(ArgumentError, match="likelihood is missing; beside a posterior give it by"):
        objectives.second_order_elbo(_decode, X, Q, likelihoods.Bernoulli())


@pytest.mark.parametrize(
    ("name", "option", "value", "message"),
    [
        ("linearized", "bend_weight", -1.0, "bend_weight must not be negative, got -1.0"),
        ("linearized", "bend_weight", "a", "bend_weight must be a number, got 'a'"),
        ("linearized", "bend_weight", True, "bend_weight must be a number, got True"),
        ("linearized", "beta", -1.0, "beta must not be negative, got -1.0"),
        ("linearized", "beta", float("inf"), "beta must be finite, got inf"),
        ("linearized", "beta", float("nan"), "beta must not be negative, got nan"),
        ("linearized", "beta", jnp.ones(4), "beta must be a scalar, got shape (4,)"),
        ("linearized", "num_probes", True, "num_probes must be a whole number, got True"),
        ("linearized", "free_bits", -0.5, "free_bits must not be negative, got -0.5"),
        ("linearized", "free_bits_groups", 2, "free_bits_groups must be sizes such as (2, 3), or"),
        ("linearized", "free_bits_groups", (1.5,), "free_bits_groups must be a whole number"),
        ("linearized", "entropy_weight", -1, "entropy_weight must not be negative, got -1"),
        ("sampling_free", "gamma", 2.0, "gamma must lie in [0, 1], got 2.0"),
        ("sampling_free", "gamma", "a", "gamma must be a number, got 'a'"),
        ("sampling_free", "log_det_weight", "tau", "log_det_weight must be a number, got 'tau'"),
        ("sampling_free", "lanczos_steps", 1.5, "lanczos_steps requires num_probes"),
        ("sampling", "antithetic", "yes", "antithetic must be True or False, got 'yes'"),
        ("sampling", "num_samples", 2.0, "num_samples must be a whole number, got 2.0"),
        ("rae_gp", "penalty_weight", -1.0, "penalty_weight must not be negative, got -1.0"),
        ("bilbo_baggins", "tau", 0.0, "tau must be positive, got 0.0"),
        ("bilbo", "posterior_variance", "a", "posterior_variance must be a number, got 'a'"),
    ],
)
def test_options_of_batch_loss_keep_the_rules_of_a_config(name, option, value, message):
    q = posteriors.DiagonalGaussian(MEANS, jnp.ones((4, M)))
    x = jnp.zeros((4, N))
    with pytest.raises(ArgumentError, match=re.escape(message)):
        objectives.batch_loss(name, KEY, _decode, x, q, GAUSSIAN, **{option: value})
