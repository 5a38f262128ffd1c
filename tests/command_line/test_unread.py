"""Flags that a run does not read are told, and no others."""

import jax
import jax.numpy as jnp
import pytest
from helpers import load_config, make_tiny_config

from sfvae_jax import models
from sfvae_jax.command_line.unread import unread
from sfvae_jax.likelihoods import LIKELIHOODS, build
from sfvae_jax.posteriors import POSTERIORS

OTHER = {
    "posterior.variance": 0.3,
    "posterior.stddev": "softplus",
    "posterior.num_flows": 3,
    "posterior.hidden_sizes": (5,),
    "posterior.context_size": 7,
    "posterior.reverse_sizes": (6,),
    "posterior.auxiliary_start": "standard_normal",
    "likelihood.variance": 0.7,
    "likelihood.min_variance": 0.1,
    "likelihood.max_variance": 0.9,
}


def _changed(config, key):
    other = config.copy_and_resolve_references()
    other.update_from_flattened_dict({key: OTHER[key]})
    return other


@pytest.mark.parametrize("name", POSTERIORS)
def test_of_a_posterior(name):
    """The encoder's program is the same with another value of what is not read."""
    objective = "sampling" if POSTERIORS[name].has_density else "rae_l2"
    config = make_tiny_config(**{"posterior.name": name, "objective.name": objective})
    x, key = jnp.zeros((28, 28, 1)), jax.random.key(0)

    def program(config):
        model = models.build(config, x.shape)
        return str(jax.make_jaxpr(lambda key: model.init(key, x, method="encode"))(key))

    before = program(config)
    for option in (key for key in OTHER if key.startswith("posterior.")):
        is_read = program(_changed(config, option)) != before
        assert bool(unread(config, [option])) != is_read, option


@pytest.mark.parametrize(
    "name", [name for name, spec in LIKELIHOODS.items() if not spec.of_sequences]
)
def test_of_a_likelihood(name):
    config = make_tiny_config(
        **{"likelihood.name": name, "objective.name": "sampling"},
        **{"evaluations.names": ("kl_divergence",)},
    )
    for option in (key for key in OTHER if key.startswith("likelihood.")):
        is_read = build(_changed(config, option).likelihood) != build(config.likelihood)
        assert bool(unread(config, [option])) != is_read, option


def test_sequences_may_have_values_of_a_variance():
    config = load_config("architectures").get_config("laptop")
    options = ("likelihood.variance", "likelihood.min_variance")
    assert unread(config, options) == [
        "--config.likelihood.min_variance is not read in this run: likelihood.name is 'sequence'"
    ]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"objective.name": "sampling"}, ["gamma", "log_det_weight", "tau"]),
        ({"objective.name": "sampling", "evaluations.names": ("bias",)}, ["tau"]),
        ({"objective.name": "sampling", "objective.gamma_schedule": "linear"}, ["tau"]),
        ({"objective.name": "sampling_free"}, ["num_samples", "tau"]),
        ({"objective.name": "bilbo_baggins"}, ["num_samples", "gamma", "log_det_weight"]),
    ],
)
def test_of_an_objective(changes, told):
    options = ("name", "num_samples", "gamma", "gamma_steps", "log_det_weight", "tau", "beta_steps")
    found = unread(make_tiny_config(**changes), [f"objective.{option}" for option in options])
    name = changes["objective.name"]
    assert found == [
        f"--config.objective.{option} is not read in this run: objective.name is {name!r}"
        for option in told
    ]


def test_of_an_evaluation_and_of_the_objectives_own_posterior():
    config = make_tiny_config(**{"evaluations.names": ("lower_bound",), "posterior.name": ""})
    keys = ("lower_bound.num_samples", "iwae_bound.num_samples", "batch_size")
    # Read by a picture, and by `log_prob` of the loaded run.
    keys += ("collapse.epsilon", "marginal_likelihood.chunk_size", "generated.features")
    keys = (*(f"evaluations.{key}" for key in keys), "posterior.num_flows", "seed")
    assert unread(config, keys) == [
        "--config.evaluations.iwae_bound.num_samples is not read in this run: 'iwae_bound' is not"
        " among evaluations.names",
        "--config.posterior.num_flows is not read in this run: posterior.name is 'diagonal'",
    ]


def test_nothing_is_told_where_it_is_not_known_or_will_be_refused():
    open_name = load_config("vae").get_config()
    open_name.objective.name = "samplin"
    without_plugins = make_tiny_config()
    with without_plugins.unlocked():
        del without_plugins["plugins"]
    changed = ({"plugins": ("one",)}, {"objective.name": "samplin"}, {"train.steps": -1})
    refused = [make_tiny_config(**changes) for changes in changed]
    for config in (open_name, load_config("vae").get_config(), without_plugins, *refused):
        assert unread(config, ["objective.gamma", "objective.tau", "posterior.num_flows"]) == []
