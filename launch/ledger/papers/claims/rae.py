"""Claims of "From Variational to Deterministic Autoencoders"."""

from __future__ import annotations

from typing import Literal

from launch.ledger.claims import Claim, Quantity
from launch.ledger.papers.claims.quantities import SAMPLING, quantity
from launch.ledger.papers.rae import EXPRESSIONS, ZINC


def _distance(says: str, first: str, second: str) -> Claim:
    """Compares Frechet distances of Table 1; each is given as OBJECTIVE/SOURCE."""

    def of(text: str) -> Quantity:
        objective, _, source = text.partition("/")
        measure = f"frechet_classifier_distance_{source}"
        return quantity(f"{objective}, {source}", measure, f"objective.name={objective}")

    return Claim(says, "rae-table1", of(first), "less", of(second))


def _search(
    says: str, data: str, measure: str, relation: Literal["less", "more"], vae: str = "GVAE"
) -> Claim:
    """Compares a search in the codes of GRAE with one in those of GVAE, or of CVAE."""
    on, beta = f"data.name={data}", "objective.beta=0.01"
    tokens = {"GVAE": "grammar", "CVAE": "characters"}[vae]
    return Claim(
        says,
        "rae-figure2",
        quantity("GRAE", measure, on, beta, "data.tokens=grammar", "objective.name=rae_l2"),
        relation,
        quantity(vae, measure, on, beta, f"data.tokens={tokens}", SAMPLING),
    )


CLAIMS = (
    *(
        _distance(
            f"For {words}, samples of a mixture fitted to the codes are closer to the data than"
            " samples of the prior.",
            f"{objective}/gmm",
            f"{objective}/prior",
        )
        for objective, words in (("sampling", "a VAE"), ("wae_mmd", "a WAE"))
    ),
    _distance(
        "Samples of a regularised autoencoder with a fitted mixture are closer to the data than"
        " a VAE's samples of the prior.",
        "rae_l2/gmm",
        "sampling/prior",
    ),
    _distance(
        "Samples of a regularised autoencoder with a fitted mixture are closer to the data than"
        " a VAE's samples of a fitted mixture.",
        "rae_l2/gmm",
        "sampling/gmm",
    ),
    _distance(
        "On MNIST, samples of a regularised autoencoder with a fitted mixture are closer to the"
        " data than a WAE's samples of a fitted mixture.",
        "rae_l2/gmm",
        "wae_mmd/gmm",
    ),
    _distance(
        "For a regularised autoencoder, samples of a fitted mixture are closer to the data than"
        " samples of a fitted Gaussian.",
        "rae_l2/gmm",
        "rae_l2/gaussian",
    ),
    _distance(
        "Interpolations of a regularised autoencoder are closer to the data than a VAE's.",
        "rae_l2/interpolations",
        "sampling/interpolations",
    ),
    *(
        _search(
            f"{search} in the codes of GRAE finds expressions with lower scores (better) than in"
            f" {vae}'s.",
            data,
            "search_score",
            "less",
            vae,
        )
        for data, search in (
            (EXPRESSIONS, "With GrammarVAE's expressions, a search"),
            ("equations", "With expressions that are drawn from the grammar, a search"),
        )
        for vae in ("GVAE", "CVAE")
    ),
    *(
        claim
        for data, search in (
            (ZINC, "With 20,000 molecules of ZINC, a search"),
            ("molecules", "With well-known molecules, a search"),
        )
        for claim in (
            _search(
                f"{search} in the codes of GRAE finds molecules with higher scores (better) than"
                " in GVAE's.",
                data,
                "search_score",
                "more",
            ),
            _search(
                f"{search} in the codes of GRAE finds a larger share of valid molecules than in"
                " GVAE's.",
                data,
                "search_valid",
                "more",
            ),
        )
    ),
)
