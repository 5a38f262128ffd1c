"""Data that changed under the same name are reported before a run resumes."""

import json

import numpy as np
import pytest

from sfvae_jax import data, evaluate
from sfvae_jax.config import base_config, resolve
from sfvae_jax.data import sources
from sfvae_jax.errors import UsageError
from sfvae_jax.runs.data_fingerprint import data_changes, refuse_changes, with_fingerprint
from sfvae_jax.runs.workdir import Workdir
from sfvae_jax.train import train

IMAGES = np.random.default_rng(0).integers(0, 256, (26, 4, 4, 1), np.uint8)


def settings(tiny_config, path, **changes):
    return tiny_config(
        **{
            "data.name": f"npz:{path}",
            "data.num_examples": 0,
            "data.num_valid": 4,
            "train.steps": 2,
            "evaluations.steps": (),
            "evaluations.names": ("kl_divergence",),
            **changes,
        }
    )


def opened_data(config):
    """Returns what a starting run has: its config, with the fingerprint, and the splits."""
    config = resolve(config)
    splits = data.Splits(config.data)
    return with_fingerprint(config, splits), splits


def test_a_run_whose_data_change(tmp_path, tiny_config, caplog, monkeypatch):
    monkeypatch.setattr("sfvae_jax.evaluate.draw", lambda *_: None)
    path, run = tmp_path / "a.npz", tmp_path / "run"
    np.savez(path, x_train=IMAGES[:20], x_test=IMAGES[20:])
    config = settings(tiny_config, path)
    opened, open_source = [], sources.open_source
    monkeypatch.setattr(
        "sfvae_jax.data.splits.open_source",
        lambda group: opened.append(group.name) or open_source(group),
    )
    train(config, run)
    assert len(opened) == 1  # what a folder of many images lets a run wait for
    found = json.loads((run / "config.json").read_text())["data"]["fingerprint"]
    assert found.startswith("test 6 ")
    assert ", train 20 " in found
    np.savez(path, x_train=IMAGES[1:20], x_test=IMAGES[20:])
    before = {file: file.read_bytes() for file in run.rglob("*") if file.is_file()}
    with pytest.raises(UsageError, match=r"run on other data of 'npz.*train 20 .* and are .*19"):
        train(config, run)
    assert {file: file.read_bytes() for file in run.rglob("*") if file.is_file()} == before
    opened.clear()
    measured = evaluate.evaluate(config, run)
    assert len(opened) == 1
    results = json.loads((run / "results.json").read_text())
    assert set(results["caveats"]) == {
        name for name, value in measured.items() if value is not None
    }
    assert all("measured on other data than" in text for text in results["caveats"].values())
    assert "measured on other data than the run was trained on: the data were" in caplog.text

    # The same content again, whenever and in whatever order it was written.
    np.savez_compressed(path, x_train=IMAGES[19::-1], x_test=IMAGES[20:])
    resolved, splits = opened_data(config)
    refuse_changes(resolved.data, splits, Workdir(run))
    with pytest.raises(
        UsageError, match="data.fingerprint is 'train 1', but the fingerprint of data 'npz:"
    ):
        train(settings(tiny_config, path, **{"data.fingerprint": "train 1"}), run)


@pytest.mark.parametrize(("num_valid", "name"), [(4, "npz:"), (0, "npz:"), (4, "mnist_5k")])
def test_a_run_of_an_earlier_version(tmp_path, tiny_config, num_valid, name):
    """It resumes if it has the same training examples, and is refused if it may have others."""
    path = tmp_path / "a.npz"
    np.savez(path, x_train=IMAGES, x_test=IMAGES)
    data_name = f"npz:{path}" if name == "npz:" else name
    config = settings(tiny_config, path, **{"data.name": data_name, "data.num_valid": num_valid})
    resolved, splits = opened_data(config)
    files = Workdir(tmp_path / "run")
    files.claim(resolved)
    content = json.loads(files.config.read_text())
    del content["data"]["fingerprint"]
    files.config.write_text(json.dumps(content))
    files.check(resolved, base_config())
    assert not data_changes(resolved.data, splits, files)  # it has not been trained
    (files.checkpoints / "2").mkdir(parents=True)
    refused = num_valid and name == "npz:"
    assert bool(data_changes(resolved.data, splits, files)) == refused
    if refused:
        with pytest.raises(UsageError, match="begun by an earlier version, which held out other"):
            train(config, files.folder)
