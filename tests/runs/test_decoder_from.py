"""New encoders on the decoder of another run."""

import json
import shutil

import jax
import numpy as np
import pytest

from sfvae_jax import models
from sfvae_jax.config import resolve
from sfvae_jax.errors import UsageError
from sfvae_jax.evaluate import restore
from sfvae_jax.runs.checkpoints.restoring import read_params
from sfvae_jax.runs.decoder_from import with_decoder_from
from sfvae_jax.runs.workdir import Workdir
from sfvae_jax.train import train
from sfvae_jax.training.state import create_state, make_optimizer

SHORT = {
    "objective.name": "sampling",
    "model.hidden_sizes": (16, 8),
    "likelihood.name": "discretized_logistic",  # has a second network, of the scales
    "train.steps": 4,
    "train.steps_per_call": 2,
    "evaluations.steps": (),
}


@pytest.fixture(scope="module")
def source(tmp_path_factory, tiny_config):
    """The workdir of a trained run: 784 - 16 - 8 - 4 and back."""
    workdir = tmp_path_factory.mktemp("source") / "run"
    train(tiny_config(**SHORT), workdir)
    return workdir


def _networks(workdir):
    return read_params(workdir / "checkpoints", lambda name: True, lambda layout: None)


def _decoder(networks):
    return {part: networks[part] for part in ("decoder", "decoder_scales")}


def test_the_decoder_is_the_sources_to_the_bit_and_the_encoder_is_trained(
    source, tmp_path, tiny_config
):
    lent, workdir = tmp_path / "lent", tmp_path / "new"
    shutil.copytree(source, lent)
    before = sorted(path.relative_to(lent) for path in lent.rglob("*"))
    changes = {
        "train.decoder_from": str(lent),
        "model.hidden_sizes": (),
        "model.decoder_sizes": (8, 16),
        "posterior.name": "planar",
    }
    config = tiny_config(**SHORT | changes)
    train(config, workdir)
    assert sorted(path.relative_to(lent) for path in lent.rglob("*")) == before

    trained = _networks(workdir)
    expected = _decoder(_networks(lent))
    jax.tree.map(np.testing.assert_array_equal, _decoder(trained), expected)
    resolved, shape = resolve(config), (28, 28, 1)
    model, optimizer = models.build(resolved, shape), make_optimizer(config.train)
    fresh = create_state(resolved, model, optimizer, shape).params
    jax.tree.map(
        lambda new, old: np.testing.assert_array_less(1e-4, np.max(np.abs(new - old))),
        trained["encoder"],
        jax.device_get(fresh["params"]["encoder"]),
    )

    # A run that has begun no longer needs the source.
    shutil.rmtree(lent)
    train(config, workdir)
    assert int(restore(resolved, Workdir(workdir), shape)[1].step) == 4


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"likelihood.name": "gaussian"}, "name is 'discretized_logistic' in that run and"),
        (
            {"likelihood.variance": 0.1},
            "likelihood.variance is 0.5 in that run and 0.1 in this one",
        ),
        ({"model.latent_size": 3}, "model.latent_size is 4 in that run and 3 in this one"),
        ({"model.latent_scale": 2.0}, "model.latent_scale is 1.0 in that run and 2.0 in this one"),
        (
            {"model.activation": "tanh"},
            "model.activation is 'relu' in that run and 'tanh' in this one",
        ),
        (
            {"model.decoder_sizes": (8,)},
            "decoder.Dense_1.bias is .16. in that run and .784. in this one",
        ),
        ({"objective.name": "rae_sn", "likelihood.name": "gaussian"}, "'rae_sn' normalises the"),
    ],
)
def test_another_decoder_is_refused(source, tmp_path, tiny_config, changes, message):
    changes = {"train.decoder_from": str(source), **changes}
    with pytest.raises(UsageError, match=f"train.decoder_from: .*{message}") as caught:
        train(tiny_config(**SHORT | changes), tmp_path / "new")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "new").exists()


