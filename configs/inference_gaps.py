"""How good posteriors are, and what limits them: GAPS Tables 2-6 and 10, Figures 2 and 3.

GAPS is Cremer, Li and Duvenaud, "Inference Suboptimality in Variational Autoencoders". A network of
784-200-200-50 units (ELU) is trained with a factorised Gaussian, an auxiliary flow or a Gaussian of
full covariance as posterior, with the entropy annealed over the first 400 of 3,280 epochs and
Burda's learning rates. Then log p(x) is bounded by AIS and IWAE, and posteriors are optimised for
each image.

Presets:
    (none)   statically binarised MNIST, the paper's setting of Table 2.
    laptop   4,000 of the embedded digits, m = 10, 4,000 steps; 8 images, 8 chains.
    cifar10  CIFAR-10 with the networks of Table 9 and a discretised logistic likelihood. Training
             stops early, and the model that is best on 5,000 held-out images is measured (6.1.3).
    figure2  two latents, 784-100-2, tanh: pictures of true and approximate posteriors.
    figure3  bounds over training (Figure 3a).
    figure3_overfit  the same on 1,000 images (Figure 3b, for which the text gives no numbers).
    refit_linear, refit_linear_flow, refit_large  new encoders on the decoder of a finished run,
             given by --config.train.decoder_from=WORKDIR (Table 4).

The runs of each table can be chosen with --filter of `launch.sweep`:

    Table 2   model.hidden_sizes=(200*,posterior.name=[da]*, and for CIFAR-10 data.name=cifar10
    Table 3   model.hidden_sizes=(500*
    Table 5   model.decoder_sizes=*   (two hidden layers: Table 2's MNIST, posterior.name=diagonal)
    Table 6   objective.entropy_schedule=constant
    Table 10  posterior.name=full_covariance

The copy of the paper that was used lacks the numbers of Table 4 and the networks of Table 7;
Sections 6.1.2 and 6.2 describe the networks. The binarisation is drawn by this library; the paper
uses Larochelle's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ml_collections

from sfvae_jax.config import base_config
from sfvae_jax.runs.files.config_file import nest
from sfvae_jax.runs.published import with_setting

EPOCH = 600  # steps: 60,000 images in batches of 100
FAMILIES = ("diagonal", "auxiliary_flow", "full_covariance")

# How the models of a table differ from those of Table 2.
VARIANTS: dict[str, dict[str, Any]] = {
    "standard": {"model.hidden_sizes": (200, 200)},
    "large_encoder": {"model.hidden_sizes": (500, 500)},
    "no_annealing": {"objective.entropy_schedule": "constant"},
    "decoder_0": {"model.decoder_sizes": ()},
    "decoder_4": {"model.decoder_sizes": (200, 200, 200, 200)},
}

# Encoders that are trained on a given decoder (6.2).
REFITS: dict[str, dict[str, Any]] = {
    "refit_linear": {"model.hidden_sizes": ()},
    "refit_linear_flow": {
        "model.hidden_sizes": (),
        "posterior.name": "auxiliary_flow",
        "posterior.auxiliary_start": "standard_normal",
        "posterior.reverse_sizes": (50, 50),
    },
    "refit_large": {"model.hidden_sizes": (500, 500)},
}

CIFAR10_EPOCH = 450  # steps: 45,000 images, without the 5,000 held-out ones, in batches of 100
CIFAR10: dict[str, Any] = {
    "data.name": "cifar10",
    "data.num_valid": 5000,
    "data.binarization": "none",
    "model.name": "conv_elu",  # which ignores hidden_sizes and decoder_sizes
    "model.latent_size": 32,
    "likelihood.name": "discretized_logistic",
    "posterior.num_flows": 4,
    "objective.entropy_steps": 20 * CIFAR10_EPOCH,
    # The paper stops early by a held-out set. It does not say how large that set is, how many
    # epochs without improvement it allows, or how the learning rate falls.
    "train.steps": 200 * CIFAR10_EPOCH,
    "train.validate_every": CIFAR10_EPOCH,
    "train.stop_patience": 10,
    "train.learning_rate_schedule": "cosine",
    "evaluations.inference_gaps.num_images": 100,
    "evaluations.inference_gaps.local.num_flows": 4,
}

FIGURE2: dict[str, Any] = {
    "model.latent_size": 2,
    "model.hidden_sizes": (100,),
    "model.decoder_sizes": (100,),
    "model.activation": "tanh",
    "objective.entropy_schedule": "constant",
    "train.batch_size": 50,
    "train.steps": 3000 * 1200,
    "train.learning_rate": 1e-4,
    "train.learning_rate_schedule": "constant",
    "evaluations.inference_gaps.parts": ("train",),
    "evaluations.inference_gaps.num_images": 100,
}

EPOCHS_MEASURED = (1, 4, 13, 40, 121, 364, 1093, 2186)
FIGURE3: dict[str, Any] = {
    "evaluations.steps": tuple(EPOCH * epoch for epoch in EPOCHS_MEASURED),
    "evaluations.inference_gaps.families": (),
    "evaluations.inference_gaps.num_images": 100,
}

FIGURE3_OVERFIT: dict[str, Any] = {
    **FIGURE3,
    "data.num_examples": 1000,
    "objective.entropy_steps": 400 * 10,
    "train.steps": 3280 * 10,
    "evaluations.steps": tuple(10 * epoch for epoch in EPOCHS_MEASURED),
}

LAPTOP: dict[str, Any] = {
    "data.name": "mnist_5k",
    "data.num_test": 1000,
    "model.latent_size": 10,
    "posterior.hidden_sizes": (50, 50),
    "objective.entropy_steps": 500,
    "train.steps": 4000,
    "train.checkpoint_every": 2000,
    "evaluations.inference_gaps.num_images": 8,
    "evaluations.inference_gaps.num_samples": 1000,
    "evaluations.inference_gaps.num_simulated": 4,
    # More temperatures close the gap between the bounds faster than more chains do.
    "evaluations.inference_gaps.annealing.num_chains": 8,
    "evaluations.inference_gaps.annealing.pilot_chains": 5,
    "evaluations.inference_gaps.local.num_samples": 10,
    "evaluations.inference_gaps.local.learning_rate": 1e-2,
    "evaluations.inference_gaps.local.network_learning_rate": 3e-3,
    "evaluations.inference_gaps.local.hidden_sizes": (50, 50),
    "evaluations.inference_gaps.local.patience": 3,
}


CHANGES: dict[str, dict[str, Any]] = {
    "laptop": LAPTOP,
    "cifar10": CIFAR10,
    "figure2": FIGURE2,
    "figure3": FIGURE3,
    "figure3_overfit": FIGURE3_OVERFIT,
    **REFITS,
}


def get_config(preset: str = "") -> ml_collections.ConfigDict:
    """Returns the paper's setting of Table 2, or a preset."""
    config = base_config(preset, tuple(CHANGES))
    config.data.name = "mnist"
    config.data.binarization = "static"
    config.model.latent_size = 50
    config.model.hidden_sizes = (200, 200)
    config.model.decoder_sizes = (200, 200)
    config.model.activation = "elu"
    config.model.initializer = "glorot_uniform"
    config.posterior.name = "diagonal"
    config.posterior.context_size = 0  # the networks of Table 8 see the latents alone
    config.likelihood.name = "bernoulli"
    config.objective.name = "sampling"
    config.objective.entropy_schedule = "linear"
    config.objective.entropy_steps = 400 * EPOCH
    config.train.steps = 3280 * EPOCH
    config.train.batch_size = 100
    config.train.learning_rate = 1e-3
    config.train.learning_rate_schedule = "burda"
    config.train.steps_per_call = 200
    config.train.log_every = 200
    config.train.checkpoint_every = 20 * EPOCH
    config.evaluations.names = ("inference_gaps",)
    config.evaluations.batch_size = 100
    config.update_from_flattened_dict(CHANGES.get(preset, {}))
    paper = get_config() if preset == "laptop" else config
    figures = _figure_3(config) if preset == "figure3" else _published(config)
    if preset != "figure3_overfit":  # the paper gives no numbers for Figure 3b
        config.published = with_setting(figures, paper)
    return config.lock()


