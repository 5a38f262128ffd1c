"""Evaluation of a run's last checkpoint: measures into results.json, pictures into figures/.

Of a run that may stop early it is the model of the best validation that is measured.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

import flax.linen as nn
import ml_collections

from sfvae_jax import data, evaluation, final_measures, models
from sfvae_jax.config import base_config, resolve
from sfvae_jax.errors import UsageError
from sfvae_jax.paths import shown
from sfvae_jax.runs.checkpoints.proof import proof
from sfvae_jax.runs.checkpoints.restoring import last_step, read_state
from sfvae_jax.runs.data_fingerprint import changes, with_fingerprint
from sfvae_jax.runs.files.provenance import Provenance
from sfvae_jax.runs.process_agreement import require_same
from sfvae_jax.runs.workdir import Workdir
from sfvae_jax.runtime import processes
from sfvae_jax.runtime.devices import SMALLER_DATA, memory_for
from sfvae_jax.trained import measure, trained_model
from sfvae_jax.training.early_stopping import best_of, has_stopped, with_best
from sfvae_jax.training.state import TrainState, create_state, make_optimizer

log = logging.getLogger("sfvae_jax")


@memory_for("evaluations", "make evaluations.batch_size smaller")
def evaluate(
    config: ml_collections.ConfigDict,
    workdir: str | os.PathLike,
    *,
    began: float | None = None,
) -> dict[str, float | None]:
    """Runs the config's evaluations on the last checkpoint, and draws the run's pictures.

    Args:
        config: the one that the run was trained with.
        workdir: its folder.
        began: when the command began that does nothing else, on the clock of `time.monotonic`;
            None: now. The run's provenance tells the time since then.

    Returns:
        The measures, as they stand in results.json under "metrics".

    Raises:
        UsageError: if the workdir holds no checkpoint of this config.
    """
    # ---- the run ----
    provenance = Provenance(began)
    with processes.agreed(), memory_for("the data set", SMALLER_DATA):
        config = resolve(config)
        splits = data.Splits(config.data)
        config = with_fingerprint(config, splits)
        files = Workdir(workdir)
        if not files.config.exists():
            raise UsageError(f"workdir {files.name} holds no run; train first (--mode=train)")
        files.check(config, base_config())
        files.check_checkpoints(config)
        changed = changes(config, splits, files)
    require_same(config, "evaluate")

    with files.locked(), provenance:
        with processes.agreed():
            files.set_damage_aside()

        # ---- model and images ----
        with processes.agreed(), memory_for("the data set", SMALLER_DATA):
            images = splits.examples(config.evaluations.part)
        model, last = restore(config, files, images.shape[1:])
        state = best_of(last)
        if state is not last:
            told = "measured is step %d, the best on the valid split up to step %d"
            log.info(told, int(state.step), int(last.step))
        provenance.begin(files, "evaluate", int(last.step))
        trained = trained_model(config, model, state, images, splits=splits)

        # ---- measures, then pictures; every process measures, so that none waits for long ----
        entries = measure(trained)
        _add_caveat(entries, changed)
        entries |= {"step": int(state.step), "checkpoint": proof(state)["digest"]}
        entries |= _end(last, config)
        _log_measures(entries)
        with processes.agreed():
            if processes.is_main():
                entries = _write(config, files, entries, int(last.step))
        with processes.agreed():
            if processes.is_main():
                draw(config, files, trained)
    log.info("results: %s; pictures: %s", shown(files.results), shown(files.figures))
    return entries["metrics"]


def _add_caveat(entries: dict[str, Any], changed: str) -> None:
    """Says of every measure that it is not one of the data that the run was trained on."""
    if not changed:
        return
    caveats = entries["caveats"]
    for name, value in entries["metrics"].items():
        if value is not None:
            text = f"measured on other data than the run was trained on: {changed}"
            caveats[name] = "; ".join(filter(None, [text, caveats.get(name)]))


def _end(state: TrainState, config: ml_collections.ConfigDict) -> dict[str, int]:
    """Where a run that may stop early has ended: the step that is measured does not tell."""
    step = int(state.step)
    ended = has_stopped(state, config.train) or step == config.train.steps
    return {"ended_at": step} if ended and config.train.stop_patience else {}


def _write(
    config: ml_collections.ConfigDict, files: Workdir, entries: dict[str, Any], last: int
) -> dict[str, Any]:
    """Adds measures to those of the same checkpoint; those of another, and its figures, give way.

    What was measured on the way stays up to the step of the last checkpoint.

    Returns:
        The entries that results.json has then.
    """
    files.cut_results(last)
    found = files.read_results()
    if final_measures.standing(found, config, entries["step"], entries["checkpoint"]) is None:
        if "metrics" in found:
            log.info("the measures of another checkpoint, or of other data, are replaced")
        files.set_figures_aside()
    entries = final_measures.added_up(found, config, entries)
    files.write_results(config, **entries)
    return entries


def _log_measures(entries: dict[str, Any]) -> None:
    """A line a measure, and the doubtful ones with what is doubtful about them."""
    for name, value in entries["metrics"].items():
        reason = entries["not_applicable"].get(name)
        doubt = " (doubtful, see below)" if name in entries["caveats"] else ""
        text = f", {entries['texts'][name]}" if name in entries["texts"] else ""
        result = f"does not apply: {reason}" if reason else f"{value:.4g}{text}{doubt}"
        log.info("%s: %s", name, result)
    for caveat in dict.fromkeys(entries["caveats"].values()):
        names = [name for name, other in entries["caveats"].items() if other == caveat]
        log.warning("%s: %s", ", ".join(names), caveat)


def restore(
    config: ml_collections.ConfigDict, files: Workdir, data_shape: tuple
) -> tuple[nn.Module, TrainState]:
    """The model of a run, and the state of its last checkpoint.

    Args:
        config: resolved.
        files: of the run.
        data_shape: of one example.

    Raises:
        UsageError: if there is no checkpoint yet.
    """
    model = models.build(config, data_shape)
    fresh = create_state(config, model, make_optimizer(config.train), data_shape)
    fresh = with_best(fresh, config.train)
    if last_step(files.checkpoints) is None:
        raise UsageError(f"workdir {files.name} holds no checkpoint yet; train first")
    return model, read_state(files.checkpoints, fresh)


def draw(
    config: ml_collections.ConfigDict, files: Workdir, trained: evaluation.TrainedModel
) -> None:
    """Training curves, and what applies of: KL by latent dimension, images, the latent plane.

    Raises:
        RunError: if they cannot be written, or the workdir is no longer this run's.
    """
    from sfvae_jax.evaluation import figures

    title = f"{config.objective.name} on {config.data.name}"
    results = files.read_results()
    records = [record for record in files.read_metrics() if record.keys() & figures.PANELS.keys()]
    with files.drawing() as folder:
        if records:
            figures.draw_training(records, title, folder / "training.png")
        else:
            log.warning("%s holds no records: there is no training.png", shown(files.metrics))
    with files.drawing() as folder:
        _draw_latent_kl(trained, title, folder / "latent_kl.png")
    for name in config.evaluations.names:
        with files.drawing() as folder:
            evaluation.draw(trained, name, results, title, folder)
    if trained.language is None:
        with files.drawing() as folder:
            _draw_images(config, trained, title, folder)


def _draw_images(
    config: ml_collections.ConfigDict, trained: evaluation.TrainedModel, title: str, folder: Path
) -> None:
    from sfvae_jax.evaluation import figures
    from sfvae_jax.evaluation.pictures import latent_codes

    scale = trained.data_scale
    num_pictured = min(config.evaluations.num_pictured, len(trained.images))
    originals = data.to_unit_interval(trained.images[:num_pictured])
    rebuilt = evaluation.reconstructions(trained, num_pictured)
    figures.draw_images(
        {"image": originals} | {key: row / scale for key, row in rebuilt.items()},
        f"{title}: reconstructions",
        folder / "reconstructions.png",
    )
    if trained.prior_stddev is not None:
        rows = evaluation.prior_samples(trained, config.model.latent_size, (5, num_pictured))
        figures.draw_images(
            {f"row {i + 1}": row / scale for i, row in enumerate(rows)},
            f"{title}: means of p(x|z) for z from the prior",
            folder / "samples.png",
        )
    if config.model.latent_size == 2:
        labels = trained.labels_of(config.evaluations.part)
        encoded = evaluation.encoded(trained)
        latent_codes.draw_latent_plane(encoded, labels, title, folder / "latent_plane.png")
        latent_codes.draw_varied(trained, encoded, labels, title, folder)
        figures.draw_manifold(
            evaluation.manifold(trained) / scale, f"{title}: manifold", folder / "manifold.png"
        )


def _draw_latent_kl(trained: evaluation.TrainedModel, title: str, path: Path) -> None:
    from sfvae_jax.evaluation import figures

    try:
        kl = evaluation.kl_matrix(trained)
    except evaluation.NotApplicable:
        return
    epsilon, delta = trained.config.collapse.epsilon, trained.config.collapse.delta
    figures.draw_latent_kl(
        kl,
        epsilon=epsilon,
        delta=delta,
        fraction=evaluation.collapse_fraction(kl, epsilon=epsilon, delta=delta),
        title=title,
        path=path,
    )
