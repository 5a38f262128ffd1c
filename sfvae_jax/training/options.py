"""The group `train` of a configuration."""

from __future__ import annotations

from collections.abc import Mapping

import ml_collections

from sfvae_jax.errors import UsageError
from sfvae_jax.options import (
    BELOW_1,
    BETWEEN_0_1,
    COUNT,
    COUNT_OR_0,
    FLAG,
    POSITIVE,
    TEXT,
    Option,
    one_of,
)
from sfvae_jax.training.learning_rate import SCHEDULES
from sfvae_jax.training.updates import options as updates
from sfvae_jax.training.updates.optimizers import OPTIMIZERS, OptimizerSpec

PARALLELISMS = ("pmap", "jit")
MATMUL_PRECISIONS = ("float32", "tensorfloat32", "bfloat16")

_OPTIONS = {
    "steps": Option(1000, COUNT, "Number of updates of the parameters"),
    "batch_size": Option(0, COUNT_OR_0, "Number of examples in a step; 0 = all of them"),
    "microbatch": Option(
        0,
        COUNT_OR_0,
        "Number of examples, of a device's share of the batch, that are differentiated at a time;"
        " memory is needed for these alone, and the step stays that of the whole batch. 0 chooses"
        " what suits the machine",
    ),
    "parallelism": Option(
        "pmap",
        one_of("parallelism", PARALLELISMS),
        "How devices share a batch: pmap, with the training set on each of them; or jit, with an"
        " equal part of it on each and the same results",
    ),
    "matmul_precision": Option(
        "float32",
        one_of("matmul precision", MATMUL_PRECISIONS),
        "How an accelerator multiplies float32 matrices in training: float32; tensorfloat32, which"
        " is faster and less exact (on a TPU three passes of bfloat16); or bfloat16, one pass on a"
        " TPU and tensorfloat32 on a GPU. The linear systems of the latents and all measures use"
        " float32. A CPU ignores it",
    ),
    "learning_rate": Option(1e-3, POSITIVE, "Learning rate of the first step"),
    "learning_rate_schedule": Option(
        "constant",
        one_of("learning rate schedule", SCHEDULES),
        "How the learning rate changes: constant; burda falls to a tenth in the eight stages of"
        " Burda et al. (2016), scaled to train.steps; cosine falls to 0 at train.steps",
    ),
    "decoder_from": Option(
        "",
        TEXT,
        "Workdir of another run, whose decoder is used and not trained; empty trains a new one",
    ),
    "compilation_cache": Option(
        True,
        FLAG,
        "Whether the command keeps compiled programs in the user's cache folder, so that the next"
        " run with the same shapes starts sooner; JAX_COMPILATION_CACHE_DIR names another folder",
    ),
    "steps_per_call": Option(10, COUNT, "Number of steps in one call of the device"),
    "log_every": Option(10, COUNT, "Number of steps from one line of metrics.jsonl to the next"),
    "checkpoint_every": Option(100, COUNT, "Number of steps from one checkpoint to the next"),
    "checkpoints_kept": Option(3, COUNT, "Number of the latest checkpoints that are kept"),
    "moments_decay": Option(
        0.99, BELOW_1, "Decay of the running averages of BatchNorm's means and variances"
    ),
    "validate_every": Option(
        0, COUNT_OR_0, "Number of steps from one loss on the valid split to the next; 0 = never"
    ),
    "plateau_patience": Option(
        0,
        COUNT_OR_0,
        "Number of validations without a new lowest loss after which the learning rate is"
        " multiplied by train.plateau_factor; 0 = never",
    ),
    "stop_patience": Option(
        0,
        COUNT_OR_0,
        "Number of validations without a new lowest loss after which training stops; they count"
        " once annealed weights have reached their last values. The model with the lowest loss is"
        " measured. 0 = never",
    ),
    "plateau_factor": Option(
        0.5, BETWEEN_0_1, "Factor of the learning rate after train.plateau_patience validations"
    ),
}


def option_group(specs: Mapping[str, OptimizerSpec] = OPTIMIZERS) -> dict[str, Option]:
    """Returns all options of the group, including those that the optimizers of a table add."""
    return {**_OPTIONS, **updates.option_group(specs)}


def check_train(train: ml_collections.ConfigDict) -> None:
    """Checks the rules that join several options of the group `train`.

    Raises:
        UsageError: naming the keys and what to set.
    """
    if train.validate_every > train.steps:
        raise UsageError(
            f"train.validate_every {train.validate_every} is more than train.steps {train.steps}:"
            " nothing would be validated. Lower it, or set it to 0"
        )
    for key in ("plateau_patience", "stop_patience"):
        if train[key] and not train.validate_every:
            raise UsageError(
                f"train.{key} counts validations; set train.validate_every too, or train.{key} to 0"
            )
    updates.check_updates(train)
