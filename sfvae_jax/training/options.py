"""The groups `objective` and `train` of a configuration."""

from __future__ import annotations

import ml_collections

from sfvae_jax import objectives
from sfvae_jax.errors import UsageError
from sfvae_jax.options import (
    BELOW_1,
    BETWEEN_0_1,
    COUNT,
    COUNT_OR_0,
    FLAG,
    IN_0_1,
    NOT_NEGATIVE,
    POSITIVE,
    SIZES,
    TEXT,
    Option,
    Rule,
    is_number,
    is_whole,
    one_of,
    optional,
    tuple_of,
)
from sfvae_jax.training.learning_rate import SCHEDULES

GAMMA_SCHEDULES = ("constant", "linear", "piecewise")
BETA_SCHEDULES = ("constant", "linear", "cyclic")
ENTROPY_SCHEDULES = ("constant", "linear")
JACOBIAN_DTYPES = ("float32", "bfloat16")
MATMUL_PRECISIONS = ("float32", "tensorfloat32", "bfloat16")

_GAMMAS = tuple_of(
    lambda gamma: is_number(gamma) and 0 <= gamma <= 1, "numbers in [0, 1], such as (0.9, 0.5)"
)
_LOG_DET_WEIGHT = Rule(
    lambda weight: weight == "gamma" if isinstance(weight, str) else NOT_NEGATIVE.holds(weight),
    "a number, 0 or more, or 'gamma'",
)
_BOUNDARIES = tuple_of(lambda step: is_whole(step), "steps, such as (100, 200)")

OBJECTIVE = {
    "name": Option(
        "sampling_free",
        one_of("objective", objectives.OBJECTIVES),
        "docs/objectives.md says what each is",
    ),
    "num_samples": Option(1, COUNT, "of a sampling objective, for each example"),
    "gamma": Option(0.5, IN_0_1, "weight of the sampling-free quadratic correction"),
    "gamma_schedule": Option(
        "constant",
        one_of("gamma schedule", GAMMA_SCHEDULES),
        "linear: from gamma_start to gamma; piecewise: gamma_values in turn",
    ),
    "gamma_start": Option(0.95, IN_0_1, "of linear, at the first step"),
    "gamma_steps": Option(0, COUNT_OR_0, "of linear; 0 = train.steps"),
    "gamma_values": Option(objectives.FIGURE_1_GAMMAS, _GAMMAS, "of piecewise"),
    "gamma_boundaries": Option(
        (),
        _BOUNDARIES,
        "of piecewise, steps from which the next value counts; () = equal shares",
    ),
    "log_det_weight": Option(
        1.0,
        _LOG_DET_WEIGHT,
        "of the sampling-free log determinant: a number; gamma: it follows objective.gamma and its"
        " schedule",
        of=object,
    ),
    "beta": Option(
        None,
        optional(NOT_NEGATIVE),
        "weight of the KL divergence, or of the codes' size; None: 1, or the loss's own",
        of=float,
    ),
    "beta_schedule": Option(
        "constant",
        one_of("beta schedule", BETA_SCHEDULES),
        "linear: from beta_start to beta; cyclic: the same beta_cycles times",
    ),
    "beta_start": Option(0.0, NOT_NEGATIVE, "of linear and cyclic, at the first step"),
    "beta_steps": Option(0, COUNT_OR_0, "of linear and cyclic; 0 = train.steps"),
    "beta_cycles": Option(4, COUNT, "of cyclic"),
    "beta_ramp": Option(0.5, IN_0_1, "of cyclic, the share of a cycle that rises"),
    "entropy_weight": Option(1.0, NOT_NEGATIVE, "of the posterior's entropy"),
    "entropy_schedule": Option(
        "constant",
        one_of("entropy schedule", ENTROPY_SCHEDULES),
        "linear: from entropy_start to entropy_weight",
    ),
    "entropy_start": Option(0.0, NOT_NEGATIVE, "of linear, at the first step"),
    "entropy_steps": Option(0, COUNT_OR_0, "of linear; 0 = train.steps"),
    "free_bits": Option(0.0, NOT_NEGATIVE, "least KL divergence of a group, in nats"),
    "free_bits_groups": Option(
        (),
        SIZES,
        "of consecutive groups; (): each dimension is one; a full covariance is one group",
    ),
    "free_bits_of_batch": Option(False, FLAG, "whether it bounds the batch's mean instead"),
    "tau": Option(0.2, POSITIVE, "information factor of bilbo_baggins"),
    "penalty_weight": Option(
        None,
        optional(NOT_NEGATIVE),
        "of rae_l2's and rae_gp's penalty and of wae_mmd's discrepancy; None: the loss's own",
        of=float,
    ),
    "num_probes": Option(0, COUNT_OR_0, "of rae_gp; 0 = the exact Jacobian"),
    "jacobian_dtype": Option(
        "float32",
        one_of("Jacobian dtype", JACOBIAN_DTYPES),
        "of the decoder's Jacobian and its products; bfloat16 sums in float32 all the same",
    ),
}

TRAIN = {
    "steps": Option(1000, COUNT, "Number of updates of the parameters"),
    "batch_size": Option(0, COUNT_OR_0, "Number of examples in a step; 0 takes all of them"),
    "microbatch": Option(
        0,
        COUNT_OR_0,
        "Number of examples, of a device's share of the batch, that are differentiated at a time;"
        " memory is needed for these alone, and the step stays that of the whole batch. 0 chooses"
        " what suits the machine",
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
        "Number of validations without a new least loss after which the learning rate is"
        " multiplied by train.plateau_factor; 0 = never",
    ),
    "stop_patience": Option(
        0,
        COUNT_OR_0,
        "Number of validations without a new least loss after which training stops; they count"
        " once annealed weights have reached their last values. The model with the least loss is"
        " measured. 0 = never",
    ),
    "plateau_factor": Option(
        0.5, BETWEEN_0_1, "Factor of the learning rate after train.plateau_patience validations"
    ),
}


def check_train(train: ml_collections.ConfigDict) -> None:
    """Checks the rules that join several options of the group `train`.

    Raises:
        UsageError: naming the keys and what to set.
    """
    if train.validate_every > train.steps:
        raise UsageError(
            f"train.validate_every {train.validate_every} is more than train.steps {train.steps}:"
            " nothing would be validated"
        )
    for key in ("plateau_patience", "stop_patience"):
        if train[key] and not train.validate_every:
            raise UsageError(f"train.{key} counts validations; set train.validate_every too")
