"""The wall time that a model's training has taken."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any

import ml_collections

from sfvae_jax.evaluation.measured import Measured, NotApplicable
from sfvae_jax.evaluation.spec import Evaluation, Measure
from sfvae_jax.evaluation.trained_model import TrainedModel

_LEAST_RECORDS = 2  # of calls that do not compile the step


def evaluate_training_time(trained: TrainedModel, options: ml_collections.ConfigDict) -> Measured:
    """Takes the measure of `training_time`: the steps taken over their median speed.

    The speed is that of the records in metrics.jsonl up to the step, each of which stands for the
    steps since the record before it. The first call of each process is left out, because it
    compiles the step. The median leaves out what slows down single records: measures that are
    taken during training, and pauses.
    """
    del options
    if trained.records is None:
        return {"training_seconds": NotApplicable("the records of training are not available")}
    if trained.step == 0:
        return {"training_seconds": 0.0}
    found = _speeds([record for record in trained.records() if record["step"] <= trained.step])
    if len(found) < _LEAST_RECORDS:
        return {
            "training_seconds": NotApplicable(
                f"the speed of training needs {_LEAST_RECORDS} records after the first call of a"
                " process, which compiles; lower train.log_every and train.steps_per_call"
            )
        }
    return {"training_seconds": trained.step / _median(found)}


def _speeds(records: Sequence[Mapping[str, Any]]) -> list[tuple[float, int]]:
    """Returns the speed, in steps per second, and the number of steps of each record that counts.

    All records of one call have the speed of that call, to the last digit; those of a process that
    have the speed of its first record belong to its first call.
    """
    found: list[tuple[float, int]] = []
    last_step, process, compiling = 0, None, None
    for record in records:
        step, speed = record["step"], record.get("steps_per_second", 0.0)
        number, last_step = step - last_step, step
        began = record.get("from_step", 0)
        if began != process:
            process, compiling = began, speed
        if speed != compiling:
            compiling = None
            if speed > 0.0:
                found.append((speed, number))
    return found


def _median(speeds: Sequence[tuple[float, int]]) -> float:
    """Returns the median of speeds, each with its number of steps; of two in the middle the faster.

    What slows down a record is what the median is to leave out.
    """
    ordered = sorted(speeds, reverse=True)
    reached = list(accumulate(number for _, number in ordered))
    middle = bisect_left(reached, reached[-1] / 2)
    return ordered[middle][0]


EVALUATION = Evaluation(
    evaluate_training_time,
    (Measure("training_seconds", "training time", unit="seconds", better="less", split=""),),
    summary="the wall time of the steps taken, at the median speed of the records in metrics.jsonl"
    " but for those of calls that compile",
    examples="both",
)
