"""The experiments of the notes "Variational Auto Encoders", which have no numbered tables."""

from __future__ import annotations

from launch.ledger.table import Part, Table, shown_by
from launch.ledger.views import Measures

ENAS = "enas:data/enas.txt"

TABLES = (
    Table(
        "flow-section4",
        "FLOW Section 4: four posteriors, on digits",
        (
            Part(
                "configs/mnist_posteriors.py:laptop",
                ("seed=[0-2]",),
                (),
                "4,000 of the embedded digits, 10 latents, 4,000 steps, 200 samples in the IWAE"
                " bound instead of 5,000",
                hours=0.02,
            ),
        ),
        "The paper gives neither the sizes of its networks nor results.",
        (
            Measures(
                (
                    ("lower_bound", "end"),
                    ("iwae_bound", "end"),
                    ("kl_divergence", "end"),
                    ("reconstruction_error", "end"),
                )
            ),
        ),
    ),
    Table(
        "flow-section4.1",
        "FLOW Section 4.1: four posteriors, on architectures",
        (
            Part(
                "configs/architectures.py:laptop",
                (),
                (),
                "4,000 networks, 8 latents, layers of 64 units, 3,000 steps",
                hours=0.03,
            ),
            Part(
                "configs/architectures.py:laptop",
                (),
                # Its six layers and their end are told, so that records are checked without it.
                (f"data.name={ENAS}", "data.max_length=7", "data.num_examples=0"),
                "20,000 networks of ENAS, 8 latents, layers of 64 units, 3,000 steps",
                hours=0.03,
            ),
        ),
        "The paper gives neither the sizes of its networks, nor its data, nor results. The networks"
        " of ENAS with their accuracies, one per line, are read from data/enas.txt in the current"
        " folder.",
        (
            Measures(
                (
                    ("lower_bound", "end"),
                    ("iwae_bound", "end"),
                    ("kl_divergence", "end"),
                    ("token_accuracy", "end"),
                    ("value_error", "end"),
                    ("valid_prior", "end"),
                )
            ),
        ),
    ),
    shown_by(
        "flow-section2",
        "FLOW Section 2: annealing beside free bits",
        "flow-section4 and flow-section4.1",
    ),
)
