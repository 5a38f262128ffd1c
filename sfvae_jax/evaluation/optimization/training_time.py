"""The wall time that a model's training has taken."""

from __future__ import annotations

from statistics import median

import ml_collections

from sfvae_jax.evaluation.measured import Measured, NotApplicable
from sfvae_jax.evaluation.spec import Evaluation, Measure
from sfvae_jax.evaluation.trained_model import TrainedModel

_LEAST_RECORDS = 3  # the first of them includes compilation


def evaluate_training_time(trained: TrainedModel, options: ml_collections.ConfigDict) -> Measured:
    """Takes the measure of `training_time`: the steps taken over their median speed.

    The speed is that of the records in metrics.jsonl up to the step. The median leaves out what
    slows down single records: compilation, measures that are taken during training, and pauses.
    """
    del options
    if trained.records is None:
        return {"training_seconds": NotApplicable("the records of training are not available")}
    speeds = [
        record["steps_per_second"]
        for record in trained.records()
        if record["step"] <= trained.step and record.get("steps_per_second", 0.0) > 0.0
    ]
    if len(speeds) < _LEAST_RECORDS:
        return {
            "training_seconds": NotApplicable(
                f"the speed of training needs {_LEAST_RECORDS} records; lower train.log_every and"
                " train.steps_per_call"
            )
        }
    return {"training_seconds": trained.step / median(speeds)}


EVALUATION = Evaluation(
    evaluate_training_time,
    (Measure("training_seconds", "training time", unit="seconds", better="less", split=""),),
    summary="the wall time of the steps taken, at the median speed of the records in metrics.jsonl",
    examples="both",
)
