"""What the package knows about an evaluation and its measures.

To add an evaluation, write one file and name it in the table of `registry.py`. The file holds the
evaluation's options, its function, and one `Evaluation` that puts them together:

    OPTIONS = {"num_samples": Option(100, COUNT, "Samples of the posterior of each example")}

    def evaluate_spread(trained: TrainedModel, options: ml_collections.ConfigDict) -> Measured:
        return {"spread": ...}

    EVALUATION = Evaluation(
        evaluate_spread,
        (Measure("spread", unit="nats", digits=2, better="less"),),
        OPTIONS,
        summary="how far samples of the posterior lie from its mean",
    )

Configs, the checks before a run, results.json, reports and the documentation all read this object.
"""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, Protocol

import ml_collections

from sfvae_jax.evaluation.measured import Measured, Value
from sfvae_jax.evaluation.trained_model import TrainedModel
from sfvae_jax.objectives.spec import LikelihoodTraits, ObjectiveInfo, PosteriorTraits
from sfvae_jax.options import Group, require_rules

# The split that `evaluations.part` names.
EVALUATED = "evaluated"
_PLACEHOLDER = re.compile(r"(?<![A-Za-z0-9])[A-Z]+(?![A-Za-z0-9])")
_ACRONYMS = re.compile(r"\b(ais|elbo|fid|gmm|iwae|kl|nll|prd)\b")


@dataclasses.dataclass(frozen=True)
class Measure:
    """A number that an evaluation takes, and how reports show it.

    A word in capitals in the name is a placeholder: `Measure("fid_SOURCE")` stands for `fid_prior`,
    `fid_gmm` and so on. Its `label` and `split` may use the same word.

    Attributes:
        name: its key in results.json.
        label: what reports call it; empty: the name with spaces, and acronyms in capitals.
        unit: its unit, such as "nats"; empty if it has none.
        digits: how many digits after the decimal point a table shows.
        is_percentage: whether a table shows it, a share in [0, 1], in percent.
        better: whether "more" or "less" is better; empty if neither is.
        is_error: whether it says how far another measure can be trusted, as a standard error does.
            Pictures leave such measures out.
        split: the split that it is taken on, such as "test" or "train and test"; empty if it is
            taken on none.
        is_over_trials: whether it is a mean over trials within a single run, whose standard
            deviation is the measure NAME_deviation.
    """

    name: str
    label: str = ""
    unit: str = ""
    digits: int = 1
    is_percentage: bool = False
    better: Literal["more", "less", ""] = ""
    is_error: bool = False
    split: str = EVALUATED
    is_over_trials: bool = False

    def error(self, kind: str = "standard_error", digits: int | None = None) -> Measure:
        """Returns the measure NAME_KIND, which says how far this one can be trusted.

        Args:
            kind: "standard_error", "monte_carlo_error" or "deviation".
            digits: digits after the decimal point; None: as many as this measure has, at least 2.
        """
        return dataclasses.replace(
            self,
            name=f"{self.name}_{kind}",
            label=f"{self.label} {kind.replace('_', ' ')}" if self.label else "",
            digits=max(2, self.digits) if digits is None else digits,
            better="",
            is_error=True,
            is_over_trials=False,
        )

    @functools.cached_property
    def _pattern(self) -> re.Pattern:
        return re.compile(_PLACEHOLDER.sub(r"(?P<\g<0>>\\w+)", self.name))

    @property
    def num_given(self) -> int:
        """The number of characters of its name outside placeholders: how closely it fits a name."""
        return len(_PLACEHOLDER.sub("", self.name))

    def named(self, name: str) -> Measure | None:
        """Returns this measure with its placeholders filled in, or None if the name does not fit.

        Args:
            name: a key of results.json.
        """
        found = self._pattern.fullmatch(name)
        if found is None:
            return None
        words = found.groupdict()
        label = self.label or name
        for placeholder, value in words.items():
            label = label.replace(placeholder, value)
        split = words.get(self.split, self.split)
        return dataclasses.replace(self, name=name, label=in_words(label), split=split)


def in_words(name: str) -> str:
    """Returns a name with spaces for underscores, and acronyms in capitals."""
    return _ACRONYMS.sub(lambda acronym: acronym[0].upper(), name.replace("_", " "))


