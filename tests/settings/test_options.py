"""Options and their rules: what each accepts, and that none lacks a rule."""

import fractions
import math

import numpy as np
import pytest
from helpers import load_config

from sfvae_jax import evaluation, options
from sfvae_jax.config import base_config, groups, resolve
from sfvae_jax.errors import UsageError
from sfvae_jax.options import COUNT, POSITIVE, Option


def test_an_evaluation_cannot_be_added_without_rules():
    with pytest.raises(TypeError, match="num_samples must be an Option.* got 5"):
        evaluation.Evaluation(lambda trained, options: {}, (), {"num_samples": 5})
    with pytest.raises(TypeError, match="size must be an Option"):
        evaluation.Evaluation(lambda trained, options: {}, (), {"local": {"size": 5}})
    with pytest.raises(TypeError, match="the default 0 must be a whole number from 1 to"):
        Option(0, COUNT, "of samples")
    with pytest.raises(TypeError, match="the default None must be"):
        Option(None, options.optional(COUNT), "of samples")


def test_an_evaluation_that_is_added_is_checked(monkeypatch):
    own = evaluation.Evaluation(
        lambda trained, options: {"mine": 1.0},
        (evaluation.Measure("mine"),),
        {"num_samples": Option(5, COUNT, "")},
    )
    monkeypatch.setitem(evaluation.EVALUATIONS, "mine", own)
    config = base_config()
    assert config.evaluations.mine.num_samples == 5
    config.evaluations.mine.num_samples = -3
    with pytest.raises(UsageError, match="evaluations.mine.num_samples must be .*, got -3"):
        resolve(config)
    config.evaluations.mine.num_samples = 3
    config.evaluations.names = ("mine",)
    assert resolve(config).evaluations.names == ("mine",)


def _leaves(group, prefix=""):
    for name, entry in group.items():
        if isinstance(entry, Option):
            yield prefix + name, entry
        else:
            yield from _leaves(entry, f"{prefix}{name}.")


@pytest.mark.parametrize(
    "value", [object(), -3, ("zzz",), "zzz", math.nan, None, 2**140, [1.5], {}]
)
def test_every_option_is_checked_for_its_type_and_range(value):
    """No option accepts every value; `resolve` names the whole key of what it refuses."""
    taken = {
        "text": (
            "data.name",
            "data.fingerprint",
        ),  # checked with other groups
        "zzz": ("preset", "train.decoder_from", "evaluations.generated.inception_path"),
        ("zzz",): (
            "data.layer_types",
            "plugins",
            "plugin_digests",
            "evaluations.gradient_noise.estimators",  # as other options of evaluations
        ),
    }
    config = base_config()
    for key, option in _leaves(groups()):
        if key == "published" or (value is None and option.of):
            continue
        group, _, name = key.rpartition(".")
        holder = config
        for part in group.split(".") if group else ():
            holder = holder[part]
        given = holder[name]
        del holder[name]
        holder[name] = value
        if option.rule.holds(holder[name]):
            assert value in ("zzz", ("zzz",)), key
            assert key in taken[value] + taken["text"], key
        else:
            with pytest.raises(UsageError) as caught:
                resolve(config)
            assert key in str(caught.value)
            assert "\n" not in str(caught.value)
        del holder[name]
        holder[name] = given


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("inference_gaps.pictured", ("zzz",), r"must be indices of images, from 0, got \('zzz',\)"),
        ("names", (1,), r"evaluations.names must be 1 or more of collapse, .*, got \(1,\)"),
        ("names", "collapse", "evaluations.names must be 1 or more of .*, got 'collapse'"),
        ("names", ("bias", "bias"), "none of them twice, got"),
        ("pictures.manifold_side", 10**6, "manifold_side must be .* to 1000, got 1000000"),
        ("iwae_bound.num_samples", 2**31, r"to 2\*\*31 - 1, got 2147483648"),
        pytest.param(
            "iwae_bound.num_samples", 10**5000, r"to 2\*\*31 - 1, got a very long int", id="long"
        ),
        ("iwae_bound.num_samples", True, r"to 2\*\*31 - 1, got True"),
    ],
)
def test_values_that_came_through(key, value, message):
    config = base_config().evaluations
    with config.ignore_type():
        config.update_from_flattened_dict({key: value})
    with pytest.raises(UsageError, match=message):
        evaluation.check_options(config)


@pytest.mark.parametrize("value", [1e-50, 1e300, fractions.Fraction(1, 10**60), 5e-324])
def test_what_float32_does_not_hold_is_not_positive(value):
    assert not POSITIVE.holds(value)


def test_lists_and_numbers_of_numpy_become_plain():
    config = base_config()
    del config.model.hidden_sizes
    config.model.hidden_sizes = [np.int64(16), 8]
    with config.ignore_type():
        config.train.steps = np.int32(7)
        config.train.learning_rate = np.float64(0.5)
    found = resolve(config.lock())
    assert repr(found.model.hidden_sizes) == "(16, 8)"
    assert repr((found.train.steps, found.train.learning_rate)) == "(7, 0.5)"
    assert found.is_locked


@pytest.mark.parametrize(
    ("key", "value", "hint"),
    [
        ("objective.gama", 0.3, "did you mean objective.gamma?"),
        ("train.gamma", 0.3, "did you mean objective.gamma?"),
        ("evaluations.colapse", 1, "did you mean evaluations.collapse?"),
        ("evaluations.inference_gaps.local.paitence", 1, "inference_gaps.local.patience?"),
        ("trian", 1, "did you mean train?"),
        ("likelihood.foo", 1, "likelihood.name, likelihood.variance, likelihood.min_variance"),
    ],
)
def test_an_unknown_key_is_named_whole(key, value, hint):
    config = base_config()
    config.update_from_flattened_dict({key: value})  # it is not locked
    with pytest.raises(UsageError) as caught:
        resolve(config)
    assert str(caught.value).startswith(f"unknown config key {key}; ")
    assert hint in str(caught.value)


def test_keys_that_are_missing_and_groups_that_are_none():
    config = base_config()
    del config.train["steps"]
    with pytest.raises(UsageError, match=r"config key train\.steps is missing; start from"):
        resolve(config)
    config = base_config()
    del config["evaluations"]
    config.evaluations = 5
    with pytest.raises(UsageError, match=r"^evaluations must be a group of options, .* got 5"):
        resolve(config)
    config = base_config()
    config.published.figure = object()
    with pytest.raises(UsageError, match="published must be a group of plain numbers and texts"):
        resolve(config)


@pytest.mark.parametrize("name", ["mnist_collapse", "rae", "equations", "inference_gaps"])
def test_what_is_resolved_can_be_resolved_again(name):
    found = resolve(load_config(name).get_config("laptop"))
    assert resolve(found) == found
