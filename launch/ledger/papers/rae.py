"""The tables and figures of "From Variational to Deterministic Autoencoders"."""

from __future__ import annotations

from launch.ledger.table import Part, Table, shown_by
from launch.ledger.views import Curves, Measures, Pictures

_NO_FACES = "Needs CelebA and weights of Inception, which were not available for these runs."
_SMALL = (
    "train.steps=10000",
    "model.channels=(16,32,64,128)",
    "evaluations.generated.features=classifier",
)
_SMALL_IN_WORDS = (
    "20 epochs instead of 100, an eighth of the networks' widths, distances in the features of a"
    " classifier of digits instead of Inception's"
)
_PROBED = ("objective.num_probes=1",)
_PROBED_IN_WORDS = f"one random probe per image for the gradient penalty, {_SMALL_IN_WORDS}"
_DIGITS = (
    "3,000 of the embedded digits, an eighth of the networks' widths, 600 steps, distances in the"
    " features of a classifier of digits instead of Inception's"
)
_PROBED_DIGITS = (
    f"{_DIGITS}, 1,000 images in a distance instead of 10,000, and for rae_gp one random probe per"
    " image"
)
_FEW_EXPRESSIONS = (
    "6,000 steps in batches of 100 instead of 7,500 in batches of 600, 2,000 held-out expressions"
    " instead of 5,000, the most likely sentence of a code instead of the most frequent of 25, and"
    " for rae_gp one random probe per expression"
)
_AT_FULL_SIZE = (
    "At the paper's widths a model takes an estimated 60 hours on two cores; weights of Inception,"
    " CelebA and most of CIFAR-10 were not available for these runs."
)
_SEEDS = 3
EXPRESSIONS = "equations:data/equation2_15_dataset.txt"  # of GrammarVAE's repository
ZINC = "molecules:data/zinc_20k.smi"
_COMMON = "data.elements=common"
# GRAE, GVAE and CVAE, which the paper has.
_THREE_MODELS = (("objective.name=rae_l2",), ("objective.name=sampling", "data.tokens=*"))
_DISTANCE = "frechet_classifier_distance"
_SOURCES = ("reconstructions", "prior", "gaussian", "gmm", "second_stage", "interpolations")


def _shown_by_table_1(name: str, title: str) -> Table:
    return shown_by(f"rae-{name}", f"RAE {title}", "rae-table1")


TABLES = (
    Table(
        "rae-table1",
        "RAE Table 1: Frechet distances of nine models",
        (
            *(
                Part(
                    "configs/rae.py",
                    (f"objective.name={objectives}",),
                    (*_SMALL, *more, f"seed={seed}"),
                    words,
                    hours=0.3,
                )
                for seed in range(_SEEDS)
                for objectives, more, words in (
                    ("*[!p]", (), _SMALL_IN_WORDS),  # all but rae_gp
                    ("rae_gp", _PROBED, _PROBED_IN_WORDS),
                )
            ),
            *(
                Part("configs/rae.py:laptop", (), (f"seed={seed}",), _PROBED_DIGITS, hours=0.1)
                for seed in range(_SEEDS)
            ),
        ),
        _AT_FULL_SIZE,
        (
            Measures(tuple((f"{_DISTANCE}_{source}", "end") for source in _SOURCES)),
            Pictures(("reconstructions.png", "samples_gmm.png", "neighbours.png")),
        ),
    ),
    shown_by(
        "rae-table2",
        "RAE Table 2: precision and recall",
        "rae-table1",
    ),
    Table(
        "rae-figure1",
        "RAE Figure 1: faces, reconstructions, samples and interpolations",
        obstacle=f"{_NO_FACES} 70 epochs of a model take an estimated 500 hours on two cores.",
    ),
    Table(
        "rae-figure2",
        "RAE Figure 2: expressions and molecules",
        (
            Part("configs/equations.py", hours=0.7),
            *(
                Part("configs/equations.py", which, (f"seed={seed}",), hours=0.7)
                for seed in range(1, _SEEDS)
                for which in _THREE_MODELS
            ),
            Part("configs/equations.py:laptop", (), (), _FEW_EXPRESSIONS, hours=0.04),
            *(
                Part(
                    "configs/equations.py:laptop",
                    which,
                    (f"seed={seed}",),
                    _FEW_EXPRESSIONS,
                    hours=0.04,
                )
                for seed in range(1, _SEEDS)
                for which in _THREE_MODELS
            ),
            *(
                Part(
                    "configs/equations.py:laptop",
                    which,
                    (f"data.name={EXPRESSIONS}", f"seed={seed}"),
                    f"GrammarVAE's own expressions, {_FEW_EXPRESSIONS}",
                    hours=0.04,
                )
                for seed in range(_SEEDS)
                for which in _THREE_MODELS
            ),
            Part(
                "configs/molecules.py:laptop",
                (),
                (_COMMON,),
                "layers of 64 units, 1,500 steps on 320 well-known molecules, the smaller grammar",
                hours=0.06,
            ),
            *(
                Part(
                    "configs/molecules.py:laptop",
                    which,
                    (f"data.name={ZINC}", "data.num_test=500", "train.steps=3000", _COMMON),
                    "layers of 64 units, 3,000 steps on 20,000 molecules of ZINC, the smaller"
                    " grammar",
                    hours=0.15,
                )
                for which in _THREE_MODELS
            ),
        ),
        "GrammarVAE's own expressions are the file equation2_15_dataset.txt of its repository. It"
        " and zinc_20k.smi, 20,000 lines of ZINC, are read from the folder data in the current"
        " folder. ZINC's 250,000 molecules were not available for these runs; layers of 501 units"
        " take an estimated 200 hours per model on two cores.",
        (
            Measures(
                (
                    ("search_valid", "end"),
                    ("search_score", "end"),
                    ("search_best_1", "end"),
                    ("search_best_2", "end"),
                    ("search_best_3", "end"),
                    ("exact_match", "end"),
                    ("token_accuracy", "end"),
                )
            ),
            Pictures(("search.png", "interpolations.png")),
        ),
    ),
    Table(
        "rae-figure3",
        "RAE Figure 3: samples per step, and the weight of the KL divergence",
        (
            Part(
                "configs/rae.py:laptop_figure3",
                setting=_DIGITS,
                hours=0.3,
            ),
        ),
        f"{_AT_FULL_SIZE} With several samples per step it takes that many times longer.",
        (
            Curves((f"{_DISTANCE}_reconstructions",), where=(("objective.beta", "1.0"),)),
            Curves(
                (f"{_DISTANCE}_reconstructions", f"{_DISTANCE}_prior"),
                "objective.beta",
                (("objective.num_samples", "1"),),
            ),
            Measures(
                ((f"{_DISTANCE}_reconstructions", "end"), (f"{_DISTANCE}_prior", "end")),
            ),
        ),
    ),
    _shown_by_table_1("figure4", "Figure 4: digits, reconstructions, samples, interpolations"),
    Table(
        "rae-figure5",
        "RAE Figure 5: CIFAR-10, reconstructions, samples, interpolations",
        obstacle="Needs all of CIFAR-10, of which only 10,000 images were available; 100 epochs of"
        " a model take an estimated 60 hours on two cores.",
    ),
    _shown_by_table_1("figure6", "Figure 6: nearest neighbours of samples"),
)
