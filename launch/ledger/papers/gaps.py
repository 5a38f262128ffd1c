"""The tables and figures of "Inference Suboptimality in Variational Autoencoders"."""

from __future__ import annotations

from launch.ledger.table import Part, Table, seed_overrides, shown_by
from launch.ledger.views import Curves, Measures, Pictures

_CONFIG = "configs/inference_gaps.py"
_GAPS = "evaluations.inference_gaps"
# An eighth of the training and a hundredth of the measuring. At the paper's size a model takes an
# estimated 5 to 7 hours to train and 20 to measure.
_SMALL = (
    "train.steps=246000",
    "objective.entropy_steps=30000",
    f"{_GAPS}.parts=('test',)",
    f"{_GAPS}.num_images=100",
    f"{_GAPS}.num_simulated=20",
    f"{_GAPS}.annealing.num_chains=20",
    f"{_GAPS}.local.num_samples=10",
    f"{_GAPS}.local.learning_rate=1e-2",
    f"{_GAPS}.local.network_learning_rate=3e-3",
    f"{_GAPS}.local.patience=3",
)
_IN_WORDS = (
    "an eighth of the training steps, 100 test images instead of 1,000, 20 chains instead of 100,"
    " 10 samples per step of the local optimisation instead of 100"
)
_EPOCH, _MEASURED = 600, (1, 4, 13, 40, 121, 364, 1093, 2186)  # steps, and epochs of Figure 3
_FEW = (f"{_GAPS}.num_images=25", f"{_GAPS}.annealing.num_chains=10")
_FEW_IN_WORDS = "25 images of each split instead of 100, 10 chains instead of 100"
_STANDARD = ("model.hidden_sizes=(200, 200)",)
_DIGITS = ("mnist", "fashion_mnist")
_SEEDS = 3
_FEW_DIGITS = (
    f"{_GAPS}.parts=('test',)",
    f"{_GAPS}.num_images=50",
    f"{_GAPS}.num_simulated=10",
    # With 500 AIS does not mix on some of these models.
    f"{_GAPS}.annealing.num_temperatures=2000",
    "data.num_examples=4000",
)
_FEW_DIGITS_IN_WORDS = (
    "4,000 training images, 10 latents instead of 50, 4,000 steps, 50 test images instead of 1,000,"
    " 8 chains of 2,000 temperatures instead of 100 of 500, 1,000 samples in the IWAE bound instead"
    " of 5,000, 10 samples per step of the local optimisation instead of 100"
)
# Section 6.2: an encoder without a hidden layer, and the networks of a flow after it.
_DECODER = "runs/reproduce/gaps-table2/inference_gaps-laptop,posterior.name=diagonal"
_NO_LAYER = ("model.hidden_sizes=()",)
_FLOW_AFTER_IT = (
    "posterior.auxiliary_start=standard_normal",
    "posterior.reverse_sizes=(50,50)",
)
_EACH = (
    "At the paper's size a model takes an estimated 5 to 7 hours to train, and 20 to measure, on"
    " two cores."
)


def _laptop(
    filters: tuple[str, ...],
    changes: tuple[str, ...] = (),
    data: tuple[str, ...] = _DIGITS,
    seeds: int = 1,
) -> tuple[Part, ...]:
    """Returns the runs of the preset laptop on data sets with the seeds 0 to `seeds` - 1."""
    return tuple(
        Part(
            f"{_CONFIG}:laptop",
            filters,
            (*_FEW_DIGITS, f"data.name={name}", *changes, *seed),
            _FEW_DIGITS_IN_WORDS,
            hours=0.1,
        )
        for seed in seed_overrides(seeds)
        for name in data
    )


_COLUMNS = (
    ("log_evidence_test", "end"),
    ("optimal_auxiliary_flow_bound_test", "end"),
    ("optimal_diagonal_bound_test", "end"),
    ("lower_bound_test", "end"),
    ("approximation_gap_test", "end"),
    ("amortization_gap_test", "end"),
    ("inference_gap_test", "end"),
)
# What full covariances gain, and those that the linearised decoder gives without optimisation.
_COVARIANCES = (
    ("optimal_full_covariance_bound_test", "end"),
    ("linearized_full_covariance_bound_test", "end"),
    ("linearized_diagonal_bound_test", "end"),
    ("linearized_covariance_gain_test", "end"),
)


def _text_only(number: int, title: str, why: str) -> Table:
    return Table(f"gaps-table{number}", f"GAPS Table {number}: {title}", obstacle=why)


