"""Configurations: models and likelihoods must fit the data."""

import json

import pytest
from helpers import ROOT

from sfvae_jax import data
from sfvae_jax.config import (
    resolve,
    validate,
)
from sfvae_jax.errors import UsageError
from sfvae_jax.grammars import Language, sequence_grammar

CONFIGS = sorted(path.stem for path in (ROOT / "configs").glob("*.py"))


@pytest.mark.parametrize("likelihood", ["bernoulli", "discretized_logistic"])
def test_likelihoods_of_pixels_refuse_scaled_ones(tiny_config, likelihood):
    names = {"objective.name": "sampling", "likelihood.name": likelihood}
    with pytest.raises(UsageError, match=f"{likelihood}' requires pixels in .0, 1.; data.scale"):
        validate(tiny_config(**names, **{"data.scale": 10.0}))


@pytest.mark.parametrize(
    ("changes", "has_values", "message"),
    [
        (
            {"likelihood.name": "categorical"},
            None,
            "'categorical' requires sequences.*'mnist_5k'",
        ),
        (
            {"likelihood.name": "sequence"},
            None,
            "'sequence' requires sequences.*'mnist_5k'",
        ),
        ({}, False, "without values, whose likelihood.name is 'categorical', got 'gaussian'"),
        ({"likelihood.name": "sequence"}, False, "is 'categorical', got 'sequence'"),
        ({"likelihood.name": "categorical"}, True, "with values, .* 'sequence', got 'categorical'"),
        (
            {"likelihood.name": "categorical", "objective.jacobian_dtype": "bfloat16"},
            False,
            "jacobian_dtype 'bfloat16' only applies to decoders of images; give 'float32'",
        ),
    ],
)
def test_likelihoods_are_those_of_the_data(tiny_config, monkeypatch, changes, has_values, message):
    """Images, sequences of rules, and such with values."""
    grammar = sequence_grammar(("a", "b"))
    language = None if has_values is None else Language("layers", grammar, 5, has_values)
    monkeypatch.setattr(data, "language", lambda config: language)
    model = "mlp" if language is None else "recurrent"
    fitting = {"objective.name": "linearized", "model.name": model}
    fitting["evaluations.names"] = ("collapse",)  # of all
    with pytest.raises(UsageError, match=message) as caught:
        validate(tiny_config(**fitting | changes))
    assert "\n" not in str(caught.value)
    right = "gaussian" if language is None else "sequence" if has_values else "categorical"
    validate(tiny_config(**fitting, **{"likelihood.name": right}))


@pytest.mark.parametrize(
    ("name", "model", "message"),
    [
        ("equations", "mlp", "'equations' are sequences, whose model.name is one of grammar, rec"),
        ("mnist_5k", "recurrent", "'mnist_5k' are images, whose model.name is one of mlp, conv.*;"),
    ],
)
def test_models_are_those_of_the_data(tiny_config, name, model, message):
    changes = {"data.name": name, "model.name": model, "objective.name": "linearized"}
    changes["evaluations.names"] = ("collapse",)  # of all
    with pytest.raises(UsageError, match=f"{message}.* got '{model}'") as caught:
        validate(tiny_config(**changes))
    assert "\n" not in str(caught.value)


ARCHITECTURES = {
    "model.name": "recurrent",
    "objective.name": "sampling",
    "likelihood.name": "sequence",
    "evaluations.names": ("lower_bound",),
}


@pytest.fixture
def architectures(tmp_path, tiny_config):
    """Writes a file of architectures, and gives a config of it."""

    def make(*lines, **changes):
        path = tmp_path / "layers.jsonl"
        path.write_text("\n".join(map(json.dumps, lines)))
        name = {"data.name": f"architectures:{path}"}
        return tiny_config(**ARCHITECTURES | name | changes)

    return make


def test_layer_types_of_a_file_are_kept(architectures):
    lines = [[["pool", 0.5], ["conv", 1]], [["dense", 0]]]
    config = architectures(*lines)
    found = resolve(config)
    assert found.data.layer_types == ("conv", "dense", "pool")
    assert not config.data.layer_types
    assert resolve(config) == found
    given = architectures(*lines, **{"data.layer_types": found.data.layer_types})
    assert resolve(given) == found
    assert data.language(given.data) is data.language(config.data)
    more = architectures(*lines, [["conv", 0.25]])  # of the same types
    assert resolve(more) == found
    architectures(*lines, [["norm", 0]])
    assert resolve(config).data.layer_types == ("conv", "dense", "norm", "pool")
    with pytest.raises(UsageError, match="layer type 'norm' is not among data.layer_types"):
        resolve(given)
    own = architectures(*lines, **{"data.layer_types": ("pool", "x", "conv", "dense")})
    assert resolve(own).data.layer_types == ("pool", "x", "conv", "dense")


@pytest.mark.parametrize(
    ("activation", "value", "message"),
    [
        ("sigmoid", 64, r"value 64, .*'sigmoid' gives values in \[0, 1\].* or set .*n=relu$"),
        ("sigmoid", -3.5, r"value -3.5, .*'sigmoid' gives values in \[0, 1\]; scale .* there$"),
        ("relu", -3.5, r"value -3.5, .*'relu' gives values in \[0, inf\]; scale them .* there$"),
    ],
)
def test_values_that_the_decoder_cannot_give_are_refused(architectures, activation, value, message):
    changes = {"model.value_activation": activation}
    rounded = [["conv", -2e-7], ["dense", 1 + 2e-7]]
    validate(architectures(rounded, **changes))
    config = architectures([["conv", 1]], [["dense", value]], **changes)
    with pytest.raises(UsageError, match=message) as caught:
        validate(config)
    assert "\n" not in str(caught.value)
    if value > 0:
        config.model.value_activation = "relu"
        validate(config)
