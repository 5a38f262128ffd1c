"""Bad flags and bad config files, in one line that names the key whole; no process is started."""

import re

import pytest
from absl import flags
from ml_collections import config_flags

from launch.configs import parse_config
from sfvae_jax.command_line.flag_errors import one_line
from sfvae_jax.errors import UsageError

BASE = """
from sfvae_jax.config import base_config

def get_config(preset=""):
    config = base_config(preset, ("laptop",))
    {}
    return config
"""


@pytest.fixture
def refused(tmp_path):
    def refuse(line, *flags):
        path = tmp_path / "own.py"
        path.write_text(BASE.format(line))
        with pytest.raises(UsageError) as caught:
            parse_config([f"--config={path}", *flags])
        assert "\n" not in str(caught.value)
        return str(caught.value)

    return refuse


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("objective.gama", "unknown config key objective.gama; did you mean objective.gamma?"),
        ("train.gamma", "unknown config key train.gamma; did you mean objective.gamma?"),
        ("nogroup.x", "unknown config key nogroup.x; known keys: preset, seed, data"),
        ("evaluations.colapse.epsilon", "did you mean evaluations.collapse.epsilon?"),
        ("objective.name.x", "unknown config key objective.name.x"),
    ],
)
def test_an_unknown_key_on_the_command_line(refused, key, message):
    assert message in refused("pass", f"--config.{key}=1")


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("train.steps=3e8", r"^train.steps must be a whole number from 1 to .*, got '3e8'$"),
        ("train.steps=", r"^train.steps must be a whole number from 1 to .*, got ''$"),
        (
            "objective.beta=abc",
            "^objective.beta must be a finite number, 0 or more, .*'abc'$",
        ),
        ("train.compilation_cache=maybe", "^train.compilation_cache must be True or False, got"),
        ("train=5", "^train must be given key by key, as --config.KEY.NAME, got '5'$"),
        (
            "model.hidden_sizes[0]=5",
            r"^--config.model.hidden_sizes\[0\]: an entry of a tuple ca",
        ),
        ("train.steps[0]=5", r"^--config.train.steps\[0\]: an entry .* --config.train.steps="),
    ],
)
def test_a_value_that_cannot_be_on_the_command_line(refused, flag, message):
    assert re.search(message, refused("pass", f"--config.{flag}"))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("config.lock().objective.gama = 0.3", "unknown config key objective.gama; did you mean"),
        ("config.lock().update({'objective': {'gama': 1}})", "unknown config key objective.gama;"),
        ("config.lock().update_from_flattened_dict({'train.gamma': 1})", "train.gamma; did you m"),
        ("config.objective.gama", "unknown config key objective.gama; did you mean objective.gam"),
        ("config.lock().sed = 1", "unknown config key sed; did you mean seed?"),
        (
            "config.train.steps = 'many'",
            "train.steps must be a whole number from 1 to .*'many'",
        ),
        ("config.model.hidden_sizes = 5", "model.hidden_sizes must be positive sizes, .* got 5"),
        ("config.evaluations.bias.num_samples = 'x'", "evaluations.bias.num_samples must be"),
        ("config.evaluations.inference_gaps.local.patience = 'x'", "gaps.local.patience must be"),
        ("config.train = 5", "train must be a group of options, got 5"),
        ("{}['x']", "--config: KeyError: 'x'"),
        ("raise TypeError('mine')", "^--config: TypeError: mine$"),
        ("base_config('desktop', ('laptop',))", "^--config: unknown preset 'desktop'. Known: lap"),
    ],
)
def test_what_a_config_file_does_wrong(refused, line, message):
    assert re.search(message, refused(line))


@pytest.mark.parametrize("flags", [(), ("--config.seed=1",)])
def test_a_preset_is_given_behind_the_file(refused, tmp_path, flags):
    message = refused("pass", *flags, "--config.preset=laptop")
    assert message.startswith("--config.preset=laptop would change the name of the preset")
    assert message.endswith(f"give --config={tmp_path}/own.py:laptop")
    assert parse_config([f"--config={tmp_path}/own.py:laptop", *flags]).preset == "laptop"


@pytest.mark.parametrize("given", [[], ["config=vae.py"], ["--config.train.steps=3"]])
def test_flags_without_a_config_file(given):
    with pytest.raises(UsageError, match=r"^--config=FILE\.py\[:PRESET\] is missing"):
        parse_config(given)


def test_the_command_tells_a_flag_of_a_configuration_that_is_not_given():
    values = flags.FlagValues()
    config_flags.DEFINE_config_file("config", flag_values=values)
    argv = ["sfvae_jax", "--config.train.steps=3"]
    with pytest.raises(flags.Error) as caught:
        values(argv)
    assert "give --config=FILE.py[:PRESET] too" in one_line(caught.value, argv)
