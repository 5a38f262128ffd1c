"""Flags that change nothing are told, and those that change something are not."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import load_config, make_tiny_config

from sfvae_jax import models
from sfvae_jax.command_line.unread import unread
from sfvae_jax.likelihoods import LIKELIHOODS, build
from sfvae_jax.posteriors import POSTERIORS
from sfvae_jax.training.schedules import SCHEDULES, make_schedules

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
    "objective.gamma_start": 0.8,
    "objective.gamma_steps": 5,
    "objective.gamma_values": (0.9, 0.1),
    "objective.gamma_boundaries": (2, 3, 4, 5),
    "objective.beta_start": 0.3,
    "objective.beta_steps": 5,
    "objective.beta_cycles": 2,
    "objective.beta_ramp": 0.9,
    "objective.entropy_start": 0.3,
    "objective.entropy_steps": 5,
}


def _is_told(config, key):
    (sentence, *_), told = unread(config, [key]) or [""], bool(unread(config, [key]))
    assert not told or sentence.startswith(f"--config.{key} changes nothing here: it is only read")
    return told


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
        start = lambda key: model.init(key, x, method="encode")  # noqa: E731
        return str(jax.make_jaxpr(start)(key))

    before = program(config)
    for option in (key for key in OTHER if key.startswith("posterior.")):
        assert _is_told(config, option) == (program(_changed(config, option)) == before), option


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_of_a_likelihood(name):
    spec = LIKELIHOODS[name]
    data = {"categorical": "equations", "sequence": "architectures"}.get(name, "mnist_5k")
    networks = {"categorical": "grammar", "sequence": "recurrent"}.get(name, "mlp")
    changes = {"likelihood.name": name, "data.name": data, "model.name": networks}
    config = make_tiny_config(**changes, **{"evaluations.names": ("kl_divergence",)})
    for option in (key for key in OTHER if key.startswith("likelihood.")):
        if spec.of_sequences:
            read = (name, option) == ("sequence", "likelihood.variance")
        else:
            read = build(_changed(config, option).likelihood) != build(config.likelihood)
        assert _is_told(config, option) != read, option


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_of_a_schedule(schedule):
    """With an objective that has all three."""
    named = schedule.removesuffix("_schedule")
    for name in SCHEDULES[schedule]:
        config = make_tiny_config(
            **{"objective.name": "sampling_free", f"objective.{schedule}": name}
        )
        steps = jnp.arange(12)

        def values(config):
            weights = make_schedules(config.objective, 12)
            return [np.asarray(weight(steps)) for weight in weights]

        for option in (key for key in OTHER if key.startswith(f"objective.{named}_")):
            pairs = zip(values(_changed(config, option)), values(config), strict=True)
            same = all(np.array_equal(*pair) for pair in pairs)
            assert _is_told(config, option) == same, (name, option)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"objective.name": "sampling"}, ["gamma", "gamma_start", "tau"]),
        ({"objective.name": "sampling", "evaluations.names": ("bias",)}, ["gamma_start", "tau"]),
        ({"objective.name": "sampling_free"}, ["num_samples", "gamma_start", "tau"]),
        ({"objective.name": "bilbo_baggins"}, ["num_samples", "gamma", "gamma_start"]),
    ],
)
def test_of_an_objective(changes, told):
    keys = [f"objective.{option}" for option in ("num_samples", "gamma", "gamma_start", "tau")]
    sentences = unread(make_tiny_config(**changes), [*keys, "objective.name", "seed"])
    assert [sentence.split()[0] for sentence in sentences] == [
        f"--config.objective.{o}" for o in told
    ]


def test_of_an_evaluation_and_of_the_objectives_own_posterior():
    config = make_tiny_config(**{"evaluations.names": ("lower_bound",), "posterior.name": ""})
    keys = ("evaluations.lower_bound.num_samples", "evaluations.iwae_bound.num_samples")
    keys += ("evaluations.batch_size", "evaluations.generated.features", "posterior.num_flows")
    assert unread(config, keys) == [
        "--config.evaluations.iwae_bound.num_samples changes nothing here: 'iwae_bound' is not"
        " among evaluations.names",
        "--config.posterior.num_flows changes nothing here: it is only read where posterior.name is"
        " planar or iaf or auxiliary_flow, and here it is 'diagonal'",
    ]


def test_nothing_is_said_where_it_is_not_known():
    for changes in ({"plugins": ("one",)}, {"objective.name": "samplin"}, {"train.steps": -1}):
        assert not unread(make_tiny_config(**changes), ["objective.gamma", "objective.num_samples"])
    config = load_config("vae").get_config()
    assert not unread(config, ["likelihood.variance", "likelihood.min_variance"])
    config.likelihood.name = "bernoulli"
    assert len(unread(config, ["likelihood.variance", "likelihood.min_variance"])) == 2
