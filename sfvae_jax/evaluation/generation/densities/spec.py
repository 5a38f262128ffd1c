"""What the package knows about a density of codes.

To add a density, write one file with its `DensitySpec` and name it in the table of `table.py`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Protocol

import ml_collections
import numpy as np

from sfvae_jax.evaluation.trained_model import TrainedModel
from sfvae_jax.options import Group, require_rules


class Density(Protocol):
    """A density of codes [m] that can be sampled."""

    def sample(self, rng: np.random.Generator, n: int) -> np.ndarray:
        """Returns n independent latents [n, m], in float64."""
        ...


@dataclasses.dataclass(frozen=True)
class DensitySpec:
    """One density of codes: how a trained model gets it, and what that takes.

    Attributes:
        fit: maps a trained model and a seed to the density. It raises `NotApplicable` if the model
            has no such density.
        summary: what it is, in a phrase; the documentation lists it.
        stream: number of the stream of noise that it is fitted and sampled with. No two entries of
            `sources.SOURCES` have the same, and it never changes, so that seeded runs repeat.
        splits: the splits of the data that it is fitted to.
        options: its options, which stand in the config group `evaluations.generated`.
        reports_log_density: whether the evaluation `frechet` reports its log density of held-out
            codes. The density then has `log_density(codes [N, m]) -> [N]`, in nats.
        of_codes: fits the density to other codes [N, m] than the model's; it also takes the options
            in `evaluations.generated` and a source of noise, and raises a `ValueError` if there are
            too few codes. None: it is not fitted to other codes.

    Raises:
        TypeError: if an option has no rule.
    """

    fit: Callable[[TrainedModel, int], Density]
    summary: str
    stream: int
    splits: tuple[str, ...] = ("train",)
    options: Group = dataclasses.field(default_factory=dict)
    reports_log_density: bool = False
    of_codes: (
        Callable[[np.ndarray, ml_collections.ConfigDict, np.random.Generator], Density] | None
    ) = None

    def __post_init__(self) -> None:
        """Checks that every option has a rule."""
        require_rules(self.options)
