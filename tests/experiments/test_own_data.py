"""configs/vae.py: what it chooses for arrays and pictures of several kinds, and a run with it."""

import json
import logging
import re
import shlex

import jax
import numpy as np
import pytest
from helpers import ROOT, load_config
from PIL import Image

from launch.sweep import main as sweep
from sfvae_jax import data, models
from sfvae_jax.command_line.console import main
from sfvae_jax.command_line.flag_config import parse_config
from sfvae_jax.command_line.settings import shown
from sfvae_jax.config import resolve
from sfvae_jax.errors import UsageError
from sfvae_jax.evaluate import evaluate
from sfvae_jax.experiments.own_data import KEYS
from sfvae_jax.left_open import open_keys
from sfvae_jax.objectives import OBJECTIVES
from sfvae_jax.train import train


def arrays(folder, shape, kind, number=40):
    """Writes a file of examples of this shape; returns its data.name."""
    rng = np.random.default_rng(0)
    made = {
        "bytes": lambda n: rng.integers(0, 256, (n, *shape), np.uint8),
        "floats": lambda n: rng.random((n, *shape), np.float32),
        "binary": lambda n: rng.integers(0, 2, (n, *shape), np.uint8),
    }[kind]
    path = folder / "my.npz"
    np.savez(path, x_train=made(number), x_test=made(7))
    return f"npz:{path}"


def pictures(folder, shapes, number=30):
    """Writes PNG files whose shapes take turns; returns their data.name."""
    rng = np.random.default_rng(0)
    (folder / "images").mkdir()
    for i in range(number):
        pixels = rng.integers(0, 256, shapes[i % len(shapes)], np.uint8)
        Image.fromarray(pixels.squeeze()).save(folder / "images" / f"{i}.png")
    return f"folder:{folder / 'images'}"


def chosen(name, preset="", **changes):
    config = load_config("vae").get_config(preset)
    config.update_from_flattened_dict({"data.name": name, **changes})
    return resolve(config)


def built(config):
    """The shape of an example, which the chosen networks take and give."""
    shape = data.open_examples(config.data, "train").shape[1:]
    model = models.build(config, shape)
    made = lambda: model.init(jax.random.key(0), np.zeros(shape, np.float32))  # noqa: E731
    jax.eval_shape(made)
    return shape


@pytest.mark.parametrize(
    ("shape", "kind", "network", "expected"),
    [
        ((20,), "floats", "mlp", {"latent_size": 2, "hidden_sizes": (128, 64)}),
        ((64,), "binary", "mlp", {"latent_size": 4, "hidden_sizes": (128, 64)}),
        ((28, 28), "floats", "mlp", {"latent_size": 32, "hidden_sizes": (512, 256)}),
        ((28, 28, 1), "bytes", "mlp", {"latent_size": 32, "hidden_sizes": (512, 256)}),
        ((20, 30, 1), "bytes", "mlp", {"latent_size": 32}),
        ((1,), "floats", "mlp", {"latent_size": 1}),
        ((32, 32, 3), "bytes", "conv", {"latent_size": 32, "channels": (32, 64, 64, 256)}),
        ((64, 64, 1), "floats", "conv", {"latent_size": 32, "channels": ()}),
        ((9, 9, 20), "floats", "conv", {"latent_size": 32}),
    ],
)
def test_the_network_suits_the_shape(tmp_path, shape, kind, network, expected):
    config = chosen(arrays(tmp_path, shape, kind))
    assert config.model.name == network
    assert {key: config.model[key] for key in expected} == expected
    assert built(config)[-1] == shape[-1]
    assert config.train.learning_rate == (1e-3 if network == "mlp" else 5e-4)


@pytest.mark.parametrize(
    ("shape", "changed", "result"),
    [
        ((28, 28, 1), {}, (28, 28, 1)),
        ((28, 28, 3), {"pad_to": 32}, (32, 32, 3)),
        ((40, 40, 1), {"pad_to": 64}, (64, 64, 1)),
        ((64, 64, 3), {}, (64, 64, 3)),
        ((100, 80, 3), {"image_size": 64}, (64, 64, 3)),
        ((128, 128, 1), {"image_size": 64}, (64, 64, 1)),
    ],
)
def test_images_get_a_size_that_the_network_takes(tmp_path, shape, changed, result):
    config = chosen(arrays(tmp_path, shape, "bytes"))
    sizes = {key: config.data[key] for key in ("channels", "image_size", "pad_to")}
    assert sizes == {"channels": 0, "image_size": 0, "pad_to": 0, **changed}
    assert built(config) == result


