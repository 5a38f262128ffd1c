"""Settings of annealed importance sampling and of the search for an image's best posterior.

Each is a table of options, from which a configuration takes its defaults and rules, and a frozen
dataclass of their values, which the functions take. The defaults are those of GAPS: Cremer, Li and
Duvenaud, "Inference Suboptimality in Variational Autoencoders".
"""

from __future__ import annotations

import dataclasses

from sfvae_jax.errors import UsageError
from sfvae_jax.evaluation.inference_gaps.annealing import SCHEDULES, TARGET_ACCEPTANCE
from sfvae_jax.options import (
    BETWEEN_0_1,
    COUNT,
    POSITIVE,
    SIZES,
    Option,
    check,
    check_value,
    one_of,
    whole,
)
from sfvae_jax.posteriors.options import MOST_FLOWS

ANNEALING = {  # GAPS Section 3.3
    "num_chains": Option(100, COUNT, "Number of annealing chains for each image"),
    "num_temperatures": Option(
        500, COUNT, "Number of distributions strictly between prior and posterior"
    ),
    "num_leapfrog_steps": Option(10, COUNT, "Number of leapfrog steps of each HMC transition"),
    "schedule": Option(
        "sigmoidal", one_of("schedule", SCHEDULES), "How the temperatures are spaced"
    ),
    "target_acceptance": Option(
        TARGET_ACCEPTANCE,
        BETWEEN_0_1,
        "Acceptance rate for which the pilot run tunes the step sizes",
    ),
    "pilot_chains": Option(10, COUNT, "Number of chains of the pilot run for each image"),
    "chunk_size": Option(500, COUNT, "Number of chains that run at once; more take more memory"),
}


@dataclasses.dataclass(frozen=True)
class Annealing:
    """How the chains of every image are run.

    GAPS does not name the schedule. On a VAE with ten latents the sigmoidal one left half as much
    between the bounds of simulated digits as the linear one, with 200 and with 500 temperatures.

    Attributes:
        num_chains: C, the chains of each image.
        num_temperatures: T, the distributions strictly between prior and posterior.
        num_leapfrog_steps: leapfrog steps of each of a chain's T transitions.
        schedule: how the temperatures are spaced, one of `annealing.SCHEDULES`.
        target_acceptance: the acceptance rate that the pilot tunes an image's step sizes to.
        pilot_chains: chains of that pilot.
        chunk_size: chains that run at once. It changes memory, speed and rounding, but no draw;
            rounding may still flip an acceptance, after which a long chain takes another path.
        images_at_once: images whose chains run at once, where that is fewer than fill a chunk, so
            that calls for different numbers of images share one compiled program. None: as many as
            fit.

    Raises:
        UsageError: if a value breaks the rule of its option, naming it.
    """

    num_chains: int = ANNEALING["num_chains"].default
    num_temperatures: int = ANNEALING["num_temperatures"].default
    num_leapfrog_steps: int = ANNEALING["num_leapfrog_steps"].default
    schedule: str = ANNEALING["schedule"].default
    target_acceptance: float = ANNEALING["target_acceptance"].default
    pilot_chains: int = ANNEALING["pilot_chains"].default
    chunk_size: int = ANNEALING["chunk_size"].default
    images_at_once: int | None = None

    def __post_init__(self) -> None:
        """Checks the values."""
        check(ANNEALING, vars(self))

    def rows_at_once(self, of_each: int) -> int:
        """Returns how many rows go into one call, where each image has `of_each` of them."""
        return min(self.chunk_size, (self.images_at_once or self.chunk_size) * of_each)


LOCAL = {  # GAPS Section 6.4 and Table 8
    "num_samples": Option(100, COUNT, "Number of samples of the posterior in each step's ELBO"),
    "learning_rate": Option(1e-3, POSITIVE, "Adam's initial learning rate"),
    "network_learning_rate": Option(
        1e-3, POSITIVE, "Adam's initial learning rate for a family that has networks"
    ),
    "check_every": Option(100, COUNT, "Number of steps between two checks of an image's ELBO"),
    "patience": Option(
        10, COUNT, "Number of checks without an improvement after which an image is finished"
    ),
    "max_steps": Option(100_000, COUNT, "Largest number of steps for any image"),
    "chunk_size": Option(
        100, COUNT, "Number of images that are optimised at once; more take more memory"
    ),
    "num_flows": Option(2, whole(1, MOST_FLOWS), "Number of steps of a flow"),
    "hidden_sizes": Option((100, 100), SIZES, "Hidden layer sizes of a flow's networks"),
}


@dataclasses.dataclass(frozen=True)
class LocalOptimization:
    """How the best posterior of an image is searched for.

    Attributes:
        num_samples: samples of the posterior in each step's ELBO.
        learning_rate: Adam's initial learning rate.
        network_learning_rate: Adam's initial learning rate for a family that has networks.
        check_every: steps between two checks of an image's ELBO.
        patience: checks without an improvement after which an image is left as it is.
        max_steps: most steps for any image, rounded down to whole checks.
        chunk_size: images that are optimised at once.
        num_flows: steps of a flow.
        hidden_sizes: hidden layer sizes of a flow's networks.
        constant_stddev: standard deviation of every latent dimension in the family "constant".
        reverse_sizes: hidden layer sizes of an auxiliary flow's network for r(v|z); None:
            hidden_sizes.
        auxiliary_start: what an auxiliary flow draws v_0 from, one of
            `posteriors.AUXILIARY_STARTS`.

    Raises:
        UsageError: if a value breaks the rule of its option, or max_steps is below check_every.
    """

    num_samples: int = LOCAL["num_samples"].default
    learning_rate: float = LOCAL["learning_rate"].default
    network_learning_rate: float = LOCAL["network_learning_rate"].default
    check_every: int = LOCAL["check_every"].default
    patience: int = LOCAL["patience"].default
    max_steps: int = LOCAL["max_steps"].default
    chunk_size: int = LOCAL["chunk_size"].default
    num_flows: int = LOCAL["num_flows"].default
    hidden_sizes: tuple[int, ...] = LOCAL["hidden_sizes"].default
    # These three are the model's own and not options.
    constant_stddev: float = 1.0
    reverse_sizes: tuple[int, ...] | None = None
    auxiliary_start: str = "conditional"

    @property
    def whole_steps(self) -> int:
        """The most steps that an image can take: the whole checks that max_steps allows."""
        return self.max_steps // self.check_every * self.check_every

    def __post_init__(self) -> None:
        """Checks the values; a search without a check would never end."""
        check(LOCAL, vars(self))
        check_value("constant_stddev", self.constant_stddev, POSITIVE)
        if self.max_steps < self.check_every:
            raise UsageError(
                f"max_steps {self.max_steps} must be at least check_every {self.check_every}"
            )