def sweep(add: Callable[..., None], preset: str = "") -> None:
    """Adds Tables 2, 3, 6 and 10 on both sets of digits, Table 2 on CIFAR-10, and Table 5.

    The preset laptop has the models of Table 2, and those with a factorised Gaussian of the other
    tables. Other presets have their own model with a factorised Gaussian and with the flow.
    """
    if preset == "laptop":
        for posterior in FAMILIES:
            add(**{"posterior.name": posterior})
        for variant in VARIANTS:
            if variant != "standard":
                add(**VARIANTS[variant])
        return
    if preset:
        for posterior in FAMILIES[:2]:
            add(**{"posterior.name": posterior})
        return
    for name in ("mnist", "fashion_mnist"):
        for variant in ("standard", "large_encoder", "no_annealing"):
            for posterior in FAMILIES if variant == "standard" else FAMILIES[:2]:
                add(**{"data.name": name, "posterior.name": posterior, **VARIANTS[variant]})
    for posterior in FAMILIES[:2]:
        add(**{**CIFAR10, "posterior.name": posterior})
    for variant in ("decoder_0", "decoder_4"):
        add(**VARIANTS[variant])


# log p^(x), L[q*_flow], L[q*_ffg], L[q], approximation, amortization, inference.
_COLUMNS = (
    "log_evidence",
    "optimal_auxiliary_flow_bound",
    "optimal_diagonal_bound",
    "lower_bound",
    "approximation_gap",
    "amortization_gap",
    "inference_gap",
)
_TABLES: dict[tuple[str, str, str], tuple[float, ...]] = {
    # Table 2
    ("mnist", "standard", "diagonal"): (-89.80, -90.80, -91.23, -92.57, 1.43, 1.34, 2.77),
    ("mnist", "standard", "auxiliary_flow"): (-88.94, -90.38, -113.54, -91.79, 1.44, 1.41, 2.85),
    ("fashion_mnist", "standard", "diagonal"): (
        *(-97.47, -98.92, -100.53, -104.75),
        *(3.06, 4.22, 7.28),
    ),
    ("fashion_mnist", "standard", "auxiliary_flow"): (
        *(-97.41, -99.10, -132.46, -103.76),
        *(1.69, 4.66, 6.35),
    ),
    ("cifar10", "standard", "diagonal"): (
        *(-14913.15, -14914.22, -14915.40, -14976.57),
        *(2.25, 61.17, 63.42),
    ),
    ("cifar10", "standard", "auxiliary_flow"): (
        *(-14914.45, -14915.57, -14919.08, -14975.12),
        *(1.12, 59.55, 60.67),
    ),
    # Table 3
    ("mnist", "large_encoder", "diagonal"): (-89.61, -90.65, -91.07, -92.18, 1.46, 1.11, 2.56),
    ("mnist", "large_encoder", "auxiliary_flow"): (
        *(-88.99, -90.44, -108.71, -91.19),
        *(1.45, 0.75, 2.20),
    ),
    ("fashion_mnist", "large_encoder", "diagonal"): (
        *(-95.99, -97.40, -99.64, -102.73),
        *(3.65, 3.09, 6.74),
    ),
    ("fashion_mnist", "large_encoder", "auxiliary_flow"): (
        *(-96.18, -97.91, -129.7, -101.67),
        *(1.73, 3.76, 5.49),
    ),
    # Table 6
    ("mnist", "no_annealing", "diagonal"): (-89.82, -90.96, -90.84, -92.33, 1.02, 1.49, 2.51),
    ("mnist", "no_annealing", "auxiliary_flow"): (
        *(-89.52, -90.45, -92.25, -91.75),
        *(0.93, 1.30, 2.23),
    ),
    ("fashion_mnist", "no_annealing", "diagonal"): (
        *(-102.56, -103.73, -103.85, -106.90),
        *(1.29, 3.05, 4.34),
    ),
    ("fashion_mnist", "no_annealing", "auxiliary_flow"): (
        *(-102.88, -104.02, -105.80, -107.01),
        *(1.14, 2.29, 4.13),  # as printed; its bounds give 2.99
    ),
    # Table 10, which prints no gaps
    ("mnist", "standard", "full_covariance"): (-89.28, -90.69, -101.84, -92.05),
    ("fashion_mnist", "standard", "full_covariance"): (-96.46, -98.19, -107.89, -102.93),
}
# Table 5: log p^(x), L[q*_ffg], approximation gap. For two and four hidden layers the paper prints
# the first two in the other order, so that the bound exceeds what it bounds; here they are in the
# order that its approximation gaps imply.
_TABLE_5 = {"decoder_0": (-100.52, -104.42, 3.90), "decoder_4": (-82.19, -83.82, 1.63)}
_MISPRINTS = (
    "For two and four hidden layers it prints log p(x) and L[q*] the other way round, the bound"
    " above what it bounds; here they are exchanged. Table 6 prints 2.29 where its bounds give an"
    " amortization gap of 2.99 (Fashion-MNIST, auxiliary flow)."
)
# Its model with two hidden layers has the settings of Table 2's first model, but other numbers.
_TWO_LAYERS = (-84.78, -86.61, 1.83)


