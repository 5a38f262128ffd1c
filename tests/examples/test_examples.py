"""The files in examples/: they run, they are short, and docs/your_own_model.md lists them."""

import re
import shlex
import subprocess
import sys

import jax
import numpy as np
import pytest
from helpers import ROOT
from PIL import Image

from launch.sweep import main as sweep
from sfvae_jax import objectives

FILES = sorted(path for path in (ROOT / "examples").iterdir() if path.is_file())
LIBRARIES = {
    "plain_jax": "jax",
    "linen": "flax",
    "nnx": "flax",
    "equinox_decoder": "equinox",
    "haiku_decoder": "haiku",
}
# The other two also need the decoder's parameters, which the examples do not pass.
NAMES = [name for name in objectives.OBJECTIVES if name not in ("rae_l2", "rae_sn")]


def _run(name, monkeypatch, replaced, *arguments):
    """Runs an example with some of its text replaced, to be shorter; returns its names."""
    source = (ROOT / "examples" / f"{name}.py").read_text()
    for old, new in replaced.items():
        assert source.count(old) == 1
        source = source.replace(old, new)
    monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
    names = {"__name__": "__main__"}
    exec(compile(source, f"examples/{name}.py", "exec"), names)
    return names


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_an_example_is_short_and_in_the_docs(file):
    assert len(file.read_text().splitlines()) <= 40
    page = (ROOT / "docs" / "your_own_model.md").read_text()
    assert f"(../examples/{file.name})" in page


def test_plugins_are_short():
    plugins = (ROOT / "examples" / "plugins").glob("*.py")
    assert max(len(file.read_text().splitlines()) for file in plugins) <= 50


def _pairs():
    """Each objective with one library, and with all others if slow tests run too."""
    for i, name in enumerate(NAMES):
        for j, library in enumerate(LIBRARIES):
            slow = [pytest.mark.slow] * (i % len(LIBRARIES) != j)
            yield pytest.param(library, name, marks=slow)


@pytest.mark.parametrize(("library", "name"), list(_pairs()))
def test_a_library_trains(library, name, monkeypatch, capsys):
    pytest.importorskip(LIBRARIES[library])
    names = _run(library, monkeypatch, {"300)": "20)", "step % 50": "step % 1"}, name)
    shown = re.findall(r"^step \d+  loss (-?\d+\.\d\d)$", capsys.readouterr().out, re.MULTILINE)
    losses = np.float64(shown)
    assert len(losses) == 20
    assert np.isfinite(losses).all()
    assert np.mean(losses[-3:]) < np.mean(losses[:3])
    assert names["objective"] == name


def test_both_transposed_convolutions_are_the_same_function(monkeypatch, capsys):
    smaller = {"(16, 32, 32, 3)": "(2, 32, 32, 3)", "ones((16, 16))": "ones((2, 16))", "6 *": "1 *"}
    names = _run("convolutions", monkeypatch, smaller)
    params, x, means, step = (names[name] for name in ("params", "x", "means", "step"))
    native, fast = (step(params, decoder, x, means) for decoder in names["decoders"])
    _assert_close(native, fast)
    assert re.fullmatch(
        r"ConvTranspose: \d+.\d\d s\nUpsample: \d+.\d\d s\n", capsys.readouterr().out
    )


def test_a_visible_dense_output_changes_no_value(monkeypatch, capsys):
    smaller = {"(200, 256), (256, 512), (512, 784)": "(8, 32), (32, 40), (40, 784)", "6 *": "1 *"}
    names = _run("dense_output", monkeypatch, {**smaller, "(784, 200)": "(784, 8)"})
    layers, x, means, step = (names[name] for name in ("layers", "x", "means", "step"))
    _assert_close(*(step(layers, is_visible, x, means) for is_visible in (False, True)))
    assert capsys.readouterr().out.count("is_visible=") == 2


def _assert_close(found, expected):
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5 * np.max(np.abs(b)))


def test_own_images_become_a_report_and_a_model(tmp_path, monkeypatch, capsys, caplog):
    caplog.set_level("INFO", "sfvae_jax")  # which the example sets; undone after the test
    images, folder = tmp_path / "images", tmp_path / "runs"
    images.mkdir()
    for i, x in enumerate(np.random.default_rng(0).integers(0, 256, (40, 8, 8), np.uint8)):
        Image.fromarray(x).save(images / f"{i}.png")
    keys = {"model.hidden_sizes": "(8,)", "model.latent_size": 2}
    keys |= {"train.steps": 4, "train.validate_every": 2, "evaluations.names": "reconstruction"}
    flags = [f"--config.{key}={value}" for key, value in keys.items()]
    one = {'("sampling_free", "sampling")': '("sampling_free",)'}
    names = _run("own_images", monkeypatch, one, images, folder, *flags)
    assert "| `sampling_free` |" in capsys.readouterr().out
    assert (folder / "report.md").is_file()
    assert Image.open(folder / "images.png").size == (8 * len(names["x"]), 3 * 8)
    assert names["run"].step == 4


def _sweep_script(tmp_path, command, *arguments):
    """Runs sweep.sh with `sfvae_jax` as this command; returns what it printed."""
    program = tmp_path / "bin" / "sfvae_jax"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\n{command}\n")
    program.chmod(0o755)
    script = ["bash", ROOT / "examples" / "sweep.sh", *arguments]
    path = f"{program.parent}:/usr/bin:/bin"
    done = subprocess.run(
        script, cwd=ROOT, env={"PATH": path, "HOME": str(tmp_path)}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_sweep_has_eight_runs(tmp_path, capsys):
    shown = _sweep_script(tmp_path, 'printf "%s\\n" "$*"', "runs/a_sweep", "--jobs=2")
    first, second = map(shlex.split, shown.splitlines())
    assert first[0], second[0] == ("sweep", "report")
    assert sweep([*first[1:], "--dry-run"]) == 0
    commands = capsys.readouterr().out.splitlines()
    assert len(commands) == 8
    assert sum("latent_size=16" in command for command in commands) == 4
    assert second[1] == "runs/a_sweep/*latent_size=16*"  # no such run is there


@pytest.mark.slow
def test_the_sweep_runs(tmp_path):
    folder = tmp_path / "sweep"
    short = {"train.steps": 2, "train.validate_every": 2, "data.num_examples": 100}
    flags = [f"--config.{key}={value}" for key, value in short.items()]
    _sweep_script(tmp_path, f'exec {sys.executable} -m sfvae_jax "$@"', folder, *flags, "--jobs=2")
    assert (folder / "report_sweep.png").is_file()
    methods = (folder / "latent_size_16" / "report.md").read_text().splitlines()[2:4]
    assert [method.split("|")[1:3] for method in methods] == [
        [" `sampling` ", " 2 "],
        [" `sampling_free` ", " 2 "],
    ]