@pytest.mark.parametrize(
    ("kind", "shape", "objective", "likelihood"),
    [
        ("binary", (8, 8, 1), "sampling", "bernoulli"),
        ("binary", (8, 8, 1), "sampling_free", "gaussian"),
        ("bytes", (8, 8, 1), "iwae", "discretized_logistic"),
        ("bytes", (8, 8, 3), "bilbo", "discretized_logistic"),
        ("bytes", (64,), "sampling", "gaussian"),
        ("floats", (8, 8, 3), "sampling", "gaussian"),
        ("bytes", (8, 8, 3), "rae_gp", "gaussian"),
        ("binary", (8, 8, 1), "linearized", "gaussian"),
    ],
)
def test_the_likelihood_suits_values_and_objective(tmp_path, kind, shape, objective, likelihood):
    config = chosen(arrays(tmp_path, shape, kind), objective)
    assert config.objective.name == objective
    assert config.likelihood.name == likelihood
    activation = "sigmoid" if likelihood == "gaussian" else "identity"
    assert config.model.output_activation == activation
    assert built(config) == shape


def test_every_objective_is_a_preset(tmp_path):
    name = arrays(tmp_path, (4, 4, 1), "bytes")
    assert {chosen(name, objective).objective.name for objective in OBJECTIVES} == set(OBJECTIVES)


def test_the_variance_is_a_tenth_of_that_of_the_data(tmp_path):
    name = arrays(tmp_path, (12,), "floats")
    config = chosen(name)
    drawn = data.load(config.data, "train")
    tenth = np.mean([np.var(column.astype(float)) for column in drawn.T]) / 10  # about 1 / 120
    assert config.likelihood.variance == pytest.approx(0.01)
    assert 0.0071 < tenth < 0.0141  # so that 0.01 is the nearest of 0.005, 0.01 and 0.02 by ratio
    nearly_constant = 0.5 + np.linspace(0, 1e-3, 40)[:, None] * np.ones(12)
    np.savez(tmp_path / "my.npz", x_train=nearly_constant, x_test=nearly_constant + 1e-4)
    assert chosen(name).likelihood.variance == 1e-3


def test_pictures_of_several_sizes_and_colours(tmp_path):
    config = chosen(pictures(tmp_path, [(70, 90, 3), (80, 60), (50, 50, 3)]))
    assert built(config) == (64, 64, 3)
    assert (config.data.num_valid, config.data.num_test) == (2, 2)
    assert (config.model.name, config.train.batch_size) == ("conv", 0)


def test_grey_pictures_of_one_size_stay_as_they_are(tmp_path):
    assert built(chosen(pictures(tmp_path, [(16, 16)]))) == (16, 16, 1)


@pytest.mark.parametrize(("number", "held", "batch"), [(90, 5, 0), (300, 20, 64), (5000, 500, 64)])
def test_about_a_tenth_is_held_out(tmp_path, number, held, batch):
    config = chosen(arrays(tmp_path, (2,), "floats", number))
    assert config.data.num_valid == held
    assert config.data.num_test == 0  # the file has a test split
    assert config.train.batch_size == batch


def test_what_is_set_stays_and_counts_for_the_rest(tmp_path):
    name = arrays(tmp_path, (100, 80, 3), "bytes")
    config = chosen(name, **{"data.image_size": 32, "model.latent_size": 7})
    assert (config.model.name, config.model.latent_size) == ("conv", 7)
    assert built(config) == (32, 32, 3)
    config = chosen(name, **{"model.name": "mlp", "data.channels": 1, "data.crop": 20})
    assert built(config) == (20, 20, 1)
    assert config.train.learning_rate == 1e-3
    binarized = chosen(name, "sampling", **{"data.binarization": "static"})
    assert binarized.likelihood.name == "bernoulli"


def test_flags_may_come_in_any_order(tmp_path):
    name = arrays(tmp_path, (20,), "floats")
    flags = [f"--config.data.name={name}", "--config.model.latent_size=3"]
    made = [resolve(parse_config(["--config=vae.py", *order])) for order in (flags, flags[::-1])]
    assert made[0].to_dict() == made[1].to_dict()
    assert made[0].model.hidden_sizes == (128, 64)