def _published(config: ml_collections.ConfigDict) -> ml_collections.ConfigDict:
    """Returns the tables as rows; the embedded digits are compared with those for MNIST."""
    rows = {}
    beside = {"mnist": ("mnist", "mnist_5k")} if config.data.name == "mnist_5k" else {}
    for (name, variant, posterior), values in _TABLES.items():
        figures = dict(zip(_COLUMNS, values, strict=False))
        for data in beside.get(name, (name,)):
            rows[f"{data}_{variant}_{posterior}"] = _row(data, variant, posterior, figures)
    of_depth = ("log_evidence", "optimal_diagonal_bound", "approximation_gap")
    for variant, values in _TABLE_5.items():
        figures = dict(zip(of_depth, values, strict=True))
        for data in beside.get("mnist", ("mnist",)):
            rows[f"{data}_{variant}_diagonal"] = _row(data, variant, "diagonal", figures)
    figures = zip(of_depth, _TWO_LAYERS, strict=True)
    two_layers = ", ".join(f"{name} {value}" for name, value in figures)
    mnist = {"model": {"latent_size": 50}, "train": {"batch_size": 100, "steps": 3280 * EPOCH}}
    cifar10 = {"model": {"latent_size": 32}, "train": {"batch_size": 100}}
    return ml_collections.ConfigDict(
        {
            "source": "GAPS, Tables 2, 3, 5, 6 and 10, of images that it does not name",
            "num_runs": 1,
            "setting": cifar10 if config.data.name == "cifar10" else mnist,
            "note": f"Table 5 has, for a decoder of two hidden layers, {two_layers}. {_MISPRINTS}",
            "rows": rows,
        }
    )


