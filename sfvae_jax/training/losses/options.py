"""The group `objective` of a configuration."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import ml_collections

from sfvae_jax import objectives
from sfvae_jax.errors import UsageError
from sfvae_jax.objectives.numerics.probes import LANCZOS_STEPS
from sfvae_jax.options import (
    COUNT,
    COUNT_OR_0,
    FLAG,
    IN_0_1,
    NOT_NEGATIVE,
    POSITIVE,
    SIZES,
    Option,
    Rule,
    check_own_options,
    is_number,
    is_whole,
    one_of,
    optional,
    own_options,
    tuple_of,
)
from sfvae_jax.training.schedules import SCHEDULES

JACOBIAN_DTYPES = ("float32", "bfloat16")

_GAMMAS = tuple_of(
    lambda gamma: is_number(gamma) and 0 <= gamma <= 1, "numbers in [0, 1], such as (0.9, 0.5)"
)
_LOG_DET_WEIGHT = Rule(
    lambda weight: weight == "gamma" if isinstance(weight, str) else NOT_NEGATIVE.holds(weight),
    "a number, 0 or more, or 'gamma'",
)
_BOUNDARIES = tuple_of(lambda step: is_whole(step), "steps, such as (100, 200)")

# Options that keep their defaults where the objective does not read them.
_LEFT_UNLESS_READ = ("antithetic", "log_det_weight", "bend_weight", "num_probes", "lanczos_steps")


_Specs = Mapping[str, objectives.ObjectiveInfo]


def _names(specs: _Specs, holds: Callable[[objectives.ObjectiveInfo], bool]) -> str:
    """Lists the names of the objectives whose spec has a property."""
    return ", ".join(name for name, info in specs.items() if holds(info))


def _with_penalty(specs: _Specs) -> str:
    return _names(specs, lambda info: info.default_penalty_weight is not None)


def _with_code_norm(specs: _Specs) -> str:
    return _names(specs, lambda info: info.default_beta is not None and not info.parts)


def _with_tangents(specs: _Specs) -> str:
    return _names(specs, lambda info: info.has_tangents)


def _readers(specs: _Specs, option: str) -> str:
    """Lists the names of the objectives that read an option."""
    return _names(specs, lambda info: option in info.options)


def option_group(specs: _Specs = objectives.OBJECTIVES) -> dict[str, Option]:
    """Returns the options of the group, with those that the objectives of a table add."""
    return {
        "name": Option(
            "sampling_free",
            one_of("objective", specs),
            "Training objective; docs/objectives.md explains each",
        ),
        "num_samples": Option(
            1, COUNT, f"Number of posterior samples per example ({_readers(specs, 'num_samples')})"
        ),
        "antithetic": Option(
            False,
            FLAG,
            "Whether samples come in pairs on opposite sides of a Gaussian posterior's mean"
            f" ({_readers(specs, 'antithetic')}); num_samples is then even",
        ),
        "gamma": Option(
            0.5, IN_0_1, f"Weight of the quadratic correction ({_readers(specs, 'gamma')})"
        ),
        "gamma_schedule": Option(
            "constant",
            one_of("gamma schedule", SCHEDULES["gamma_schedule"]),
            "How gamma changes: constant; linear runs from gamma_start to gamma; piecewise takes"
            " gamma_values in turn",
        ),
        "gamma_start": Option(0.95, IN_0_1, "First gamma of the linear schedule"),
        "gamma_steps": Option(
            0, COUNT_OR_0, "Number of steps in the linear schedule of gamma; 0 = train.steps"
        ),
        "gamma_values": Option(
            objectives.FIGURE_1_GAMMAS, _GAMMAS, "Values of gamma in the piecewise schedule"
        ),
        "gamma_boundaries": Option(
            (),
            _BOUNDARIES,
            "Steps at which the piecewise schedule takes its next gamma; () = all values for"
            " equally many steps",
        ),
        "log_det_weight": Option(
            1.0,
            _LOG_DET_WEIGHT,
            f"Weight of the log determinant ({_readers(specs, 'log_det_weight')}): a number, or"
            " 'gamma' to follow objective.gamma and its schedule",
            of=object,
        ),
        "beta": Option(
            None,
            optional(NOT_NEGATIVE),
            "Weight of the KL divergence, or of the codes' squared norm"
            f" ({_with_code_norm(specs)}); None = the objective's own, which docs/deterministic.md"
            " lists",
            of=float,
        ),
        "beta_schedule": Option(
            "constant",
            one_of("beta schedule", SCHEDULES["beta_schedule"]),
            "How beta changes: constant; linear runs from beta_start to beta; cyclic does so"
            " beta_cycles times",
        ),
        "beta_start": Option(0.0, NOT_NEGATIVE, "First beta of the linear and cyclic schedules"),
        "beta_steps": Option(
            0,
            COUNT_OR_0,
            "Number of steps in the linear or cyclic schedule of beta; 0 = train.steps",
        ),
        "beta_cycles": Option(4, COUNT, "Number of cycles in the cyclic schedule of beta"),
        "beta_ramp": Option(0.5, IN_0_1, "Share of each cycle in which beta rises"),
        "entropy_weight": Option(
            1.0, NOT_NEGATIVE, "Weight of the posterior's entropy in the KL divergence"
        ),
        "entropy_schedule": Option(
            "constant",
            one_of("entropy schedule", SCHEDULES["entropy_schedule"]),
            "How the weight of the entropy changes: constant; linear runs from entropy_start to"
            " entropy_weight",
        ),
        "entropy_start": Option(
            0.0, NOT_NEGATIVE, "First weight of the entropy in the linear schedule"
        ),
        "entropy_steps": Option(
            0,
            COUNT_OR_0,
            "Number of steps in the linear schedule of the entropy's weight; 0 = train.steps",
        ),
        "free_bits": Option(
            0.0,
            NOT_NEGATIVE,
            "Floor under the KL divergence of each group of latent dimensions, in nats; 0 = none",
        ),
        "free_bits_groups": Option(
            (),
            SIZES,
            "Sizes of consecutive groups of dimensions that share a floor; () makes each dimension"
            " a group. The dimensions of a full covariance are always one group",
        ),
        "free_bits_of_batch": Option(
            False,
            FLAG,
            "Whether the floor applies to the mean divergence of the batch instead of that of each"
            " example",
        ),
        "tau": Option(0.2, POSITIVE, f"Information factor ({_readers(specs, 'tau')})"),
        "penalty_weight": Option(
            None,
            optional(NOT_NEGATIVE),
            f"Weight of the penalty or discrepancy ({_with_penalty(specs)}); None = the"
            " objective's own, which docs/deterministic.md lists",
            of=float,
        ),
        "num_probes": Option(
            0,
            COUNT_OR_0,
            "Number of random directions whose tangents replace the whole Jacobian of the decoder"
            f" ({_readers(specs, 'num_probes')}); 0 = the whole Jacobian, without noise",
        ),
        "bend_weight": Option(
            0.0,
            NOT_NEGATIVE,
            f"Weight of the decoder's expected bend within the posterior"
            f" ({_readers(specs, 'bend_weight')}); 0 = none",
        ),
        "lanczos_steps": Option(
            LANCZOS_STEPS,
            COUNT,
            "Number of products with the decoder's Jacobian and its transpose for each probe, from"
            f" which the log determinant is found ({_readers(specs, 'lanczos_steps')}, with"
            " num_probes)",
        ),
        "jacobian_dtype": Option(
            "float32",
            one_of("Jacobian dtype", JACOBIAN_DTYPES),
            "Dtype of the decoder's Jacobian and the factors of its products, whose sums are always"
            " in float32; only for images",
        ),
        **own_options(specs),
    }


def check_objective(options: ml_collections.ConfigDict) -> None:
    """Checks combinations of several options of the group `objective`.

    Raises:
        UsageError: if a rule is broken; the error names the keys and what to set.
    """
    specs = objectives.OBJECTIVES
    check_own_options("objective", options, specs, options.name)
    info, group = specs[options.name], option_group()
    _check_weights(options, info)
    for option in _LEFT_UNLESS_READ:
        if options[option] != group[option].default and option not in info.options:
            raise UsageError(
                f"objective.{option} only applies to {_readers(specs, option)}; objective.name is"
                f" {options.name!r}"
            )
    if options.antithetic and options.num_samples % 2:
        raise UsageError(
            "objective.antithetic requires an even objective.num_samples, such as 2; got"
            f" {options.num_samples}"
        )
    if options.lanczos_steps != LANCZOS_STEPS and not options.num_probes:
        raise UsageError(
            "objective.lanczos_steps requires objective.num_probes, such as 1; without probes leave"
            f" it at {LANCZOS_STEPS}"
        )
    # In a resolved config, an objective without a penalty has the weight 0.
    if options.penalty_weight and info.default_penalty_weight is None:
        raise UsageError(
            f"objective.penalty_weight only applies to {_with_penalty(specs)}; objective"
            f" {options.name!r} has no penalty"
        )
    if options.jacobian_dtype != "float32" and not info.forms_jacobian(options):
        raise UsageError(
            f"objective.jacobian_dtype only applies to {_with_tangents(specs)}, without"
            f" objective.num_probes; objective {options.name!r} does not take the decoder's whole"
            " Jacobian here"
        )


def _check_weights(options: ml_collections.ConfigDict, info: objectives.ObjectiveInfo) -> None:
    """Checks that weights are only set for terms that the objective has."""
    anneals_entropy = options.entropy_weight != 1.0 or options.entropy_schedule != "constant"
    anneals = anneals_entropy or options.beta_schedule != "constant"
    weighs = options.beta not in (None, 1.0) and info.default_beta is None
    if not info.parts and (anneals or weighs):
        raise UsageError(
            f"objective {options.name!r} has no KL divergence of its own to weight or anneal; leave"
            " objective.beta, objective.beta_schedule, objective.entropy_weight and"
            " objective.entropy_schedule at their defaults"
        )
    if (options.free_bits or options.free_bits_groups) and anneals_entropy:
        raise UsageError(
            "objective.free_bits and a weight on the entropy exclude each other; set"
            " objective.free_bits=0, or objective.entropy_weight=1 with a constant"
            " objective.entropy_schedule"
        )