def with_errors(*measures: Measure) -> tuple[Measure, ...]:
    """Returns the measures, each followed by its standard error."""
    return tuple(one for measure in measures for one in (measure, measure.error()))


def no_measures(trained: TrainedModel, options: ml_collections.ConfigDict) -> Measured:
    """The function of an evaluation that only draws pictures."""
    del trained, options
    return {}


class Evaluate(Protocol):
    """Takes the measures of a trained model.

    Single ones may be `NotApplicable`, `Doubtful` or `OfText`. If none applies to the model, it
    raises `NotApplicable`.
    """

    def __call__(
        self, trained: TrainedModel, options: ml_collections.ConfigDict
    ) -> Mapping[str, Value]:
        """Returns the measures by their names."""


class FromOptions(Protocol):
    """Tells names, of measures or splits, from an evaluation's options."""

    def __call__(
        self, options: ml_collections.ConfigDict, evaluations: ml_collections.ConfigDict
    ) -> tuple[str, ...]:
        """Returns the names.

        Args:
            options: the evaluation's own group.
            evaluations: the whole group `evaluations`.
        """


class WhyNot(Protocol):
    """Tells from the specs of a run why an evaluation cannot apply to its model."""

    def __call__(
        self, objective: ObjectiveInfo, posterior: PosteriorTraits, likelihood: LikelihoodTraits
    ) -> str:
        """Returns the reason, in words that follow "because"; empty if it may apply."""


class Draw(Protocol):
    """Draws the pictures of an evaluation at the end of a run."""

    def __call__(
        self,
        trained: TrainedModel,
        options: ml_collections.ConfigDict,
        results: Mapping[str, Any],
        title: str,
        folder: Path,
    ) -> None:
        """Writes PNGs.

        Args:
            trained: the model and the examples.
            options: the evaluation's own group.
            results: the contents of results.json.
            title: what the figures' titles begin with.
            folder: where they are written.
        """


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """One evaluation: what it measures or draws, what can be set, and what it requires.

    Attributes:
        function: takes the measures.
        measures: all measures that it may take. Reports ask them for labels, units and digits.
        options: its config group, `evaluations.NAME`.
        summary: what it measures or draws, in a phrase; the documentation lists it.
        source: the sections, equations, tables and figures of the papers that it follows.
        names: tells from the options which measures are taken, in the order of results.json; None:
            all of `measures`, none of which has a placeholder then.
        examples: what it measures, "images", "sequences" or "both".
        splits: the splits of the data that it reads besides the evaluated one, or a function that
            tells them from the options.
        uses_generated: whether it reads the group `evaluations.generated`. If so, a change of that
            group outdates its measures in results.json.
        needs_labels: tells from the options whether it needs labels of the training images; None:
            it never does.
        check: raises a `UsageError` for options that do not fit each other; the message begins with
            the name of one of its options.
        check_files: raises a `UsageError` if a file that the options name is missing; it takes the
            same arguments as `names`.
        check_language: takes a kind of sequences, such as "molecules", and raises a `UsageError` if
            this machine cannot measure it; the message goes on after the evaluation's name.
        why_not: tells why all its measures would be null, so that a run says it at its start; None:
            that is not known before.
        draw: draws its pictures.
        name: its name in a config, for one from outside; `registry.py` names the others.

    Raises:
        TypeError: if an option has no rule.
    """

    function: Evaluate
    measures: tuple[Measure, ...]
    options: Group = dataclasses.field(default_factory=dict)
    _: dataclasses.KW_ONLY
    summary: str = ""
    source: str = ""
    names: FromOptions | None = None
    examples: Literal["images", "sequences", "both"] = "images"
    splits: tuple[str, ...] | FromOptions = ()
    uses_generated: bool = False
    needs_labels: Callable[[ml_collections.ConfigDict, ml_collections.ConfigDict], bool] | None = (
        None
    )
    check: Callable[[ml_collections.ConfigDict], None] | None = None
    check_files: Callable[[ml_collections.ConfigDict, ml_collections.ConfigDict], None] | None = (
        None
    )
    check_language: Callable[[str], None] | None = None
    why_not: WhyNot | None = None
    draw: Draw | None = None
    name: str = ""

    def __post_init__(self) -> None:
        """Checks that every option has a rule."""
        require_rules(self.options)
