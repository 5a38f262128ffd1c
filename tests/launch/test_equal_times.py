"""Methods after equal times, by runs whose measure is known at every step."""

import math

import pytest

from launch.ledger.pages.equal_times import tables_after_seconds, value_after
from launch.ledger.views import EqualTimes

STEPS = (0, 200, 1000, 5000)


def _run(objective, seed, seconds_per_step, scale=1.0):
    """A run whose lower bound is a multiple of the logarithm of the step."""
    history = {str(step): {"lower_bound": scale * math.log(max(step, 1))} for step in STEPS}
    for step, measured in history.items():
        measured["training_seconds"] = seconds_per_step * int(step) or None
    config = {"seed": seed, "objective": {"name": objective}, "data": {"name": "mnist"}}
    return {"config": config, "step": 5000, "metrics": history["5000"], "history": history}


@pytest.mark.parametrize("seconds", [2.0, 7.0, 49.0, 50.0])
def test_between_two_steps_a_measure_is_interpolated(seconds):
    run = _run("sampling", 0, seconds_per_step=0.01)
    assert value_after(run, "lower_bound", seconds) == pytest.approx(math.log(seconds / 0.01))


@pytest.mark.parametrize("seconds", [1.9, 50.1])
def test_there_is_no_value_before_the_first_step_and_after_the_last(seconds):
    assert value_after(_run("sampling", 0, 0.01), "lower_bound", seconds) is None


def test_a_step_without_the_measure_is_passed_over():
    run = _run("sampling", 0, 0.01)
    run["history"]["1000"]["lower_bound"] = None
    assert value_after(run, "lower_bound", 10.0) == pytest.approx(math.log(1000.0))


def test_a_table_has_the_mean_and_deviation_of_each_method():
    runs = [_run("sampling", seed, 0.01, scale=1.0 + seed) for seed in range(2)]
    runs += [_run("sampling_free", 0, 0.1)]
    view = EqualTimes(("lower_bound",), (10.0, 30.0), (("data.name", "mnist"),))
    of_others = EqualTimes(("lower_bound",), (10.0,), (("data.name", "omniglot"),))
    heading, table, note = tables_after_seconds((view, of_others), runs)
    assert heading == "`data.name=mnist`, after equal times of training:"
    head, _, first, second = table.splitlines()
    assert head == ("| method | runs | ms per step | lower bound, 10 s | lower bound, 30 s |")
    low, high = math.log(1000.0), 2.0 * math.log(1000.0)
    spread = (high - low) / math.sqrt(2.0)
    assert first.startswith("| `sampling` | 2 | 10.0 ± 0.0 | ")
    assert f"| {(low + high) / 2:.1f} ± {spread:.1f} |" in first
    assert second == f"| `sampling_free` | 1 | 100.0 | — | {math.log(300.0):.1f} |"
    assert note.startswith("A step's time is the median of its run.")
    assert tables_after_seconds((of_others,), runs) == []
