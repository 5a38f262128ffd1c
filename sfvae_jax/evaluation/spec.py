"""What an evaluation is: its function, its measures, its options and its pictures."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import ml_collections

from sfvae_jax.evaluation.trained_model import NotApplicable, TrainedModel
from sfvae_jax.options import Group, require_rules

Measured = dict[str, float | NotApplicable]
FromOptions = Callable[[ml_collections.ConfigDict, ml_collections.ConfigDict], tuple[str, ...]]
Draw = Callable[[TrainedModel, ml_collections.ConfigDict, Mapping[str, Any], str, Path], None]


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """A function of a trained model and its own group of options.

    Attributes:
        function: gives the measures, single ones of them `NotApplicable`, `Doubtful` or `OfText`,
            or raises the first of these.
        metrics: the names of its measures, or what tells them from its options and the group
            `evaluations`.
        options: of its group, each with its rule.
        parts: of the data set, that it reads besides the images evaluated, or what tells them
            in the same way.
        draw: its pictures at the end of a run: of a trained model, its options, the contents of
            results.json, a title and the folder for the figures.
        check: refuses options that do not fit each other, by a `UsageError` that begins with the
            option's name.
        of: what examples it measures: "images", "sequences" or "both".

    Raises:
        TypeError: if an option has no rule.
    """

    function: Callable[[TrainedModel, ml_collections.ConfigDict], Measured]
    metrics: tuple[str, ...] | FromOptions
    options: Group = dataclasses.field(default_factory=dict)
    parts: tuple[str, ...] | FromOptions = ()
    draw: Draw | None = None
    check: Callable[[ml_collections.ConfigDict], None] | None = None
    of: str = "images"

    def __post_init__(self) -> None:
        """Checks that every option has a rule."""
        require_rules(self.options)
