"""The code of a deterministic encoder."""

from __future__ import annotations

import dataclasses

import jax
from jax import Array


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Point:
    """A code without a distribution: no density, no sample, no divergence.

    Attributes:
        mean: the code, [m]; named as that of a posterior.
    """

    mean: Array

    def center(self) -> Array:
        """The code."""
        return self.mean
