"""Deterministic autoencoders beside variational ones: RAE Tables 1 and 2, Figures 1, 3 to 6.

Nine models share convolutional networks with BatchNorm. Each is measured by Frechet distances to
the test images: of its reconstructions, of its interpolations, and of samples from its prior, from
an ex-post Gaussian and from an ex-post mixture of ten. For the samples, precision and recall are
measured as well.

Presets:
    (none)   MNIST padded to 32 x 32, 16 latents, 100 epochs.
    cifar10  CIFAR-10, 128 latents, 100 epochs.
    celeba   CelebA at 64 x 64, kernels of 5 x 5, 64 latents, 70 epochs.
    laptop   3,000 of the embedded digits, an eighth of the widths, 600 steps, and features of a
             classifier of the digits: minutes on 2 CPU cores, with no download. The sweep's rae_gp
             takes one random probe per image (objective.num_probes=1), where the exact penalty
             takes sixteen tangents.
    figure3  Figure 3: VAEs on MNIST, with the Frechet distances of reconstructions and of samples
             of the prior every ten epochs, for several numbers of samples in training and weights
             of the KL divergence.
    laptop_figure3  the same with the digits, networks and features of laptop; all runs together
             take an estimated hour and a half on 2 CPU cores.

What the paper leaves open, and what is chosen here:
    2sVAE               the VAE with a second VAE on its codes (the source second_stage). The first
                        stage of Dai and Wipf has a learned noise variance and differs from the
                        paper's VAE, so its reconstructions have other numbers too.
    beta, lambda        this library's defaults (docs/deterministic.md).
    VAE                 c = 0.5, which gives the squared error and the KL divergence equal weight.
    reconstructions     of validation images, and interpolations between these, as Appendix D says;
                        the caption of Table 1 says test images.
    faces               the central 140 x 140 pixels, reduced to 64 x 64 by area means.
    Inception           --config.evaluations.generated.inception_path=FILE (docs/sample_quality.md)
    BatchNorm           for a model that decodes samples, the moments come from one sample per
                        image, which is drawn separately from the objective's samples.
    plateau             5 epochs without a new lowest validation loss halve the learning rate.
    codes               densities are fitted to one sample per image of a stochastic encoder.
    Figure 3            1, 4 and 16 samples (k in its left half: samples of q(z|x) per step), and
                        beta from 10^-3 to 10^2; the text says that values near 10 are best.
    Figure 6            the training images nearest to samples of the mixture, by squared error.
    CV-VAE              the posterior's variance is posterior.variance = 1.
"""

from __future__ import annotations

from collections.abc import Callable

import ml_collections

from sfvae_jax.config import base_config
from sfvae_jax.runs.published import with_setting

PRESETS = ("cifar10", "celeba", "laptop", "figure3", "laptop_figure3")
OBJECTIVES = (
    "sampling",
    "cv_vae",
    "wae_mmd",
    "rae_gp",
    "rae_l2",
    "rae_sn",
    "rae",
    "autoencoder",
)
LAPTOP_OBJECTIVES = ("sampling", "wae_mmd", "rae_gp", "rae_l2", "rae", "autoencoder")
SOURCES = (
    "reconstructions",
    "prior",
    "gaussian",
    "gmm",
    "second_stage",
    "interpolations",
)
FIGURE_3_SAMPLES = (1, 4, 16)
FIGURE_3_BETAS = (1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0)


def get_config(preset: str = "") -> ml_collections.ConfigDict:
    """Returns the paper's setting on a data set, or a preset of it."""
    config = base_config(preset, PRESETS)
    config.model.name = "conv_bn"
    config.likelihood.variance = 0.5
    config.objective.name = "rae"
    config.train.batch_size = 100
    config.train.learning_rate = 1e-3
    config.train.plateau_patience = 5
    config.train.steps_per_call = 100
    config.train.log_every = 100
    config.evaluations.names = ("reconstruction", "frechet", "precision_recall", "pictures")
    config.evaluations.batch_size = 100
    config.evaluations.frechet.sources = SOURCES
    config.evaluations.precision_recall.sources = ("prior", "gaussian", "gmm")
    sizes = {"cifar10": _cifar10, "celeba": _celeba, "laptop": _laptop, "laptop_figure3": _laptop}
    sizes.get(preset, _mnist)(config)
    if preset.endswith("figure3"):
        _figure3(config)
    config.train.checkpoint_every = 5 * config.train.validate_every
    at_full_size = {"laptop": "", "laptop_figure3": "figure3"}.get(preset, preset)
    paper = config if at_full_size == preset else get_config(at_full_size)
    config.published = with_setting(_published(), paper)
    return config.lock()


