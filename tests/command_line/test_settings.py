"""`sfvae_jax show`: the values that a run would have, read back from what is printed."""

import ast
import re

import pytest
from helpers import load_config

from sfvae_jax.command_line.console import main
from sfvae_jax.config import base_config, groups, resolve
from sfvae_jax.runs.files.config_file import flatten
from sfvae_jax.runs.workdir import Workdir

_LINE = re.compile(r"([* ]) (\S+) = (.*?)(?:  \(default: (.*)\))?")


def _shown(capsys, *arguments):
    """The mark, value and default of each key that is printed, and the lines of help below it."""
    assert main(["show", *arguments]) == 0
    out = capsys.readouterr().out.splitlines()[1:]
    found, key = {}, None
    for line in out:
        if line.startswith("      "):
            found[key][-1].append(line.strip())
        else:
            mark, key, value, default = _LINE.fullmatch(line).groups()
            found[key] = [mark, value, default, []]
    found.pop("published", None)
    return {
        key: (mark, ast.literal_eval(value), default, " ".join(text))
        for key, (mark, value, default, text) in found.items()
    }


@pytest.mark.parametrize("preset", ["", "laptop"])
def test_it_is_the_resolved_configuration(capsys, preset):
    shown = _shown(capsys, f"configs/mnist_collapse.py:{preset}".removesuffix(":"))
    config = resolve(load_config("mnist_collapse").get_config(preset)).to_dict()
    defaults = base_config().to_dict()
    config.pop("published"), defaults.pop("published")
    config, defaults = flatten(config), flatten(defaults)
    assert {key: value for key, (_, value, _, _) in shown.items()} == config
    marked = {key for key, (mark, *_) in shown.items() if mark == "*"}
    assert marked == {key for key, value in config.items() if value != defaults[key]}
    for key in marked:
        assert ast.literal_eval(shown[key][2]) == defaults[key]
    assert shown["train.steps"][3] == groups()["train"]["steps"].help


def test_changes_of_the_command_line_and_only_what_differs(capsys):
    flags = ("--config.seed=3", "--config.objective.name=rae", "--changed")
    shown = _shown(capsys, "configs/mnist_collapse.py:laptop", *flags)
    assert shown["seed"][1] == 3
    assert shown["posterior.name"][1] == "none"  # the posterior of a deterministic objective
    assert all(mark == "*" for mark, *_ in shown.values())
    assert "data.crop" not in shown


def test_some_keys_and_groups(capsys):
    flags = ("--config.seed=3", "train.steps", "posterior")
    shown = _shown(capsys, "configs/mnist_collapse.py:laptop", "seed", *flags)
    own = [f"posterior.{name}" for name in groups()["posterior"]]
    assert sorted(shown) == sorted(["seed", "train.steps", *own])
    assert shown["seed"][1] == 3


def test_the_configuration_of_a_run(capsys, tmp_path, tiny_config):
    config = resolve(tiny_config(**{"objective.name": "sampling_free", "objective.gamma": 0.25}))
    Workdir(tmp_path / "run").claim(config)
    shown = _shown(capsys, str(tmp_path / "run"))
    assert shown["objective.gamma"][:3] == ("*", 0.25, "0.5")
    expected = flatten(config.to_dict())
    assert all(value == expected[key] for key, (_, value, *_) in shown.items())
    assert main(["show", str(tmp_path)]) == 2
    assert "holds no run" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["vae.py:laptop:sampling"],
            "expected one preset after the config file",
        ),
        (["configs/mnist_collapse.py:laptp"], "unknown preset 'laptp'; did you mean 'laptop'?"),
        (["configs/mnist_collapse.py", "--config.objective.gama=1"], "objective.gamma?"),
        (["configs/mnist_collapse.py", "--config.objective.gamma=2"], "a number in [0, 1], got 2"),
        (["configs/mnist_collapse.py", "--stray"], "unexpected argument '--stray'"),
        (
            ["configs/mnist_collapse.py", "train.step"],
            "unknown config key train.step; did you mean",
        ),
        ([], "FILE.py[:PRESET]"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(capsys, arguments, message):
    assert main(["show", *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
