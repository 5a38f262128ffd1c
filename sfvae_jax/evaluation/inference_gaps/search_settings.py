"""What the search for the best posterior of one image can be told (GAPS Section 6.4, Table 8)."""

from __future__ import annotations

import dataclasses

from sfvae_jax.errors import UsageError
from sfvae_jax.models.options import MOST_FLOWS
from sfvae_jax.options import COUNT, POSITIVE, SIZES, Option, check, check_value, whole


@dataclasses.dataclass(frozen=True)
class LocalOptimization:
    """Settings of the search; the defaults are GAPS Section 6.4 and Table 8.

    Attributes:
        num_samples: of the posterior, for every step's ELBO.
        learning_rate: Adam's, at first.
        network_learning_rate: Adam's, at first, for a family with networks.
        check_every: steps to the next check of an image's ELBO.
        patience: checks without an improvement, after which an image is left as it is.
        max_steps: for any image; whole checks of them are taken.
        chunk_size: images that are optimised at once.
        num_flows: steps of a flow.
        hidden_sizes: of a flow's networks.
        constant_stddev: of every latent dimension, for the family "constant".
        reverse_sizes: of an auxiliary flow's network for r(v|z); None: hidden_sizes.
        auxiliary_start: what its v_0 is drawn from, one of `posteriors.AUXILIARY_STARTS`.

    Raises:
        UsageError: naming what cannot be.
    """

    num_samples: int = 100
    learning_rate: float = 1e-3
    network_learning_rate: float = 1e-3
    check_every: int = 100
    patience: int = 10
    max_steps: int = 100_000
    chunk_size: int = 100
    num_flows: int = 2
    hidden_sizes: tuple[int, ...] = (100, 100)
    constant_stddev: float = 1.0
    reverse_sizes: tuple[int, ...] | None = None
    auxiliary_start: str = "conditional"

    @property
    def whole_steps(self) -> int:
        """What an image can take: as many whole checks as max_steps allows."""
        return self.max_steps // self.check_every * self.check_every

    def __post_init__(self) -> None:
        """Checks what would otherwise loop for ever or not at all."""
        check(LOCAL, vars(self))
        check_value("constant_stddev", self.constant_stddev, POSITIVE)
        if self.max_steps < self.check_every:
            raise UsageError(
                f"max_steps {self.max_steps} must be at least check_every {self.check_every}"
            )


LOCAL = {  # without the last three, which are the model's
    "num_samples": Option(
        LocalOptimization.num_samples, COUNT, "of the posterior, for every step's ELBO"
    ),
    "learning_rate": Option(LocalOptimization.learning_rate, POSITIVE, "of Adam, at first"),
    "network_learning_rate": Option(
        LocalOptimization.network_learning_rate,
        POSITIVE,
        "of Adam, at first, for a family with networks",
    ),
    "check_every": Option(LocalOptimization.check_every, COUNT, "steps from one check to the next"),
    "patience": Option(
        LocalOptimization.patience, COUNT, "checks without an improvement before an image is done"
    ),
    "max_steps": Option(LocalOptimization.max_steps, COUNT, "for any image"),
    "chunk_size": Option(LocalOptimization.chunk_size, COUNT, "images that are optimised at once"),
    "num_flows": Option(LocalOptimization.num_flows, whole(1, MOST_FLOWS), "steps of a flow"),
    "hidden_sizes": Option(LocalOptimization.hidden_sizes, SIZES, "of a flow's networks"),
}
