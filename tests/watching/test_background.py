"""The pictures of evaluations.steps are drawn while training goes on, and never end a run."""

import json
import shutil
import threading
import time

import pytest
from helpers import HANG, records
from sequence_models import EQUATIONS, TEXTS, encoded, trained_copy

from sfvae_jax.evaluation import figures
from sfvae_jax.evaluation.figures import Drawing
from sfvae_jax.evaluation.pictures import run_pictures
from sfvae_jax.measuring import step_measures
from sfvae_jax.train import train
from sfvae_jax.watching import background
from sfvae_jax.watching.background import Background

PICTURES = {"latent_kl.png", "reconstructions.png", "samples.png"}


@pytest.fixture
def pictured(tiny_config):
    def make(**changes):
        cheap = {"evaluations.step_pictures": True, "evaluations.names": ("collapse",)}
        return tiny_config(**{**cheap, **changes})

    return make


def drawn(workdir, step):
    return {path.name for path in (workdir / "figures" / f"step_{step}").iterdir()}


def test_steps_go_on_while_a_picture_is_drawn(pictured, tmp_path, monkeypatch):
    """That of step 5 waits until step 10 has been taken; training would wait for ever for it."""
    reached_10, threads, measured = threading.Event(), set(), []
    draw_images = figures.draw_images

    def slow(*arguments):
        threads.add(threading.current_thread())
        assert reached_10.wait(HANG)
        measured.append(records(tmp_path)[-1]["step"])
        draw_images(*arguments)

    def note(step, metrics):
        if step == 10:
            assert not (tmp_path / "figures").exists()
            reached_10.set()

    monkeypatch.setattr(figures, "draw_images", slow)
    train(pictured(), tmp_path, on_metrics=note)
    assert min(measured) >= 10
    assert len(threads) == 1
    assert threading.main_thread() not in threads
    # When training returns, all are there.
    assert drawn(tmp_path, 5) == drawn(tmp_path, 12) == PICTURES


def test_they_change_no_number(pictured, tiny_config, tmp_path):
    names = {"evaluations.names": ("collapse", "reconstruction", "lower_bound")}
    for name, config in {"with": pictured(**names), "without": tiny_config(**names)}.items():
        train(config, tmp_path / name)
    one, two = (records(tmp_path / name) for name in ("with", "without"))
    for record in (*one, *two):
        record.pop("steps_per_second")
    assert one == two
    one, two = (
        json.loads((tmp_path / name / "results.json").read_text())["history"]
        for name in ("with", "without")
    )
    assert list(one) == ["5", "12"]
    assert one == two
    assert not (tmp_path / "without" / "figures").exists()


def test_a_picture_that_fails_is_told(pictured, tmp_path, monkeypatch, caplog):
    def broken(*arguments, **more):
        raise ValueError("no such colour")

    monkeypatch.setattr(figures, "draw_latent_kl", broken)
    train(pictured(), tmp_path)
    assert records(tmp_path)[-1]["step"] == 12
    assert drawn(tmp_path, 5) == drawn(tmp_path, 12) == PICTURES - {"latent_kl.png"}
    for step in (5, 12):
        message = f"latent_kl.png of step {step} is not drawn: no such colour; training goes on"
        assert message in caplog.text


def test_values_that_cannot_be_computed_are_told(pictured, tmp_path, monkeypatch, caplog):
    def broken(*arguments):
        yield Drawing("a.png", lambda path: None)
        raise MemoryError

    monkeypatch.setattr(step_measures.run_pictures, "at_a_step", broken)
    train(pictured(**{"evaluations.steps": (5,)}), tmp_path)
    assert "the pictures of step 5 are not drawn: MemoryError; training goes on" in caplog.text
    assert records(tmp_path)[-1]["step"] == 12


def test_a_folder_that_cannot_be_written_is_told(pictured, tmp_path, caplog):
    tmp_path.joinpath("figures").write_text("a file")
    train(pictured(**{"evaluations.steps": (5,)}), tmp_path)
    assert "the pictures of step 5 are not drawn: cannot write" in caplog.text
    assert records(tmp_path)[-1]["step"] == 12


def test_an_error_of_training_waits_for_the_pictures(pictured, tmp_path):
    def fail(step, metrics):
        if step == 6:
            raise KeyError(step)

    with pytest.raises(KeyError):
        train(pictured(), tmp_path, on_metrics=fail)
    assert drawn(tmp_path, 5) == PICTURES


def test_those_of_a_killed_process_are_drawn_when_the_run_goes_on(pictured, tmp_path):
    """That of step 5 was measured and saved, and step 6 is the last that was taken."""

    def fail(step, metrics):
        if step == 6:
            raise KeyError(step)

    with pytest.raises(KeyError):
        train(pictured(), tmp_path, on_metrics=fail)
    folder = tmp_path / "figures" / "step_5"
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    shutil.rmtree(folder)
    told = []
    train(pictured(), tmp_path, on_metrics=lambda step, _: told.append(step))
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert told == [8, 10, 12, 12]


def test_those_of_measures_that_are_taken_again_are_drawn_once(pictured, tmp_path, monkeypatch):
    """results.json and the pictures of step 5 are gone; its checkpoint is there."""

    def fail(step, metrics):
        if step == 6:
            raise KeyError(step)

    with pytest.raises(KeyError):
        train(pictured(), tmp_path, on_metrics=fail)
    (tmp_path / "results.json").unlink()
    shutil.rmtree(tmp_path / "figures")
    begun, begin = [], Background.begin

    def note(self, step, work):
        begun.append(step)
        begin(self, step, work)

    monkeypatch.setattr(Background, "begin", note)
    train(pictured(), tmp_path)
    assert begun == [5, 12]


def test_sequences_have_tables(tmp_path):
    model = trained_copy(EQUATIONS, encoded(EQUATIONS, TEXTS), stddev=0.1)
    for name, draw in run_pictures.at_a_step(model, 15, "title"):
        draw(tmp_path / name)
    found = {path.name for path in tmp_path.iterdir()}
    assert found - {"latent_kl.png"} == {"reconstructions.png", "sentences.png"}


def test_slow_ones_are_told_and_done_in_order(monkeypatch, caplog):
    monkeypatch.setattr(background, "_SECONDS_IN_SILENCE", 0.0)
    monkeypatch.setattr(background, "_MOST_WAITING", 2)
    go_on, done, pictures = threading.Event(), [], Background()

    def work(step):
        assert go_on.wait(HANG)
        done.append(step)

    with caplog.at_level("INFO", "sfvae_jax"):
        pictures.begin(10, lambda: work(10))
        pictures.begin(20, lambda: work(20))
        assert "still drawing the pictures of step 10; step 20 follows" in caplog.text
        assert done == []
        threading.Timer(0.2, go_on.set).start()
        began = time.monotonic()
        pictures.begin(30, lambda: work(30))  # two are waiting: it waits for the first
        assert time.monotonic() - began > 0.1
        assert done[0] == 10
        pictures.finish()
    assert done == [10, 20, 30]
    assert "waiting for the pictures of step 10" in caplog.text
