"""The wall time of training, from records with known speeds and from a run."""

import json

import pytest

from sfvae_jax.config import resolve
from sfvae_jax.evaluation.measured import NotApplicable
from sfvae_jax.evaluation.optimization.training_time import EVALUATION
from sfvae_jax.measuring.trained import training_records
from sfvae_jax.runs.workdir import Workdir
from sfvae_jax.train import train


class _Model:
    """What the evaluation reads of a trained model."""

    def __init__(self, step, records):
        self.step, self.records = step, None if records is None else lambda: records


def _seconds(step, records):
    return EVALUATION.function(_Model(step, records), {})["training_seconds"]


def test_single_slow_records_do_not_count():
    """2 steps per second, but for compilation and a pause; later records are of other steps."""
    speeds = {10: 0.1, 20: 2.0, 30: 2.0, 40: 0.01, 50: 2.0, 60: 50.0, 70: 50.0}
    records = [{"step": step, "steps_per_second": speed} for step, speed in speeds.items()]
    assert _seconds(50, records) == 25.0
    assert _seconds(30, records) == 15.0


def test_no_record_of_the_call_that_compiles_counts():
    """A first call of 5 steps wrote two records, with the same speed."""
    speeds = {1: 0.0329, 5: 0.0329, 10: 187.2, 15: 187.0}
    records = [{"step": step, "steps_per_second": speed} for step, speed in speeds.items()]
    assert "needs 2 records" in str(_seconds(10, records))
    assert _seconds(15, records) == 15 / 187.2


def test_records_count_by_their_steps():
    """The last three calls, of one step each, are slow."""
    speeds = {10: 0.1, 50: 2.0, 90: 2.5, 91: 0.2, 92: 0.3, 93: 0.4}
    records = [{"step": step, "steps_per_second": speed} for step, speed in speeds.items()]
    assert _seconds(93, records) == 93 / 2.0


def test_each_process_of_a_resumed_run_compiles():
    speeds = {1: 0.1, 10: 0.1, 20: 4.0, 30: 0.3, 35: 0.3, 40: 5.0, 50: 0.2, 90: 4.5}
    starts = {30: 20, 35: 20, 40: 20, 50: 40, 90: 40}
    records = [
        {"step": step, "steps_per_second": speed, "from_step": starts.get(step, 0)}
        for step, speed in speeds.items()
    ]
    assert _seconds(40, records) == 40 / 4.0  # 10 steps at 4, 5 at 5
    assert _seconds(90, records) == 90 / 4.5  # and 40 at 4.5


def test_no_step_takes_no_time():
    assert _seconds(0, []) == 0.0


@pytest.mark.parametrize(
    ("records", "reason"),
    [
        (None, "the records of training are not available"),
        ([{"step": 1, "steps_per_second": 3.0}, {"step": 2}], "lower train.log_every"),
    ],
)
def test_without_enough_records_there_is_no_time(records, reason):
    found = _seconds(10, records)
    assert isinstance(found, NotApplicable)
    assert reason in str(found)


def test_a_run_has_its_time_at_each_measured_step(tiny_config, tmp_path):
    config = tiny_config(
        **{"evaluations.names": ("training_time",), "train.steps_per_call": 1, "train.log_every": 1}
    )
    train(resolve(config), tmp_path)
    history = json.loads((tmp_path / "results.json").read_text())["history"]
    assert 0.0 < history["5"]["training_seconds"] < history["12"]["training_seconds"] < 600.0


def test_the_processes_of_a_run_are_told_apart(tiny_config, tmp_path):
    files = Workdir(tmp_path)
    config = tiny_config(**{"train.steps": 4, "train.log_every": 2})
    train(resolve(config), tmp_path)
    config.train.steps = 8
    train(resolve(config), tmp_path)
    found = {record["step"]: record["from_step"] for record in training_records(files)}
    assert found == {1: 0, 2: 0, 4: 0, 6: 4, 8: 4}
    # A process from an earlier checkpoint takes the later steps anew.
    last = json.loads(files.provenance.read_text().splitlines()[-1])
    with files.provenance.open("a") as file:
        file.write(json.dumps({**last, "from_step": 2}) + "\n")
    found = {record["step"]: record["from_step"] for record in training_records(files)}
    assert found == {1: 0, 2: 0, 4: 2, 6: 2, 8: 2}
    files.provenance.unlink()
    assert {record["from_step"] for record in training_records(files)} == {0}