def test_the_commands_of_the_page_on_data(tmp_path, monkeypatch, capsys):
    arrays(tmp_path, (9,), "floats")
    pictures(tmp_path, [(16, 16)])
    monkeypatch.chdir(tmp_path)
    text = (ROOT / "docs" / "data.md").read_text().split("## Your own images")[1].split("##")[0]
    forms = r"^python -m sfvae_jax\.main (--config=.*)$|`sfvae_jax (show .*)`"
    commands = re.findall(forms, text, re.MULTILINE)
    trained = [shlex.split(flags, comments=True) for flags, _ in commands if flags]
    found = [resolve(parse_config(flags)) for flags in trained]
    assert [config.data.name for config in found] == ["folder:images/", "npz:my.npz"]
    assert found[1].objective.name == "sampling"
    (shows,) = [shlex.split(arguments) for _, arguments in commands if arguments]
    assert main(shows) == 0
    assert "model.name = 'mlp'  (chosen by the data)" in capsys.readouterr().out


def test_the_commands_of_the_tutorial(tmp_path, monkeypatch, capsys):
    """Its first block writes images, which every command then finds."""
    monkeypatch.chdir(tmp_path)
    text = (ROOT / "docs" / "tutorial.md").read_text().replace("\\\n", " ")
    writes = re.search(r"```python\n(.*?)```", text, re.DOTALL).group(1)
    exec(writes.replace("1000", "20"), {})
    commands = [
        shlex.split(line)
        for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
        for line in block.splitlines()
        if line.startswith("sfvae_jax ") and "vae.py" in line
    ]
    for command in commands:
        if command[1].startswith("--config="):
            found = resolve(parse_config([flag for flag in command[1:] if "workdir" not in flag]))
            assert (found.data.num_test, found.model.name) == (2, "mlp")
        elif command[1] == "sweep":
            assert sweep([*command[2:], "--dry-run"]) == 0
        else:
            assert main(command[1:]) == 0
    assert [command[1] for command in commands if "=" not in command[1]] == ["show", "sweep"]
    assert capsys.readouterr().out.count("python -m sfvae_jax.main") == 6


def test_data_that_cannot_be_used_are_refused(tmp_path):
    with pytest.raises(UsageError, match="my.npz"):
        chosen(f"npz:{tmp_path}/my.npz")
    with pytest.raises(UsageError, match=r"equations'.* --config=configs/equations\.py"):
        chosen("equations")
    with pytest.raises(UsageError, match="unknown objective 'smapling'"):
        chosen("mnist_5k", **{"objective.name": "smapling"})


@pytest.mark.parametrize(("steps", "every"), [(10_000, 500), (500, 500), (499, 99), (3, 1)])
def test_few_steps_are_validated_too(tmp_path, steps, every):
    config = chosen(arrays(tmp_path, (20,), "floats"), **{"train.steps": steps})
    assert config.train.validate_every == every


def test_show_says_what_is_chosen(tmp_path):
    text = shown("vae.py", [f"--config.data.name={arrays(tmp_path, (20,), 'floats')}"])
    assert "* model.latent_size = 2  (chosen by the data; default: 16)" in text
    assert "  model.name = 'mlp'  (chosen by the data)\n" in text
    assert "train.steps = 10000  (default: 1000)" in text


def test_a_run_tells_and_keeps_what_was_chosen(tmp_path, caplog):
    name, workdir = arrays(tmp_path, (20,), "floats"), tmp_path / "run"
    config = load_config("vae").get_config("laptop")
    config.update_from_flattened_dict(
        {"data.name": name, "data.num_examples": 0, "train.steps": 6, "train.validate_every": 3}
    )
    assert len(open_keys(config)) == len(KEYS) - 3  # the preset sets two, and the line above one
    with caplog.at_level(logging.INFO, "sfvae_jax"):
        train(config, workdir)
    (line,) = [text for text in caplog.messages if text.startswith("chosen by the data: ")]
    assert "data.num_valid=2, likelihood.name=gaussian, likelihood.variance=0.01, " in line
    assert "model.name=mlp" in line
    assert "latent_size" not in line
    kept = json.loads((workdir / "config.json").read_text())
    assert (kept["model"]["name"], kept["likelihood"]["variance"]) == ("mlp", 0.01)
    assert evaluate(config, workdir)["reconstruction_error"] > 0
