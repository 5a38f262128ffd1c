"""Evaluation of a run's last checkpoint: measures into results.json, pictures into figures/."""

from __future__ import annotations

import logging
import os

import ml_collections

from sfvae_jax import config as configuration
from sfvae_jax import data, evaluation, models
from sfvae_jax.errors import UsageError
from sfvae_jax.training.checkpoints import Checkpoints
from sfvae_jax.training.state import TrainState, create_state, make_keys, make_optimizer
from sfvae_jax.training.workdir import Workdir

log = logging.getLogger("sfvae_jax")


def evaluate(config: ml_collections.ConfigDict, workdir: str | os.PathLike) -> dict[str, float]:
    """Runs the config's evaluations on the last checkpoint, and draws the run's pictures.

    Args:
        config: the one that the run was trained with.
        workdir: its folder.

    Returns:
        The measures, as they stand in results.json under "metrics".

    Raises:
        UsageError: if the workdir holds no checkpoint of this config.
    """
    # ---- the run ----
    configuration.validate(config)
    files = Workdir(workdir)
    if not files.config.exists():
        raise UsageError(f"workdir {files.folder} holds no run; train first (--mode=train)")
    files.check(config)

    # ---- model and images ----
    images = data.load(config.data, config.evaluations.part)
    model = models.build(config.model, images.shape[1:])
    state = restore(config, files, images.shape[1:])
    trained = evaluation.TrainedModel(
        model, state.params, images, make_keys(config.seed).evaluation, config.evaluations
    )

    # ---- measures, then pictures ----
    metrics = evaluation.measure(trained)
    files.write_results(config, step=int(state.step), metrics=metrics)
    for name, value in metrics.items():
        log.info("%s: %.4g", name, value)
    draw(config, files, trained)
    log.info("results: %s; pictures: %s", files.results, files.figures)
    return metrics


def restore(config: ml_collections.ConfigDict, files: Workdir, data_shape: tuple) -> TrainState:
    """The state of a run's last checkpoint."""
    model = models.build(config.model, data_shape)
    optimizer = make_optimizer(config.train)
    fresh = create_state(make_keys(config.seed).initialisation, model, optimizer, data_shape)
    nothing = UsageError(f"workdir {files.folder} holds no checkpoint yet; train first")
    if not files.checkpoints.exists():
        raise nothing
    with Checkpoints(files.checkpoints, config.train.checkpoints_kept) as checkpoints:
        if checkpoints.last_step is None:
            raise nothing
        return checkpoints.restore(fresh)


def draw(
    config: ml_collections.ConfigDict, files: Workdir, trained: evaluation.TrainedModel
) -> None:
    """Training curves, the KL divergence of every latent dimension, reconstructions."""
    from sfvae_jax.evaluation import pictures

    title = f"{config.objective.name} on {config.data.name}"
    pictures.draw_training(files.read_metrics(), title, files.figures / "training.png")
    kl = evaluation.kl_matrix(trained)
    epsilon, delta = config.evaluations.collapse.epsilon, config.evaluations.collapse.delta
    pictures.draw_latent_kl(
        kl,
        epsilon=epsilon,
        delta=delta,
        fraction=evaluation.collapse_fraction(kl, epsilon=epsilon, delta=delta),
        title=title,
        path=files.figures / "latent_kl.png",
    )
    num_pictured = min(config.evaluations.num_pictured, len(trained.images))
    at_mean, at_sample = evaluation.reconstructions(trained, num_pictured)
    originals = data.to_unit_interval(trained.images[:num_pictured])
    pictures.draw_reconstructions(
        {"image": originals, "at mean": at_mean, "at sample": at_sample},
        f"{title}: reconstructions",
        files.figures / "reconstructions.png",
    )