def _figure_3(config: ml_collections.ConfigDict) -> ml_collections.ConfigDict:
    """Returns the numbers that the text gives for Figure 3a; there are none for Figure 3b."""
    rows = {}
    for posterior, gap in (("diagonal", 3.01), ("auxiliary_flow", 2.71)):
        row = _row(config.data.name, "standard", posterior, {})
        rows[posterior] = {**row, "inference_gap_train": {"end": (gap, None)}}
    source = "GAPS, Figure 3a and Section 6.6 (training images; it does not say after how long)"
    return ml_collections.ConfigDict({"source": source, "num_runs": 1, "rows": rows})


def _row(name: str, variant: str, posterior: str, figures: dict[str, float]) -> dict[str, Any]:
    told_apart = {
        "model.hidden_sizes": (200, 200),
        "model.decoder_sizes": (200, 200),
        "objective.entropy_schedule": "linear",
        **VARIANTS[variant],
    }
    if name == "cifar10":
        told_apart = {"objective.entropy_schedule": "linear"}
    told_apart["data.name"] = name
    told_apart["posterior.name"] = posterior
    told_apart["train.decoder_from"] = ""  # models whose decoder was trained with the encoder
    return {
        "where": nest(told_apart),
        **{f"{measure}_test": {"end": (value, None)} for measure, value in figures.items()},
    }