def sweep(add: Callable[..., None], preset: str = "") -> None:
    """Adds the models of the tables, or six of them for the preset laptop.

    For the presets of Figure 3, the runs with objective.beta=1.0 make its left half and those with
    objective.num_samples=1 its right half.
    """
    if preset.endswith("figure3"):
        several = [(num_samples, 1.0) for num_samples in FIGURE_3_SAMPLES]
        several += [(1, beta) for beta in FIGURE_3_BETAS if beta != 1.0]
        for num_samples, beta in several:
            add(**{"objective.num_samples": num_samples, "objective.beta": beta})
        return
    for objective in LAPTOP_OBJECTIVES if preset == "laptop" else OBJECTIVES:
        probes = preset == "laptop" and objective == "rae_gp"
        add(**{"objective.name": objective, **({"objective.num_probes": 1} if probes else {})})


def _mnist(config: ml_collections.ConfigDict) -> None:
    config.data.name = "mnist"
    config.data.pad_to = 32
    config.data.num_valid = 10_000
    config.model.latent_size = 16
    config.train.validate_every = 500  # an epoch of 50,000 images
    config.train.steps = 100 * 500


def _cifar10(config: ml_collections.ConfigDict) -> None:
    config.data.name = "cifar10"
    config.data.num_valid = 10_000
    config.model.latent_size = 128
    config.train.validate_every = 400  # an epoch of 40,000 images
    config.train.steps = 100 * 400


def _celeba(config: ml_collections.ConfigDict) -> None:
    config.data.name = "celeb_a"
    config.data.crop = 140
    config.data.image_size = 64
    config.model.latent_size = 64
    config.train.validate_every = 1628  # an epoch of 162,770 images
    config.train.steps = 70 * 1628
    config.train.steps_per_call = 148  # eleven of these calls are an epoch
    config.train.log_every = 148


def _laptop(config: ml_collections.ConfigDict) -> None:
    config.data.name = "mnist_5k"
    config.data.pad_to = 32
    config.data.num_valid = 1000
    config.data.num_test = 1000
    config.model.channels = (16, 32, 64, 128)
    config.model.latent_size = 16
    config.train.validate_every = 30  # an epoch of 3,000 images
    config.train.steps = 600
    config.train.steps_per_call = 30
    config.train.log_every = 30
    config.evaluations.generated.features = "classifier"


def _figure3(config: ml_collections.ConfigDict) -> None:
    config.objective.name = "sampling"
    config.objective.beta = 1.0
    config.evaluations.names = ("frechet",)
    config.evaluations.frechet.sources = ("reconstructions", "prior")
    every = config.train.steps // 10
    config.evaluations.steps = tuple(range(every, config.train.steps + 1, every))


