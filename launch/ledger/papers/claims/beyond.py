"""What we add to the papers, and claim."""

from __future__ import annotations

from launch.ledger.claims import Claim
from launch.ledger.papers.claims.quantities import (
    MNIST_AND_OMNIGLOT,
    SAMPLING,
    SAMPLING_FREE,
    quantity,
)


def _bounds(says: str, data: str, objective: str, num_probes: int) -> Claim:
    """Compares the lower bounds of models trained by an objective and with one sample."""
    on = f"data.name={data}"
    chosen = (f"objective.name={objective}", f"objective.num_probes={num_probes}")
    return Claim(
        says,
        "sfvae-section4.3-bounds",
        quantity(objective, "lower_bound", on, *chosen),
        "more",
        quantity("sampling", "lower_bound", on, SAMPLING, "objective.num_samples=1"),
    )


CLAIMS = (
    *(
        _bounds(
            f"On {name}, a model trained {says} has a higher lower bound than one trained"
            " with 1 sample.",
            data,
            *by,
        )
        for data, name in MNIST_AND_OMNIGLOT
        for says, by in (
            ("without sampling", ("sampling_free", 0)),
            ("with a control variate", ("control_variate", 0)),
            ("with a control variate of 4 probes", ("control_variate", 4)),
        )
    ),
    Claim(
        "With two latents, a weight on the decoder's bend gives a model trained without"
        " sampling a higher lower bound.",
        "sfvae-figure2-bend",
        quantity("weight 1", "lower_bound", SAMPLING_FREE, "objective.bend_weight=1.0"),
        "more",
        quantity("no weight", "lower_bound", SAMPLING_FREE, "objective.bend_weight=0.0"),
    ),
    Claim(
        "On MNIST with 50 latents, this weight gives it a lower negative log likelihood.",
        "sfvae-table3-steps",
        quantity("weight 1", "nll_without_constant", SAMPLING_FREE, "objective.bend_weight=1.0"),
        "less",
        quantity("no weight", "nll_without_constant", SAMPLING_FREE, "objective.bend_weight=0.0"),
    ),
)
