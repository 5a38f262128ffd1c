"""The folder of a workdir with the event files of all processes that worked on the run."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import ml_collections

from sfvae_jax.config import base_config
from sfvae_jax.paths import shown
from sfvae_jax.runs.workdir import Workdir
from sfvae_jax.watching.event_file import FINAL, MEASURES, EventFile, grouped, values_of

log = logging.getLogger("sfvae_jax")

_OF_RESULTS = ".results"  # the end of the name of the file that each evaluation writes anew


def folder_of(files: Workdir) -> Path:
    """Returns the folder of a run's event files."""
    return files.folder / "tensorboard"


def go_on(
    config: ml_collections.ConfigDict,
    files: Workdir,
    start: int,
    records: Sequence[Mapping[str, Any]],
) -> EventFile:
    """Returns a new event file in which a run goes on.

    TensorBoard drops what earlier files have of later steps. If there is no earlier file, the new
    one begins with the configuration, and with what the run has recorded and measured so far.

    Args:
        config: the run's resolved configuration.
        files: its workdir.
        start: the step from which it goes on.
        records: those of metrics.jsonl.
    """
    folder = folder_of(files)
    is_new = not any(folder.glob("events.*"))
    events = EventFile(folder)
    if not is_new:
        events.purge(start + 1)
        return events
    events.settings(config, base_config(plugins=config.plugins))
    for record in records:
        if record["step"] <= start:
            events.scalars(record["step"], values_of(record))
    for step, measures in files.read_results().get("history", {}).items():
        if int(step) <= start:
            events.scalars(int(step), grouped(MEASURES, measures))
    return events


def add_results(
    config: ml_collections.ConfigDict,
    files: Workdir,
    last: int,
    entries: Mapping[str, Any],
) -> None:
    """Adds the measures and pictures of an evaluation, in place of those of an earlier one.

    Args:
        config: the resolved configuration.
        files: the run's workdir, with the pictures.
        last: the last step of the run.
        entries: those of results.json.
    """
    folder = folder_of(files)
    try:
        if not any(folder.glob("events.*")):
            go_on(config, files, last, files.read_metrics()).close()
        for path in folder.glob(f"events.*{_OF_RESULTS}"):
            path.unlink()
        events = EventFile(folder, _OF_RESULTS)
        events.scalars(entries["step"], grouped(FINAL, entries["metrics"]))
        for path in sorted(files.figures.glob("*.png")):
            if path.stem != "training":  # its curves are there as numbers
                events.picture(entries["step"], f"{FINAL}/{path.stem}", path.read_bytes())
        events.close()
    except OSError as error:
        log.warning("cannot write %s: %s", shown(folder), error.strerror)
