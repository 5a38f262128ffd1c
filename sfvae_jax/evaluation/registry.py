"""The table of all evaluations, and the functions that take, draw and check them by their names.

An evaluation is described in its own file, by an `Evaluation` (`spec.py`); the table gives it the
name that a config lists.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import ml_collections

from sfvae_jax.data import SPLITS
from sfvae_jax.errors import RunError, UsageError
from sfvae_jax.evaluation.bounds import collapse, marginal_likelihood, reconstruction, sampled
from sfvae_jax.evaluation.generation import frechet, precision_recall
from sfvae_jax.evaluation.generation.options import GENERATED
from sfvae_jax.evaluation.inference_gaps import evaluation as inference_gaps
from sfvae_jax.evaluation.linearization import (
    bend,
    bias,
    constant_variance,
    jacobian_quality,
    optimal_decoder,
    stationarity,
)
from sfvae_jax.evaluation.measured import Doubtful, Measured, NotApplicable, OfText
from sfvae_jax.evaluation.optimization import gradient_noise, training_time
from sfvae_jax.evaluation.pictures import evaluation as pictures
from sfvae_jax.evaluation.sequences import bayesian_optimization
from sfvae_jax.evaluation.sequences.measures import SEQUENCE_RECONSTRUCTION, SEQUENCE_SAMPLES
from sfvae_jax.evaluation.sequences.pictures import SEQUENCE_PICTURES
from sfvae_jax.evaluation.spec import Evaluation, Measure, in_words
from sfvae_jax.evaluation.trained_model import TrainedModel
from sfvae_jax.objectives.spec import LikelihoodTraits, ObjectiveInfo, PosteriorTraits
from sfvae_jax.options import COUNT, DRAWN, FLAG, STEPS, Group, Option, one_of, some_of
from sfvae_jax.options import check as check_rules
from sfvae_jax.runtime.devices import memory_for

EVALUATIONS: dict[str, Evaluation] = {
    "collapse": collapse.COLLAPSE,
    "kl_divergence": collapse.KL_DIVERGENCE,
    "reconstruction": reconstruction.EVALUATION,
    "lower_bound": sampled.LOWER_BOUND,
    "iwae_bound": sampled.IWAE_BOUND,
    "constant_variance_penalty": constant_variance.EVALUATION,
    "stationarity": stationarity.EVALUATION,
    "optimal_decoder": optimal_decoder.EVALUATION,
    "pictures": pictures.EVALUATION,
    "marginal_likelihood": marginal_likelihood.EVALUATION,
    "jacobian_quality": jacobian_quality.EVALUATION,
    "bias": bias.EVALUATION,
    "bend": bend.EVALUATION,
    "gradient_noise": gradient_noise.EVALUATION,
    "training_time": training_time.EVALUATION,
    "inference_gaps": inference_gaps.EVALUATION,
    "frechet": frechet.EVALUATION,
    "precision_recall": precision_recall.EVALUATION,
    "sequence_samples": SEQUENCE_SAMPLES,
    "sequence_reconstruction": SEQUENCE_RECONSTRUCTION,
    "sequence_pictures": SEQUENCE_PICTURES,
    "bayesian_optimization": bayesian_optimization.EVALUATION,
}
_DEFAULT_NAMES = ("collapse", "kl_divergence", "reconstruction", "lower_bound")


def option_group(table: Mapping[str, Evaluation] = EVALUATIONS) -> Group:
    """Returns the config group `evaluations`, which has a group for each evaluation of a table."""
    return {
        "names": Option(
            _DEFAULT_NAMES,
            some_of("evaluation", table),
            "Evaluations that measure or draw something at the end of a run",
        ),
        "steps": Option(
            (),
            STEPS,
            "Training steps at which the run is measured as well; 0 = before the first step",
        ),
        "step_pictures": Option(
            True, FLAG, "Whether pictures of these steps are drawn, while training goes on"
        ),
        "part": Option("test", one_of("split", SPLITS), "Split that is measured"),
        "batch_size": Option(500, COUNT, "Examples that are measured at once"),
        "use_ema": Option(
            False,
            FLAG,
            "Whether the moving average of the parameters is measured and drawn, which"
            " train.ema_decay keeps; False = the parameters themselves",
        ),
        **{name: entry.options for name, entry in table.items()},
        "generated": GENERATED,  # whichever evaluation asks for generated images
        "num_pictured": Option(10, DRAWN, "Images in figures/reconstructions.png"),
    }


class Measures(NamedTuple):
    """What was measured; the keys are the names of measures, as in results.json.

    Attributes:
        metrics: the value of each measure, None if it does not apply to this model.
        not_applicable: why a measure does not apply.
        caveats: why a value cannot be trusted as it stands.
        texts: the text that a value belongs to.
    """

    metrics: dict[str, float | None]
    not_applicable: dict[str, str]
    caveats: dict[str, str]
    texts: dict[str, str]


def measure(trained: TrainedModel) -> Measures:
    """Takes all measures of the evaluations that the model's `evaluations` group names.

    Raises:
        RunError: if a measure is not finite, or an evaluation needs too much memory.
        UsageError: if an evaluation does not apply to this kind of examples.
    """
    check_kind(trained.config, trained.language is not None)
    measured: Measured = {}
    for name in trained.config.names:
        try:
            with memory_for(f"evaluations.{name}", "lower its numbers or evaluations.batch_size"):
                measured |= EVALUATIONS[name].function(trained, trained.config[name])
        except NotApplicable as reason:
            measured |= dict.fromkeys(metric_names(trained.config, name), reason)
    reasons = {name: str(v) for name, v in measured.items() if isinstance(v, NotApplicable)}
    caveats = {name: v.caveat for name, v in measured.items() if isinstance(v, Doubtful)}
    texts = {name: v.text for name, v in measured.items() if isinstance(v, OfText)}
    metrics = {
        name: None if isinstance(v, NotApplicable) else float(v) for name, v in measured.items()
    }
    broken = [k for k, value in metrics.items() if value is not None and not math.isfinite(value)]
    if broken:
        raise RunError(f"not finite at this checkpoint: {', '.join(broken)}; the model diverged")
    return Measures(metrics, reasons, caveats, texts)


def draw(
    trained: TrainedModel, name: str, results: Mapping[str, Any], title: str, folder: Path
) -> None:
    """Draws the pictures of an evaluation, if it has any and applies to this model."""
    entry = EVALUATIONS[name]
    if entry.draw is not None:
        with contextlib.suppress(NotApplicable):
            entry.draw(trained, trained.config[name], results, title, folder)


def metric_names(config: ml_collections.ConfigDict, name: str) -> tuple[str, ...]:
    """Returns the names of an evaluation's measures under an `evaluations` group."""
    entry = EVALUATIONS[name]
    if entry.names is None:
        return tuple(measure.name for measure in entry.measures)
    return entry.names(config[name], config)


