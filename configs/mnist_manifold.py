"""The manifold of digits: SFVAE Figure 2.

A VAE with two latents (784-512-256-2 and its reverse, ReLU) is trained with the sampling-free
objective and by sampling; figures/manifold_wide.png shows what it decodes over [-5, 5] x [-5, 5].

Presets:
    (none)  the paper's setting: MNIST, 50,000 steps at a learning rate of 1e-4.
    laptop  4,000 of the embedded digits, 5,000 steps at 1e-3: a minute on 2 CPU cores.

What the paper leaves open, and what is chosen here:
    batch size          64, as in its convolutional experiments.
    gamma               0.5, its canonical value.
    output, kernels     sigmoid and He normal, as in configs/mnist_collapse.py, which says why and
                        how to choose others.
"""

from __future__ import annotations

from collections.abc import Callable

import ml_collections

from sfvae_jax.config import base_config
from sfvae_jax.runs.published import with_setting

PRESETS = ("laptop",)


def get_config(preset: str = "") -> ml_collections.ConfigDict:
    """Returns the paper's setting, or a preset of it."""
    config = base_config(preset, PRESETS)
    config.data.name = "mnist"
    config.model.latent_size = 2
    config.model.hidden_sizes = (512, 256)
    config.model.output_activation = "sigmoid"
    config.model.initializer = "he_normal"
    config.likelihood.variance = 0.5
    config.objective.name = "sampling_free"
    config.objective.gamma = 0.5
    config.train.steps = 50_000
    config.train.batch_size = 64
    config.train.learning_rate = 1e-4
    config.train.steps_per_call = 200
    config.train.log_every = 200
    config.train.checkpoint_every = 5000
    config.evaluations.names = ("kl_divergence", "reconstruction", "lower_bound", "pictures")
    config.published = with_setting(
        {"source": "SFVAE, Figure 2", "num_runs": 1, "rows": {}}, config
    )
    if preset == "laptop":
        config.data.name = "mnist_5k"
        config.data.num_test = 1000
        config.train.steps = 5000
        config.train.learning_rate = 1e-3
        config.train.checkpoint_every = 2500
    return config.lock()


def sweep(add: Callable[..., None]) -> None:
    """Adds both halves of the figure."""
    for objective in ("sampling_free", "sampling"):
        add(**{"objective.name": objective})
