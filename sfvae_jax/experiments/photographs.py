"""SFVAE's experiments on photographs: the networks of Higgins et al. on faces and chairs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import ml_collections

MATCHED_BUDGET = 650_000  # sampling-free steps in the time of 10^6 sampling steps


def use_networks(config: ml_collections.ConfigDict) -> None:
    """Sets the networks, likelihood and training that all of these experiments have in common."""
    config.data.image_size = 64
    config.model.name = "conv"
    config.model.latent_size = 16
    config.model.output_activation = "sigmoid"
    config.model.initializer = "he_normal"
    config.likelihood.variance = 0.5
    config.train.steps = 1_000_000
    config.train.batch_size = 64
    config.train.learning_rate = 1e-4
    config.train.checkpoint_every = 10_000


def use_small_networks(config: ml_collections.ConfigDict) -> None:
    """Replaces them with a fully connected network on the embedded digits, for a laptop."""
    config.data.name = "mnist_5k"
    config.data.crop = 0
    config.data.image_size = 0
    config.model.name = "mlp"
    config.model.hidden_sizes = (512, 256)
    config.train.learning_rate = 1e-3


def measure_samples(config: ml_collections.ConfigDict) -> None:
    """Sets what Tables 2 and 5 measure of the sampling-free model, and how often."""
    use_networks(config)
    config.objective.name = "sampling_free"
    config.objective.gamma = 0.5
    config.train.steps_per_call = 200
    config.train.log_every = 1000
    config.evaluations.names = (
        "marginal_likelihood",
        "frechet",
        "reconstruction",
        "kl_divergence",
        "pictures",
    )
    config.evaluations.steps = (MATCHED_BUDGET,)
    config.evaluations.batch_size = 50
    config.evaluations.marginal_likelihood.num_samples = 50_000
    config.evaluations.marginal_likelihood.num_images = 1000
    config.evaluations.pictures.num_traversed = 3
    config.evaluations.pictures.num_dimensions = 0  # all of them


def use_sprites(config: ml_collections.ConfigDict, name: str) -> None:
    """Replaces photographs with rendered sprites and halves the networks, for a laptop.

    Args:
        config: changed in place.
        name: "sprites" in colour, or "sprites_gray".
    """
    config.data.name = name
    config.data.num_examples = 4000
    config.data.num_test = 500
    config.model.channels = (16, 16, 32, 32, 64)
    config.model.latent_size = 10
    config.train.steps = 1500
    config.train.learning_rate = 1e-3
    config.train.steps_per_call = 20
    config.train.log_every = 20
    config.train.checkpoint_every = 500
    config.evaluations.steps = ()
    config.evaluations.marginal_likelihood.num_samples = 1000
    config.evaluations.marginal_likelihood.num_images = 50
    config.evaluations.generated.features = "classifier"


def add_latent_sizes(add: Callable[..., None], latent_sizes: Sequence[int]) -> None:
    """Adds the runs of the curves over the latent size: two objectives, three seeds each."""
    for latent_size in latent_sizes:
        for objective in ("sampling_free", "sampling"):
            for seed in range(3):
                add(
                    seed=seed,
                    **{"objective.name": objective, "model.latent_size": latent_size},
                )


def table_5(
    data: Mapping[str, Any],
    *,
    sampling_free: Mapping[str, Any],
    sampling: Mapping[str, Any],
    **others: str,
) -> ml_collections.ConfigDict:
    """The published figures of Table 5 for one data set.

    Args:
        data: the values of the group `data` that a run of these figures has.
        sampling_free: the measures of the sampling-free model, by name and step.
        sampling: those of the sampling model.
        others: further entries, such as a note.
    """
    size = {"latent_size": 16}
    rows = {
        "sampling_free": {
            "where": {"objective": {"name": "sampling_free"}, "model": size, "data": data},
            **sampling_free,
        },
        "sampling": {
            "where": {"objective": {"name": "sampling", "beta": 1.0}, "model": size, "data": data},
            **sampling,
        },
    }
    return ml_collections.ConfigDict(
        {
            "source": "SFVAE, Table 5",
            **others,
            "num_runs": 3,
            "setting": {
                "model": {"name": "conv", "channels": []},
                "train": {"steps": 1_000_000, "learning_rate": 1e-4},
                "evaluations": {
                    "generated": {"num_samples": 10_000},
                    "marginal_likelihood": {"num_samples": 50_000},
                },
            },
            "rows": rows,
        }
    )
