"""Faces: SFVAE Tables 2 and 5, Figures 3, 4, C.5 to C.8; BACK Figures 7, 16 and 17.

The convolutional Gaussian VAE of Higgins et al. on 64 x 64 faces. It is trained with the
sampling-free objective and by sampling, with 12 to 64 latents, and with BILBO for two constant
posterior variances, where samples come from the prior that floats with the codes.

Presets:
    (none)  the paper's setting on TFDS's celeb_a; --config.data.name=folder:PATH reads images that
            you have downloaded yourself.
    laptop  rendered sprites, half the widths, 10 latents, 1,500 steps: minutes on 2 CPU cores, with
            no download.

What the papers leave open, and what is chosen here:
    crop                the central 140 x 140 pixels, reduced to 64 x 64 by area means.
    batch size          64, as in SFVAE's timing (its Section 4.5).
    output, kernels     sigmoid and He normal, as in configs/mnist_collapse.py, which says why and
                        how to choose others.
    latent sizes        12, 16, 24, 32, 48 and 64 for Figure 4, which does not give them; 16 for
                        Table 2.
    test images         TFDS's test split; 1,000 of them, chosen by data.seed, with 50,000 samples
                        each for the marginal likelihood.
    Frechet distance    10,000 samples of the prior against as many test images, with the FID's
                        Inception network: --config.evaluations.generated.inception_path=FILE
                        (docs/sample_quality.md). Sprites are compared in the features of a
                        classifier of their shapes, which is another measure with another name.
    beta                10 for the beta-VAE in the pictures, as in a public implementation of this
                        network with 32 latents, github.com/1Konny/Beta-VAE; 4 for sprites.
    BACK's setting      it uses another network (Barron's, with an RGB pixel model) for 10,000
                        iterations; here its objective and variances are run on SFVAE's network.
"""

from __future__ import annotations

from collections.abc import Callable

import ml_collections

from sfvae_jax.config import base_config
from sfvae_jax.experiments import photographs
from sfvae_jax.runs.published import with_setting

PRESETS = ("laptop",)
LATENT_SIZES = (12, 16, 24, 32, 48, 64)
BILBO_VARIANCES = (1.0, 0.01)  # BACK Figure 17


def get_config(preset: str = "") -> ml_collections.ConfigDict:
    """Returns the paper's setting, or a preset of it."""
    config = base_config(preset, PRESETS)
    config.data.name = "celeb_a"
    config.data.crop = 140
    photographs.measure_samples(config)
    config.evaluations.frechet.sources = ("prior", "optimal_prior")
    config.published = with_setting(_published(), config)
    if preset == "laptop":
        config.data.crop = 0
        photographs.use_sprites(config, "sprites")
    return config.lock()


def sweep(add: Callable[..., None], preset: str = "") -> None:
    """Adds the runs of SFVAE's Figure 4, Table 5 and Figures C.5 to C.8, and BACK's Figure 17.

    The preset laptop has one latent size and one seed.
    """
    if preset == "laptop":
        for objective in ("sampling_free", "sampling", "autoencoder"):
            add(**{"objective.name": objective})
        add(**{"objective.name": "sampling", "objective.beta": 4.0})
        for variance in BILBO_VARIANCES:
            add(**{"objective.name": "bilbo", "posterior.variance": variance})
        return
    photographs.add_latent_sizes(add, LATENT_SIZES)
    shown = {"model.latent_size": 32}
    add(**{"objective.name": "sampling", "objective.beta": 10.0, **shown})
    add(**{"objective.name": "autoencoder", **shown})
    short = {"train.steps": 10_000, "evaluations.steps": ()}
    add(**{"objective.name": "sampling", **short})
    for variance in BILBO_VARIANCES:
        add(**{"objective.name": "bilbo", "posterior.variance": variance, **short})


def _published() -> ml_collections.ConfigDict:
    """Returns Table 5, CelebA: mean and standard deviation over 3 runs, 16 latents."""
    step = str(photographs.MATCHED_BUDGET)
    return photographs.table_5(
        {"crop": 140},
        sampling_free={
            "fid_prior": {"end": (95.79, 0.33), step: (98.00, 1.79)},
            "marginal_likelihood": {"end": (-7244.9, 0.6), step: (-7247.1, 0.4)},
        },
        sampling={
            "fid_prior": {"end": (99.66, 0.65)},
            "marginal_likelihood": {"end": (-7245.3, 0.1)},
        },
        note="By its Section 4.5 the 10^6 steps with 16 latents take 14.5 hours for the"
        " sampling-free objective and 9.7 for sampling on a Quadro RTX 6000, 52 and 35 ms a step.",
    )