def measure_named(name: str) -> Measure:
    """Returns what is known about a measure; about an unknown one, what its name tells.

    If several fit the name, it is the one with the fewest characters in placeholders.

    Args:
        name: a key of results.json.
    """
    known = (one for entry in EVALUATIONS.values() for one in entry.measures)
    fitting = [(one.num_given, named) for one in known if (named := one.named(name))]
    if not fitting:
        return Measure(name, label=in_words(name))
    return max(fitting, key=lambda pair: pair[0])[1]


# ---- checks before a run ----


def check_options(config: ml_collections.ConfigDict) -> None:
    """Checks the options of all evaluations, and the files of those that are named.

    Args:
        config: the group `evaluations`.

    Raises:
        UsageError: naming the key.
    """
    table = {name: entry for name, entry in EVALUATIONS.items() if name in config}
    check_rules(option_group(table), config, "evaluations.")
    for name, entry in table.items():
        if entry.check is not None:
            try:
                entry.check(config[name])
            except UsageError as error:
                raise UsageError(f"evaluations.{name}.{error}") from error
    for name in config.names:
        check_files = EVALUATIONS[name].check_files
        if check_files is not None:
            check_files(config[name], config)


def check_kind(config: ml_collections.ConfigDict, is_sequences: bool) -> None:
    """Checks that the evaluations that are named apply to images, or to sequences.

    Args:
        config: the group `evaluations`.
        is_sequences: whether the data set's examples are sequences.

    Raises:
        UsageError: naming the first that does not, and those that do.
    """
    kind = "sequences" if is_sequences else "images"
    fitting = [name for name, entry in EVALUATIONS.items() if entry.examples in (kind, "both")]
    for name in config.names:
        if name not in fitting:
            raise UsageError(
                f"evaluations.names: {name!r} only applies to {EVALUATIONS[name].examples}, and the"
                f" data set holds {kind}; choose from {', '.join(fitting)}"
            )


def check_language(config: ml_collections.ConfigDict, kind: str) -> None:
    """Checks that the evaluations that are named can measure a kind of sequences here.

    Args:
        config: the group `evaluations`.
        kind: such as "molecules".

    Raises:
        UsageError: if one of them cannot, for instance because RDKit is missing.
    """
    for name in config.names:
        check = EVALUATIONS[name].check_language
        if check is not None:
            try:
                check(kind)
            except UsageError as error:
                raise UsageError(f"evaluations.names: {name!r} {error}") from error


def inapplicable(
    config: ml_collections.ConfigDict,
    objective: ObjectiveInfo,
    posterior: PosteriorTraits,
    likelihood: LikelihoodTraits,
) -> dict[str, str]:
    """Returns the evaluations that are named and cannot apply to a run's model, and why not.

    Args:
        config: the group `evaluations`.
        objective: the spec of the run's objective.
        posterior: that of its posterior.
        likelihood: that of its likelihood.
    """
    entries = ((name, EVALUATIONS[name].why_not) for name in config.names)
    found = {
        name: why_not(objective, posterior, likelihood)
        for name, why_not in entries
        if why_not is not None
    }
    return {name: reason for name, reason in found.items() if reason}


def needs_labels(config: ml_collections.ConfigDict) -> list[str]:
    """Returns which of the evaluations that are named need labels of the training images."""
    entries = ((name, EVALUATIONS[name].needs_labels) for name in config.names)
    return [name for name, needs in entries if needs is not None and needs(config[name], config)]


def needed_splits(config: ml_collections.ConfigDict) -> dict[str, str]:
    """Returns the splits that an `evaluations` group reads, each with the key that asks for it."""
    found = {config.part: "evaluations.part"}
    for name in config.names:
        splits = EVALUATIONS[name].splits
        for split in splits(config[name], config) if callable(splits) else splits:
            key = f"evaluations.{name}.parts" if "parts" in config[name] else f"evaluation {name!r}"
            found.setdefault(split, key)
    return found
