"""The wall time of training, from records with known speeds and from a run."""

import json

import pytest

from sfvae_jax.config import resolve
from sfvae_jax.evaluation.measured import NotApplicable
from sfvae_jax.evaluation.optimization.training_time import EVALUATION
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