def _as_if(folder, source, changes):
    """A run with the config and the checkpoints of the source, some settings of it changed."""
    shutil.copytree(source / "checkpoints", folder / "checkpoints")
    content = json.loads((source / "config.json").read_text())
    for key, value in changes.items():
        group, name = key.split(".")
        content[group][name] = value
    (folder / "config.json").write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("there", "message"),
    [
        (
            {"data.layer_types": ["conv"]},
            r"data.layer_types is \['conv'\] in that run and \[\] in this one",
        ),
        ({"model.value_activation": "relu"}, "model.value_activation is 'relu' in that run and"),
        (
            {"data.name": "enas:a.txt"},
            "data.name is 'enas:a.txt' in that run and 'mnist_5k' in this one",
        ),
    ],
)
def test_a_decoder_of_other_sequences_is_refused(source, tmp_path, tiny_config, there, message):
    _as_if(tmp_path / "lent", source, there)
    changes = {"train.decoder_from": str(tmp_path / "lent")}
    with pytest.raises(UsageError, match=f"the decoder of .* does not fit this model: {message}"):
        train(tiny_config(**SHORT | changes), tmp_path / "new")


def test_what_an_earlier_version_did_not_know_is_no_difference(source, tmp_path, tiny_config):
    lent = tmp_path / "lent"
    _as_if(lent, source, {"data.name": "mnist"})  # images may be others
    content = json.loads((lent / "config.json").read_text())
    del content["data"]["layer_types"], content["model"]["value_activation"]
    (lent / "config.json").write_text(json.dumps(content))
    config = resolve(tiny_config(**SHORT, **{"train.decoder_from": str(lent)}))
    model, optimizer = models.build(config, (28, 28, 1)), make_optimizer(config.train)
    state = create_state(config, model, optimizer, (28, 28, 1))
    taken = with_decoder_from(config, state).params
    expected = _decoder(_networks(source))
    jax.tree.map(np.testing.assert_array_equal, _decoder(taken["params"]), expected)


def test_what_holds_no_decoder_is_refused(source, tmp_path, tiny_config):
    def start(folder):
        train(tiny_config(**SHORT, **{"train.decoder_from": str(folder)}), tmp_path / "new")

    with pytest.raises(UsageError, match="none holds no run; give another workdir"):
        start(tmp_path / "none")
    begun = tmp_path / "begun"
    begun.mkdir()
    content = json.loads((source / "config.json").read_text())
    (begun / "config.json").write_text(json.dumps(content))
    with pytest.raises(UsageError, match="begun holds no checkpoint yet; train it first"):
        start(begun)
    shutil.copytree(source / "checkpoints", begun / "checkpoints")
    content["objective"]["name"] = "rae_sn"
    (begun / "config.json").write_text(json.dumps(content))
    content["objective"]["name"] = "bilbo"
    (begun / "config.json").write_text(json.dumps(content))
    with pytest.raises(
        UsageError, match="'bilbo' of that run does not train p.x.z. under a standard normal prior"
    ):
        start(begun)
    content["objective"]["name"] = "rae_sn"
    (begun / "config.json").write_text(json.dumps(content))
    with pytest.raises(
        UsageError, match="does not fit this model: objective 'rae_sn' of that run normalises it"
    ):
        start(begun)
    assert not (tmp_path / "new").exists()


def test_batch_norm_is_refused(source, tiny_config):
    changes = {
        "train.decoder_from": str(source),
        "model.name": "conv_bn",
        "model.channels": (2, 2),
    }
    config, shape = resolve(tiny_config(**changes)), (16, 16, 1)
    state = create_state(config, models.build(config, shape), make_optimizer(config.train), shape)
    with pytest.raises(UsageError, match="train.decoder_from: model 'conv_bn' uses BatchNorm"):
        with_decoder_from(config, state)