# By data set and model: Frechet distances of reconstructions, of samples of N, of samples of the
# mixture, and of interpolations (Table 1); then precision and recall of samples of N and of the
# mixture (Table 2).
_TABLE_1 = {
    "mnist": {
        "sampling": (18.26, 19.21, 17.66, 18.21),
        "cv_vae": (15.15, 33.79, 17.87, 25.12),
        "wae_mmd": (10.03, 20.42, 9.39, 14.34),
        "second_stage": (20.31, 18.81, None, 18.35),
        "rae_gp": (14.04, 22.21, 11.54, 15.32),
        "rae_l2": (10.53, 22.22, 8.69, 14.54),
        "rae_sn": (15.65, 19.67, 11.74, 15.15),
        "rae": (11.67, 23.92, 9.81, 14.67),
        "autoencoder": (12.95, 58.73, 10.66, 17.12),
    },
    "cifar10": {
        "sampling": (57.94, 106.37, 103.78, 88.62),
        "cv_vae": (37.74, 94.75, 86.64, 69.71),
        "wae_mmd": (35.97, 117.44, 93.53, 76.89),
        "second_stage": (62.54, 109.77, None, 89.06),
        "rae_gp": (32.17, 83.05, 76.33, 64.08),
        "rae_l2": (32.24, 80.80, 74.16, 62.54),
        "rae_sn": (27.61, 84.25, 75.30, 63.62),
        "rae": (29.05, 83.87, 76.28, 63.27),
        "autoencoder": (30.52, 84.74, 76.47, 61.57),
    },
    "celeb_a": {
        "sampling": (39.12, 48.12, 45.52, 44.49),
        "cv_vae": (40.41, 48.87, 49.30, 44.96),
        "wae_mmd": (34.81, 53.67, 42.73, 40.93),
        "second_stage": (42.04, 49.70, None, 47.54),
        "rae_gp": (39.71, 116.30, 45.63, 47.00),
        "rae_l2": (43.52, 51.13, 47.97, 45.98),
        "rae_sn": (36.01, 44.74, 40.95, 39.53),
        "rae": (40.18, 48.20, 44.68, 43.67),
        "autoencoder": (40.79, 127.85, 45.10, 50.94),
    },
}
_TABLE_2 = {
    "mnist": {
        "sampling": ((0.96, 0.92), (0.95, 0.96)),
        "cv_vae": ((0.84, 0.73), (0.96, 0.89)),
        "wae_mmd": ((0.93, 0.88), (0.98, 0.95)),
        "rae_gp": ((0.93, 0.87), (0.97, 0.98)),
        "rae_l2": ((0.92, 0.87), (0.98, 0.98)),
        "rae_sn": ((0.89, 0.95), (0.98, 0.97)),
        "rae": ((0.92, 0.85), (0.98, 0.98)),
        "autoencoder": ((0.90, 0.90), (0.98, 0.97)),
    },
    "cifar10": {
        "sampling": ((0.25, 0.55), (0.37, 0.56)),
        "cv_vae": ((0.31, 0.64), (0.42, 0.68)),
        "wae_mmd": ((0.38, 0.68), (0.51, 0.81)),
        "rae_gp": ((0.36, 0.70), (0.46, 0.77)),
        "rae_l2": ((0.41, 0.77), (0.57, 0.81)),
        "rae_sn": ((0.36, 0.73), (0.52, 0.81)),
        "rae": ((0.45, 0.73), (0.53, 0.80)),
        "autoencoder": ((0.37, 0.73), (0.50, 0.80)),
    },
    "celeb_a": {
        "sampling": ((0.54, 0.66), (0.50, 0.66)),
        "cv_vae": ((0.25, 0.43), (0.32, 0.55)),
        "wae_mmd": ((0.59, 0.68), (0.69, 0.77)),
        "rae_gp": ((0.38, 0.55), (0.44, 0.67)),
        "rae_l2": ((0.36, 0.64), (0.44, 0.65)),
        "rae_sn": ((0.54, 0.68), (0.55, 0.74)),
        "rae": ((0.46, 0.59), (0.52, 0.69)),
        "autoencoder": ((0.45, 0.66), (0.47, 0.71)),
    },
}


_OF_2SVAE = (
    "Samples of its 2sVAE are beside those of the VAE's second stage. The first stage of that model"
    " is another VAE: its reconstructions have {}, its interpolations {} (MNIST, CIFAR-10, CelebA)."
).format(
    *(" / ".join(str(of_data["second_stage"][i]) for of_data in _TABLE_1.values()) for i in (0, 3))
)


def _published() -> ml_collections.ConfigDict:
    """Returns Tables 1 and 2. Measures with the laptop preset's features have no rows there."""
    rows = {
        f"{objective}_{data}": _row(data, objective)
        for data in _TABLE_1
        for objective in OBJECTIVES
    }
    return ml_collections.ConfigDict(
        {
            "source": "RAE, Tables 1 and 2",
            "note": _OF_2SVAE,
            "num_runs": 1,
            "setting": {
                "model": {"name": "conv_bn", "channels": []},
                "train": {"batch_size": 100, "learning_rate": 1e-3},
                "evaluations": {"generated": {"num_samples": 10_000}},
            },
            "rows": rows,
        }
    )


def _row(data: str, objective: str) -> dict:
    """Returns one model on one data set; samples of N come from the prior of training, if any."""
    normal = "prior" if objective in ("sampling", "wae_mmd") else "gaussian"
    reconstructions, samples, mixture, interpolations = _TABLE_1[data][objective]
    values = {
        "fid_reconstructions": reconstructions,
        f"fid_{normal}": samples,
        "fid_gmm": mixture,
        "fid_interpolations": interpolations,
    }
    if objective == "sampling":
        values["fid_second_stage"] = _TABLE_1[data]["second_stage"][1]
    for source, (precision, recall) in zip((normal, "gmm"), _TABLE_2[data][objective], strict=True):
        values |= {f"prd_f1_8_{source}": precision, f"prd_f8_{source}": recall}
    chosen = {"name": objective}
    if objective == "sampling":  # other runs of Figure 3 are not in the table
        chosen |= {"num_samples": 1, "beta": 1.0}
    where = {"data": {"name": data}, "objective": chosen}
    return {"where": where, **{key: {"end": (value, None)} for key, value in values.items()}}