TABLES = (
    Table(
        "gaps-figure1",
        "GAPS Figure 1: the gaps",
        obstacle="Nothing to compute: it is a drawing of what the gaps are.",
    ),
    _text_only(1, "definitions of the gaps", "Nothing to compute: it holds definitions."),
    Table(
        "gaps-table2",
        "GAPS Table 2: inference gaps",
        (
            Part(
                _CONFIG,
                (*_STANDARD, "posterior.name=diagonal"),
                _SMALL,
                _IN_WORDS,
                hours=0.6,
            ),
            Part(
                _CONFIG,
                (*_STANDARD, "posterior.name=auxiliary_flow"),
                _SMALL,
                _IN_WORDS,
                hours=1.0,
            ),
            *_laptop(("posterior.name=diagonal",), seeds=_SEEDS),
            *_laptop(("posterior.name=auxiliary_flow",), seeds=_SEEDS),
        ),
        f"{_EACH} Only 10,000 of CIFAR-10's 50,000 training images were available for these runs; a"
        " model on all of them takes an estimated 15 hours.",
        (Measures(_COLUMNS), Measures(_COVARIANCES)),
    ),
    Table(
        "gaps-table3",
        "GAPS Table 3: a larger encoder",
        (
            Part(
                _CONFIG,
                ("model.hidden_sizes=(500, 500)",),
                _SMALL,
                _IN_WORDS,
                hours=0.8,
            ),
            *_laptop(("model.hidden_sizes=(500, 500)",), seeds=_SEEDS),
            *_laptop(
                ("model.hidden_sizes=(500, 500)",),
                ("posterior.name=auxiliary_flow",),
                seeds=_SEEDS,
            ),
        ),
        _EACH,
        (Measures(_COLUMNS),),
    ),
    shown_by(
        "gaps-table4",
        "GAPS Table 4: influence of flows on the amortization gap",
        "gaps-section5.2.1. The copy of the paper that was used lacks its numbers",
    ),
    Table(
        "gaps-section5.2.1",
        "GAPS Section 5.2.1: new encoders for a decoder",
        tuple(
            part
            for posterior, more in (
                ("diagonal", _NO_LAYER),
                ("auxiliary_flow", (*_NO_LAYER, *_FLOW_AFTER_IT)),
                ("diagonal", ("model.hidden_sizes=(500,500)",)),
            )
            for part in _laptop(
                (f"posterior.name={posterior}",),
                (f"train.decoder_from={_DECODER}", *more),
                data=_DIGITS[:1],
            )
        ),
        f"The decoder is that of the run `{_DECODER}`: carry out gaps-table2 first, without"
        " --workdir. At the paper's size, the presets refit_linear, refit_linear_flow and"
        f" refit_large of {_CONFIG} do the same.",
        (Measures(_COLUMNS),),
    ),
    Table(
        "gaps-table5",
        "GAPS Table 5: decoders of no, two and four hidden layers",
        (
            Part(_CONFIG, ("model.decoder_sizes=*",), _SMALL, _IN_WORDS, hours=0.6),
            *_laptop(("model.decoder_sizes=*",), data=_DIGITS[:1], seeds=_SEEDS),
        ),
        f"The model of two hidden layers is gaps-table2's (MNIST, diagonal). {_EACH}",
        (
            Measures(
                (
                    ("log_evidence_test", "end"),
                    ("optimal_diagonal_bound_test", "end"),
                    ("approximation_gap_test", "end"),
                )
            ),
        ),
    ),
    Table(
        "gaps-table6",
        "GAPS Table 6: without annealing the entropy",
        (
            Part(
                _CONFIG,
                ("objective.entropy_schedule=constant",),
                _SMALL,
                _IN_WORDS,
                hours=0.8,
            ),
            *_laptop(("objective.entropy_schedule=constant",), seeds=_SEEDS),
        ),
        _EACH,
        (Measures(_COLUMNS),),
    ),
    _text_only(
        7,
        "networks for MNIST and Fashion-MNIST",
        "Nothing to compute: it lists layers. The copy of the paper that was used lacks it; the"
        " text describes the layers.",
    ),
    _text_only(8, "networks of the flow", "Nothing to compute: it lists layers."),
    _text_only(9, "networks for CIFAR-10", "Nothing to compute: it lists layers."),
    Table(
        "gaps-table10",
        "GAPS Table 10: Gaussians of full covariance",
        (
            Part(
                _CONFIG,
                ("posterior.name=full_covariance",),
                _SMALL,
                _IN_WORDS,
                hours=0.7,
            ),
            *_laptop(("posterior.name=full_covariance",), seeds=_SEEDS),
        ),
        _EACH,
        (Measures(_COLUMNS[:4]),),
    ),
    Table(
        "gaps-figure2",
        "GAPS Figure 2: true and approximate posteriors in two dimensions",
        (
            Part(
                f"{_CONFIG}:figure2",
                ("posterior.name=diagonal",),
                (f"{_GAPS}.num_images=16", f"{_GAPS}.num_simulated=20"),
                "16 images instead of 100, of which the figure shows four",
                hours=1.5,
            ),
            Part(
                f"{_CONFIG}:figure2",
                ("posterior.name=diagonal",),
                (
                    "train.steps=60000",
                    "train.learning_rate=1e-3",
                    f"{_GAPS}.num_images=16",
                    f"{_GAPS}.num_simulated=20",
                    f"{_GAPS}.annealing.num_chains=10",
                    f"{_GAPS}.local.num_samples=20",
                    f"{_GAPS}.local.learning_rate=5e-3",
                    f"{_GAPS}.local.patience=5",
                    f"{_GAPS}.local.hidden_sizes=(50,50)",
                ),
                "60,000 steps instead of 3,600,000 at ten times the learning rate, 16 images, 10"
                " chains instead of 100, smaller networks of the local flow with 20 samples per"
                " step",
                hours=0.1,
            ),
        ),
        shows=(Pictures(("posteriors.png",)), Measures()),
    ),
    Table(
        "gaps-figure3",
        "GAPS Figure 3: bounds over training",
        (
            Part(
                f"{_CONFIG}:figure3",
                (),
                (
                    *_SMALL[:2],
                    f"evaluations.steps={tuple(_EPOCH * epoch // 8 for epoch in _MEASURED)}",
                    *_FEW,
                ),
                f"Figure 3a, with an eighth of the training steps, {_FEW_IN_WORDS}",
                hours=0.8,
            ),
            Part(
                f"{_CONFIG}:figure3_overfit",
                (),
                _FEW,
                f"Figure 3b, trained on 1,000 digits, {_FEW_IN_WORDS}",
                hours=0.6,
            ),
        ),
        shows=(
            Curves(
                (
                    "ais_bound_train",
                    "iwae_bound_train",
                    "lower_bound_train",
                    "ais_bound_test",
                    "iwae_bound_test",
                    "lower_bound_test",
                )
            ),
            Measures((("inference_gap_train", "end"), ("inference_gap_test", "end"))),
        ),
    ),
)
