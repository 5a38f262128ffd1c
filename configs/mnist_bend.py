"""Posteriors kept where the decoder is straight: SFVAE Figure 2 with a weight on its bend.

On the manifold of digits the sampling-free posterior is wider than the decoder is straight, which
costs it some 11 nats of the lower bound (docs/results/sfvae.md, one seed). Here the model of
configs/mnist_manifold.py (784-512-256-2 and its reverse, ReLU) is trained with the sampling-free
and the linearised objective under several weights of the decoder's bend (objective.bend_weight),
and by sampling. docs/linearised.md derives what the weight means. Each model is measured by

    lower_bound         the unbiased ELBO, and the squared error at the mean and at a sample
    bend, linearized_excess, straight_radius
                        how far the decoder bends within the posterior, what the linearised ELBO
                        exceeds the ELBO by, and where along each latent the decoder is straight;
                        figures/bend.png shows straight radius against posterior width

Presets:
    (none)  the setting of configs/mnist_manifold.py: MNIST, 50,000 steps.
    laptop  4,000 of the embedded digits, smaller layers, 1,500 steps: seconds on 2 CPU cores.
"""

from __future__ import annotations

from collections.abc import Callable

import ml_collections

from sfvae_jax.config import base_config
from sfvae_jax.runs.published import with_setting

PRESETS = ("laptop",)
WEIGHTS = (0.0, 1.0, 10.0)


def get_config(preset: str = "") -> ml_collections.ConfigDict:
    """Returns the setting above, or a preset of it."""
    config = base_config(preset, PRESETS)
    config.data.name = "mnist"
    config.model.latent_size = 2
    config.model.hidden_sizes = (512, 256)
    config.model.output_activation = "sigmoid"
    config.model.initializer = "he_normal"
    config.likelihood.variance = 0.5
    config.objective.name = "sampling_free"
    config.objective.gamma = 0.5
    config.objective.bend_weight = 1.0
    config.train.steps = 50_000
    config.train.batch_size = 64
    config.train.learning_rate = 1e-4
    config.train.steps_per_call = 200
    config.train.log_every = 200
    config.train.checkpoint_every = 5000
    config.evaluations.names = ("kl_divergence", "reconstruction", "lower_bound", "bend")
    config.evaluations.lower_bound.num_samples = 20
    config.published = with_setting(
        {"source": "SFVAE, Figure 2 (no numbers)", "num_runs": 1, "rows": {}}, config
    )
    if preset == "laptop":
        config.data.name = "mnist_5k"
        config.data.num_test = 1000
        config.model.hidden_sizes = (256, 128)
        config.train.steps = 1500
        config.train.learning_rate = 1e-3
        config.train.checkpoint_every = 1500
    return config.lock()


def sweep(add: Callable[..., None]) -> None:
    """Adds both objectives with each weight, and the sampling model, with three seeds."""
    for seed in range(3):
        add(seed=seed, **{"objective.name": "sampling", "objective.bend_weight": 0.0})
        for objective in ("sampling_free", "linearized"):
            for weight in WEIGHTS:
                add(
                    seed=seed,
                    **{"objective.name": objective, "objective.bend_weight": weight},
                )
