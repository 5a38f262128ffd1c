"""The groups `objective` and `train` of a configuration."""

from __future__ import annotations

from sfvae_jax import objectives
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
    "steps": Option(1000, COUNT, "updates of the parameters"),
    "batch_size": Option(0, COUNT_OR_0, "examples of a step; 0 = all"),
    "microbatch": Option(
        0,
        COUNT_OR_0,
        "examples of a device's share of the batch that are differentiated at a time, in memory for"
        " these alone; the step stays that of the whole batch; 0 = as suits the machine",
    ),
    "matmul_precision": Option(
        "float32",
        one_of("matmul precision", MATMUL_PRECISIONS),
        "what an accelerator multiplies float32 matrices in, in training: float32; tensorfloat32,"
        " which is faster and less exact (on a TPU three passes of bfloat16); or bfloat16, one pass"
        " on a TPU, tensorfloat32 on a GPU. The systems of the latents and all measures take"
        " float32. A CPU knows no difference",
    ),
    "learning_rate": Option(1e-3, POSITIVE, "of the first step"),
    "learning_rate_schedule": Option(
        "constant",
        one_of("learning rate schedule", SCHEDULES),
        "constant; burda: falls to a tenth in the eight stages of Burda et al. (2016), scaled to"
        " train.steps; cosine: falls to 0 at train.steps",
    ),
    "decoder_from": Option(
        "",
        TEXT,
        "workdir of another run, whose decoder is taken and not trained; empty: a fresh one,"
        " trained",
    ),
    "compilation_cache": Option(
        True,
        FLAG,
        "whether the command keeps compiled programs in the user's cache folder, so that a run of"
        " the same shapes starts sooner; JAX_COMPILATION_CACHE_DIR names another folder",
    ),
    "steps_per_call": Option(10, COUNT, "steps in one call of the device"),
    "log_every": Option(10, COUNT, "steps between two lines of metrics.jsonl"),
    "checkpoint_every": Option(100, COUNT, "steps between two checkpoints"),
    "checkpoints_kept": Option(3, COUNT, "how many of the latest checkpoints are kept"),
    "moments_decay": Option(0.99, BELOW_1, "of the running averages of BatchNorm"),
    "validate_every": Option(0, COUNT_OR_0, "steps between losses on the valid split; 0 = never"),
    "plateau_patience": Option(
        0, COUNT_OR_0, "validations without a new least loss; 0 = no reduction"
    ),
    "stop_patience": Option(
        0,
        COUNT_OR_0,
        "validations without a new least loss after which training stops, counted once annealed"
        " weights stay at their last values; the model of the least loss is measured; 0 = never",
    ),
    "plateau_factor": Option(0.5, BETWEEN_0_1, "the learning rate is multiplied by it then"),
}
