"""The tables and figures of "There and Back Again: Unraveling the Variational Auto-Encoder"."""

from __future__ import annotations

from launch.ledger.papers.sfvae import NO_FACES, SPRITES
from launch.ledger.table import Part, Table, seed_overrides, shown_by
from launch.ledger.views import Curves, Measures, Pictures

_MEASURED = "evaluations.steps=(4000,8000,12000,16000,20000,24000,28000,32000,36000)"
_FEW = "4,000 of the embedded digits, 4,000 steps in batches of 100"
_FEWER = "4,000 of the embedded digits, 2,000 steps in batches of 100"
_BAGGINS = "configs/mnist_baggins.py"
_SEEDS = 3
_BOUNDS = (("lower_bound", "end"), ("iwae_bound", "end"), ("kl_divergence", "end"))


def _shown_by(number: int, title: str, name: str) -> Table:
    return shown_by(f"back-figure{number}", f"BACK Figure {number}: {title}", name)


TABLES = (
    Table(
        "back-figure1",
        "BACK Figure 1: a variational autoencoder",
        obstacle="Nothing to compute: it is a drawing of encoder and decoder.",
    ),
    _shown_by(2, "posterior means by label, learned variances, three runs", "back-figure4"),
    _shown_by(3, "learned posterior variances against means", "back-figure4"),
    Table(
        "back-figure4",
        "BACK Figure 4: learned and constant posterior variances",
        (
            Part(
                "configs/mnist_bilbo.py",
                ("model.latent_size=*",),
                (_MEASURED,),
                hours=0.15,
            ),
        ),
        shows=(
            Measures((*_BOUNDS, ("constant_variance_penalty", "end"))),
            *(
                Curves(("lower_bound",), where=(("model.latent_size", size),))
                for size in ("2", "100")
            ),
            Pictures(("latent_plane.png", "posterior_variances.png", "manifold.png")),
        ),
    ),
    Table(
        "back-section4.2",
        "BACK Section 4.2: training with the log evidence",
        (
            Part(
                "configs/mnist_log_evidence.py:laptop",
                setting="4,000 of the embedded digits, 4,000 steps in batches of 100, AIS on 20"
                " images",
                hours=0.02,
            ),
        ),
        "The paper derives the log evidence but does not train with it.",
        (
            Measures(
                (
                    ("log_evidence_test", "end"),
                    ("linearized_full_covariance_bound_test", "end"),
                    ("lower_bound_test", "end"),
                    ("linearized_log_evidence", "end"),
                    ("posterior_covariance_gap", "end"),
                    ("reconstruction_error", "end"),
                )
            ),
        ),
    ),
    _shown_by(5, "posterior means by label, three methods", "back-figure4"),
    Table(
        "back-figure6",
        "BACK Figure 6: the scale of the data, 100 latents",
        (
            Part(_BAGGINS, ("model.latent_size=100",), hours=0.3),
            *(
                Part(
                    f"{_BAGGINS}:laptop",
                    ("model.latent_size=100",),
                    (f"seed={seed}",),
                    _FEWER,
                    hours=0.01,
                )
                for seed in range(_SEEDS)
            ),
        ),
        shows=(
            Measures((("reconstruction_error", "end"), ("kl_divergence", "end"))),
            Pictures(("samples.png",)),
        ),
    ),
    _shown_by(7, "faces, reconstructions and samples", "back-figure17"),
    Table(
        "back-figure8",
        "BACK Figure 8: scales of the codes and of the posterior variance",
        (
            Part(
                "configs/mnist_bilbo.py",
                ("model.latent_scale=*", "seed=0"),
                (_MEASURED,),
                hours=0.15,
            ),
            Part(
                "configs/mnist_bilbo.py",
                ("model.latent_scale=*", "seed=0"),
                (_MEASURED, "model.latent_size=100"),
                hours=0.2,
            ),
            *(
                Part(
                    "configs/mnist_bilbo.py:laptop",
                    which,
                    ("evaluations.steps=(1000,2000,3000)",),
                    _FEW,
                    hours=0.02,
                )
                for which in (
                    ("model.latent_scale=*",),
                    ("model.latent_size=2", "objective.name=[sb]*"),
                )
            ),
        ),
        shows=(
            *(
                Curves(
                    ("lower_bound",),
                    where=(("model.latent_size", size), ("model.latent_scale", scale)),
                )
                for size in ("2", "100")
                for scale in ("0.1", "1.0", "10.0")
            ),
            Measures(_BOUNDS),
        ),
    ),
    _shown_by(9, "posterior means by label, constant variances", "back-figure8"),
    Table(
        "back-figure10",
        "BACK Figure 10: posterior means by label, scales of the data",
        (
            Part(_BAGGINS, ("model.latent_size=2",), hours=0.15),
            *(
                Part(f"{_BAGGINS}:laptop", ("model.latent_size=2",), seed, _FEWER, hours=0.01)
                for seed in seed_overrides(_SEEDS)
            ),
        ),
        shows=(
            Measures((("reconstruction_error", "end"), ("kl_divergence", "end"))),
            Pictures(("latent_plane.png", "manifold.png")),
        ),
    ),
    _shown_by(11, "posterior means by label, information factors", "back-figure10"),
    _shown_by(12, "manifold and codes, learned variances", "back-figure4"),
    _shown_by(13, "manifold and codes, BILBO", "back-figure4"),
    _shown_by(14, "manifold and codes, Gaussian likelihood of variance 1", "back-figure10"),
    _shown_by(15, "manifold and codes, BAGGINS", "back-figure10"),
    _shown_by(16, "faces, reconstructions", "back-figure17"),
    Table(
        "back-figure17",
        "BACK Figure 17: faces, samples of the standard and of the optimal prior",
        (
            Part(
                "configs/celeba.py",
                ("train.steps=10000",),
                (
                    *SPRITES,
                    "evaluations.marginal_likelihood.num_samples=1000",
                    "evaluations.marginal_likelihood.num_images=50",
                    "evaluations.generated.features=classifier",
                ),
                "4,000 rendered sprites instead of faces, half the widths of SFVAE's networks in"
                " place of Barron's",
                hours=0.15,
            ),
        ),
        f"{NO_FACES} At SFVAE's widths 10,000 steps take an estimated 0.2 hours per run on two"
        " cores; the paper uses another network.",
        (
            Measures(
                (
                    ("frechet_classifier_distance_prior", "end"),
                    ("frechet_classifier_distance_optimal_prior", "end"),
                    ("reconstruction_error", "end"),
                )
            ),
            Pictures(("reconstructions.png", "samples.png", "samples_optimal_prior.png")),
        ),
    ),
)
