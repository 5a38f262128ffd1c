"""The code of a deterministic encoder."""

from __future__ import annotations

import dataclasses

import jax
from jax import Array

from sfvae_jax.posteriors.spec import Declare, PosteriorSpec, Settings


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Point:
    """A code without a distribution: it has no density, no samples and no divergence.

    Attributes:
        mean: the code, [m]; it has the name of a posterior's mean.
    """

    mean: Array

    def center(self) -> Array:
        """The latent [m] that stands for the whole: the code."""
        return self.mean


def _build(settings: Settings, raw: Array, declare: Declare) -> Point:
    del declare
    return Point(raw[: settings.latent_size])


NONE = PosteriorSpec(
    name="none",
    summary="a single code, for deterministic encoders",
    num_outputs=lambda settings: settings.latent_size,
    build=_build,
    has_density=False,
    has_inverse=False,
)
