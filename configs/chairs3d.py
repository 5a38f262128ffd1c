"""Chairs: SFVAE Tables 2 and 5, Figures 3, C.1, C.3 and C.4.

The convolutional Gaussian VAE of Higgins et al. on 64 x 64 x 3 renderings of chairs, trained with
the sampling-free objective and by sampling, together with a beta-VAE and a plain autoencoder.

Presets:
    (none)  the paper's setting on the 3D Chairs of Aubry et al., in the form in which they are
            published: unpack rendered_chairs in the working directory, or give
            --config.data.name=folder:PATH.
    laptop  rendered sprites in one channel, half the widths, 10 latents, 1,500 steps: minutes on
            2 CPU cores, with no download.

What the paper leaves open, and what is chosen here:
    images              on white, the central square, reduced to 64 x 64 by area means.
    batch size          64, as in its timing (Section 4.5).
    output, kernels     sigmoid and He normal, as in configs/mnist_collapse.py, which says why and
                        how to choose others.
    latent sizes        8, 12, 16, 24 and 32; the paper has 8 to 32 in Section 4.2 and 8 to 16 in
                        its appendix.
    test images         5,000 chosen by data.seed, against as many samples of the prior for the
                        Frechet distance; 1,000 of them with 50,000 samples each for the marginal
                        likelihood.
    Frechet distance    as in configs/celeba.py: --config.evaluations.generated.inception_path=FILE
    beta                4 for its beta-VAE (Figures C.3, C.4), as in a public implementation of this
                        network with 16 latents, github.com/1Konny/Beta-VAE.
"""

from __future__ import annotations

from collections.abc import Callable

import ml_collections

from sfvae_jax.config import base_config
from sfvae_jax.experiments import photographs
from sfvae_jax.runs.published import with_setting

PRESETS = ("laptop",)
LATENT_SIZES = (8, 12, 16, 24, 32)


def get_config(preset: str = "") -> ml_collections.ConfigDict:
    """Returns the paper's setting, or a preset of it."""
    config = base_config(preset, PRESETS)
    config.data.name = "folder:rendered_chairs"
    config.data.channels = 3
    config.data.num_test = 5000
    photographs.measure_samples(config)
    config.evaluations.frechet.sources = ("prior",)
    config.published = with_setting(_published(), config)
    if preset == "laptop":
        config.data.channels = 0
        photographs.use_sprites(config, "sprites_gray")
    return config.lock()


def sweep(add: Callable[..., None], preset: str = "") -> None:
    """Adds the runs of Figure C.1 and Table 5, then those of Figures C.3 and C.4.

    The preset laptop has one latent size and one seed.
    """
    if preset == "laptop":
        for objective in ("sampling_free", "sampling", "autoencoder"):
            add(**{"objective.name": objective})
        add(**{"objective.name": "sampling", "objective.beta": 4.0})
        return
    photographs.add_latent_sizes(add, LATENT_SIZES)
    shown = {"model.latent_size": 16}
    add(**{"objective.name": "sampling", "objective.beta": 4.0, **shown})
    add(**{"objective.name": "autoencoder", **shown})


def _published() -> ml_collections.ConfigDict:
    """Returns Table 5, 3D Chairs: mean and standard deviation over 3 runs, 16 latents."""
    step = str(photographs.MATCHED_BUDGET)
    return photographs.table_5(
        {"channels": 3},
        sampling_free={
            "fid_prior": {"end": (51.96, 1.75), step: (54.21, 1.63)},
            "marginal_likelihood": {"end": (-7078.8, 0.1), step: (-7079.6, 0.1)},
        },
        sampling={
            "fid_prior": {"end": (53.53, 1.05)},
            "marginal_likelihood": {"end": (-7078.9, 0.0)},
        },
    )
