"""Bias of the sampling-free objective as gamma falls: SFVAE, Section 3.3, Figures 1 and C.2.

One model is trained with the sampling-free objective while gamma steps through 0.95, 0.9, 0.8,
0.67 and 0.5. Throughout training the objective and the unbiased sampling ELBO are measured on
held-out images; figures/bias.png shows both over the steps, with the regions of gamma.

Presets:
    (none)  the paper's setting on CelebA, cropped to 140 x 140 and resized to 64 x 64.
    laptop  1,000 of the embedded digits, a fully connected network, 500 steps.

What the paper leaves open, and what is chosen here:
    when gamma changes  after equal shares of the 10^6 steps; the figure's horizontal axis names the
                        regions by gamma, without steps. There are 25 measurements, including those
                        at the boundaries.
    latent size         16, as in its Tables 1 and 2.
    held-out images     2,000 of the test split; 10 samples per image for the sampling ELBO.
    batch size          64, as in its Section 4.5.
    output, kernels     sigmoid and He normal, as in configs/mnist_collapse.py, which says why and
                        how to choose others.
"""

from __future__ import annotations

from collections.abc import Callable

import ml_collections

from sfvae_jax import objectives
from sfvae_jax.config import base_config
from sfvae_jax.experiments import photographs
from sfvae_jax.runs.published import with_setting

PRESETS = ("laptop",)
POINTS = 25


def get_config(preset: str = "") -> ml_collections.ConfigDict:
    """Returns the paper's setting, or a preset of it."""
    config = base_config(preset, PRESETS)
    config.data.name = "celeb_a"
    config.data.crop = 140
    config.data.num_test = 2000
    photographs.use_networks(config)
    config.objective.name = "sampling_free"
    config.objective.gamma_schedule = "piecewise"
    config.objective.gamma_values = objectives.FIGURE_1_GAMMAS
    config.train.steps_per_call = 500
    config.train.log_every = 500
    config.evaluations.names = ("bias",)
    config.evaluations.bias.num_samples = 10
    config.evaluations.batch_size = 100
    config.published = with_setting(_published(), config)
    if preset == "laptop":
        photographs.use_small_networks(config)
        config.data.num_examples = 1000
        config.data.num_test = 200
        config.train.steps = 500
        config.train.steps_per_call = 20
        config.train.log_every = 10
        config.train.checkpoint_every = 250
    every = config.train.steps // POINTS
    config.evaluations.steps = tuple(range(every, config.train.steps + 1, every))
    return config.lock()


def sweep(add: Callable[..., None]) -> None:
    """Adds the schedule and each of its values as a constant gamma, with three seeds each."""
    for seed in range(3):
        add(seed=seed, **{"objective.gamma_schedule": "piecewise"})
        for gamma in objectives.FIGURE_1_GAMMAS:
            constant = {"objective.gamma_schedule": "constant", "objective.gamma": gamma}
            add(seed=seed, **constant)


def _published() -> ml_collections.ConfigDict:
    """Returns what Section 3.3 reads off Figure 1: the unbiased ELBO after three regions."""
    where = {
        "data": {"name": "celeb_a"},
        "objective": {"name": "sampling_free", "gamma_schedule": "piecewise"},
    }
    reached = {"200000": (-8000.0, None), "800000": (-7500.0, None), "1000000": (-7400.0, None)}
    return ml_collections.ConfigDict(
        {
            "source": "SFVAE, Figure 1",
            "num_runs": 1,
            "setting": {
                "likelihood": {"variance": 0.5},
                "train": {"steps": 1_000_000, "learning_rate": 1e-4},
            },
            "rows": {"sampling_free_celeb_a": {"where": where, "sampling_elbo": reached}},
        }
    )
