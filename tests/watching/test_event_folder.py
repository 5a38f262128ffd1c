"""--tensorboard: event files hold what metrics.jsonl, results.json and figures/ hold."""

import io
import json
import logging
import subprocess
import sys

import numpy as np
import pytest
from event_files import Read
from helpers import largest_file, records
from PIL import Image

from sfvae_jax.config import base_config
from sfvae_jax.errors import UsageError
from sfvae_jax.evaluate import evaluate
from sfvae_jax.train import train
from sfvae_jax.watching import event_file
from sfvae_jax.watching.event_file import EventFile, tag_of

NUMBERS = {
    "loss": "loss/loss",
    "log_likelihood": "loss/log_likelihood",
    "kl": "loss/kl",
    "beta": "schedules/beta",
    "entropy_weight": "schedules/entropy_weight",
    "learning_rate": "schedules/learning_rate",
    "grad_norm": "norms/grad_norm",
    "param_norm": "norms/param_norm",
    "steps_per_second": "speed/steps_per_second",
}


def assert_equal_records(read, workdir, **more):
    """`more` has the tags of what only this objective tells."""
    logged, tags = records(workdir), {**NUMBERS, **more}
    assert set(tags) == set(logged[0]) - {"step"}
    for name, tag in tags.items():
        expected = [(record["step"], np.float32(record[name])) for record in logged]
        assert read.scalars[tag] == expected


def test_a_run_that_is_stopped_goes_on_and_is_evaluated(tmp_path, tiny_config):
    """Killed at step 6, behind its last checkpoint: what came after that one is purged."""
    free = {"objective.name": "sampling_free"}
    config = tiny_config(**free, **{"evaluations.step_pictures": True})

    def kill(step, values):
        if step == 6:
            raise KeyboardInterrupt  # unlike an error, it leaves no time to save

    with pytest.raises(KeyboardInterrupt):
        train(config, tmp_path, on_metrics=kill, tensorboard=True)
    folder = tmp_path / "tensorboard"
    assert [step for step, _ in Read(folder).scalars["loss/loss"]] == [1, 2, 4, 6]
    train(config, tmp_path, tensorboard=True)
    assert len(list(folder.iterdir())) == 2
    assert_equal_records(Read(folder), tmp_path, gamma="schedules/gamma")

    measures = evaluate(config, tmp_path, tensorboard=True)
    evaluate(config, tmp_path, tensorboard=True)
    assert len(list(folder.iterdir())) == 3, "an evaluation replaces the file of an earlier one"
    read = Read(folder)
    history = json.loads((tmp_path / "results.json").read_text())["history"]
    for name, value in measures.items():
        expected = [(int(step), np.float32(history[step][name])) for step in ("5", "12")]
        assert read.scalars[f"measures/{name}"] == expected
        assert read.scalars[f"final/{name}"] == [(12, np.float32(value))]

    # The pictures of both steps, and at the end those of the checkpoint, pixel by pixel.
    figures = tmp_path / "figures"
    for name in ("reconstructions", "samples", "latent_kl"):
        assert [step for step, _ in read.pictures[f"pictures/{name}"]] == [5, 12]
        for step, image in read.pictures[f"pictures/{name}"]:
            drawn = (figures / f"step_{step}" / f"{name}.png").read_bytes()
            assert image.encoded_image_string == drawn
            picture = Image.open(io.BytesIO(drawn))
            assert (image.width, image.height) == picture.size
            assert (image.colorspace, picture.mode) == (4, "RGBA")
        # They are those that were drawn before, at the end of a run.
        assert drawn == (figures / f"{name}.png").read_bytes()
        assert read.pictures[f"final/{name}"][0][1].encoded_image_string == drawn
    assert "final/training" not in read.pictures
    tiles = picture_size(figures / "step_5" / "reconstructions.png")
    assert tiles == picture_size(figures / "reconstructions.png")

    # The configuration, as text and as hyperparameters.
    [(step, text)] = read.texts["config/text_summary"]
    assert step == 0
    shown = json.loads(text.removeprefix("```json\n").removesuffix("\n```"))
    assert shown == json.loads((tmp_path / "config.json").read_text())
    assert {"_hparams_/experiment", "_hparams_/session_start_info"} <= read.tags


def picture_size(path):
    with Image.open(path) as picture:
        return picture.size


def test_a_run_that_nobody_watched_so_far_is_told_from_its_beginning(trained_run, tiny_config):
    train(tiny_config(), trained_run, tensorboard=True)
    read = Read(trained_run / "tensorboard")
    assert_equal_records(read, trained_run)
    assert [step for step, _ in read.scalars["measures/collapse_fraction"]] == [5, 12]


def test_hyperparameters_are_the_main_keys_and_those_that_were_changed(tiny_config):
    config = tiny_config(**{"train.learning_rate": 0.5, "model.hidden_sizes": (16, 8)})
    found = event_file._changed(config, base_config())
    assert found["train.learning_rate"] == 0.5
    assert found["model.hidden_sizes"] == "[16, 8]"
    assert found["seed"] == 0, "a main key, though it has its default"
    assert "evaluations.steps" not in found, "it trains nothing"
    assert "train.microbatch" not in found, "nobody changed it"


def test_tags_have_groups():
    assert tag_of("validation_loss") == "loss/validation_loss"
    assert tag_of("gamma") == "schedules/gamma"
    assert tag_of("a_term_of_my_own") == "loss/a_term_of_my_own"
    assert tag_of("measures/collapse_fraction") == "measures/collapse_fraction"


def test_what_cannot_be_written_is_told_once_and_the_run_goes_on(tmp_path, caplog):
    with largest_file(3000):
        events = EventFile(tmp_path / "tensorboard")
        for step in range(1, 200):
            events.scalars(step, {"loss": 1.0})
            events.flush()
        events.close()
    [warning] = [record.getMessage() for record in caplog.records]
    assert "File too large; the run goes on without TensorBoard" in warning


def test_two_files_of_one_second_are_two_files(tmp_path):
    for _ in range(2):
        EventFile(tmp_path / "tensorboard").close()
    assert len(list((tmp_path / "tensorboard").iterdir())) == 2


def test_without_tensorboardx_the_error_says_what_to_install(tmp_path, tiny_config, monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] == "tensorboardX"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    for work in (train, evaluate):
        with pytest.raises(UsageError, match=r"pip install 'sfvae_jax\[tensorboard\]'"):
            work(tiny_config(), tmp_path / "run", tensorboard=True)
    assert not (tmp_path / "run").exists()


def test_neither_tensorflow_nor_pytorch_is_loaded(tmp_path):
    code = (
        "import pathlib, sys; from sfvae_jax.watching.event_file import EventFile;"
        f" EventFile(pathlib.Path({str(tmp_path / 'new')!r})).close();"
        " print({'torch', 'tensorflow'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_tensorboard_itself_reads_the_same(tmp_path, caplog):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    caplog.set_level(logging.ERROR)
    folder = tmp_path / "tensorboard"
    for start in (0, 2):
        events = EventFile(folder)
        if start:
            events.purge(start + 1)
        for step in range(start + 1, 5):
            events.scalars(step, {"loss": float(10 * start + step)})
        events.close()
    read = accumulator.EventAccumulator(str(folder))
    read.Reload()
    found = [(point.step, point.value) for point in read.Scalars("loss/loss")]
    assert found == Read(folder).scalars["loss/loss"] == [(1, 1.0), (2, 2.0), (3, 23.0), (4, 24.0)]
