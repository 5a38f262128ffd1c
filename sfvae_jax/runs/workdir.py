"""The workdir of a run, with its configuration, metrics, results, checkpoints and figures."""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ml_collections
import numpy as np

from sfvae_jax.errors import RunError, UsageError
from sfvae_jax.paths import local_path, shown
from sfvae_jax.runs import workdir_checks, workdir_lock
from sfvae_jax.runs.checkpoints.folders import DAMAGED, checkpoint_steps
from sfvae_jax.runs.files import figures, metrics_file, results_file
from sfvae_jax.runs.files.config_file import plain
from sfvae_jax.runs.published import with_differences
from sfvae_jax.runtime import processes
from sfvae_jax.runtime.files import (
    NotJson,
    partial,
    read_json,
    read_regular,
    write_bytes,
    write_json,
    write_text,
)
from sfvae_jax.runtime.lock import FolderLock

log = logging.getLogger("sfvae_jax")


class Workdir:
    """Names, reads and writes the files of one run; of its processes only the main one writes."""

    def __init__(self, folder: str | os.PathLike, key: str = "--workdir") -> None:
        """Names the files; nothing is read or written.

        Args:
            folder: as the user wrote it.
            key: the flag or config key that it was given for.

        Raises:
            UsageError: if it is not the path of a local folder.
        """
        self.folder = local_path(folder, key)
        self.name = shown(self.folder)
        self.config = self.folder / "config.json"
        self.metrics = self.folder / "metrics.jsonl"
        self.results = self.folder / "results.json"
        self.provenance = self.folder / "provenance.jsonl"
        self.checkpoints = self.folder / "checkpoints"
        self.figures = self.folder / "figures"
        self._lock: FolderLock | None = None

    def check(
        self,
        config: ml_collections.ConfigDict,
        defaults: ml_collections.ConfigDict | None = None,
    ) -> None:
        """Checks that the folder can be written to and does not belong to another run.

        Args:
            config: that of this run.
            defaults: values of keys that a run of an earlier version may lack.

        Raises:
            UsageError: saying why not; for a run of another configuration, what differs.
        """
        workdir_checks.check_writable(self.folder)
        if self.config.exists():
            workdir_checks.check_config(self.config, config, defaults)
            return
        workdir_checks.check_path(self.folder)
        written = (self.metrics, self.checkpoints, self.results, self.provenance)
        leftovers = [path.name for path in written if path.exists()]
        if leftovers:
            raise UsageError(
                f"workdir {self.name} holds {' and '.join(leftovers)} but no config.json;"
                " give another --workdir"
            )

    def check_checkpoints(self, checkpoint_every: int) -> None:
        """Refuses to restart a run that had checkpoints, none of which is left.

        A run that was killed before its first checkpoint has none either, and restarts. Only the
        main process looks, because the others may see an older state of a shared folder.

        Args:
            checkpoint_every: `train.checkpoint_every`.

        Raises:
            RunError: saying what proves that there were checkpoints.
        """
        if not processes.is_main():
            return
        if checkpoint_steps(self.checkpoints):
            return
        evidence = workdir_checks.evidence_of_checkpoints(
            self.checkpoints, self.read_results(), self.read_metrics(), checkpoint_every
        )
        if evidence:
            raise RunError(
                f"the checkpoints of {self.name} are lost: there is none, but {evidence}. Nothing"
                " has been changed. Restore them, give another --workdir, or delete this one to"
                " start again"
            )

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keeps other runs out of the folder while the context lasts.

        Raises:
            UsageError: if it cannot be written to, another process is at work in it, or the
                processes of this run do not share it.
            RunError: at the end, as `check_owner` does.
        """
        with processes.agreed():
            lock = self._taken() if processes.is_main() else None
        try:
            with processes.agreed():
                workdir_lock.check_shared(self.folder, lock)
            self._lock = lock
            yield
            self.check_owner()
        finally:
            self._lock = None
            if lock is not None:
                workdir_lock.release(lock, self.checkpoints)

    def check_owner(self) -> None:
        """Checks that a locked folder still belongs to this run.

        Raises:
            RunError: if it, or its lock, was deleted, moved or replaced.
        """
        if self._lock is not None:
            self._lock.check()

    @contextmanager
    def claimed(
        self,
        config: ml_collections.ConfigDict,
        defaults: ml_collections.ConfigDict | None = None,
    ) -> Iterator[None]:
        """Does the same as `locked`, and reserves the folder for this configuration for good.

        Raises:
            UsageError: as `locked` and `check` do, because another run may have come first.
            RunError: as `check_checkpoints` does.
        """
        with processes.agreed():
            if processes.is_main():
                self._make()
        with self.locked():
            with processes.agreed():
                if processes.is_main():
                    self.check(config, defaults)
                self.check_checkpoints(config.train.checkpoint_every)
                self.claim(config)
            yield

    def claim(self, config: ml_collections.ConfigDict) -> None:
        """Writes config.json if there is none yet, and removes what a killed process left.

        Raises:
            UsageError: if the folder or that of the checkpoints cannot be written to.
        """
        if not processes.is_main():
            return
        self.check_owner()
        self._make()
        workdir_checks.check_writable(self.folder, self.checkpoints.name)
        try:
            for path in (self.config, self.metrics, self.results, self.provenance):
                partial(path).unlink(missing_ok=True)
            if not self.config.exists():
                write_json(self.config, plain(config))
        except OSError as error:
            raise workdir_checks.not_writable(self.folder, error) from error
        self.set_damage_aside()

    def set_damage_aside(self) -> None:
        """Keeps what can be read of a damaged results.json, and a copy of the whole file.

        Raises:
            RunError: if they cannot be written.
        """
        found, faults = self._results()
        if not faults or not processes.is_main():
            return
        self._keep_damaged(self.results)
        log.warning(
            "%s is damaged: %s; what can be read of it is kept, and the damaged file is copied"
            " to %s",
            shown(self.results),
            "; ".join(faults),
            self.results.name + DAMAGED,
        )
        with self.writing(self.results):
            write_json(self.results, found)

    def read_metrics(self) -> list[metrics_file.Record]:
        """Returns the records of metrics.jsonl; damaged lines are left out."""
        return metrics_file.read(self.metrics)[0]

    def cut_metrics(
        self, step: int, is_recorded: Callable[[np.ndarray], np.ndarray] | None = None
    ) -> None:
        """Drops the records after a step, which a resumed run writes again; warns of lost ones.

        Args:
            step: step of the checkpoint from which the run resumes; 0 for none.
            is_recorded: whether there should be records of these steps; None if it is not known.

        Raises:
            RunError: if the file cannot be written; it stays as it was.
        """
        if not processes.is_main():
            return
        records, num_damaged = metrics_file.read(self.metrics)
        if step == 0 and records:
            log.warning("there is no checkpoint yet; all steps in metrics.jsonl are repeated")
        kept = [record for record in records if record["step"] <= step]
        if num_damaged:
            self._keep_damaged(self.metrics)
            log.warning(
                "%s has %d damaged lines, which are left out; the damaged file is copied to %s",
                shown(self.metrics),
                num_damaged,
                self.metrics.name + DAMAGED,
            )
        if is_recorded is not None:
            self._tell_lost(step, *metrics_file.lacking(kept, step, is_recorded))
        with self.writing(self.metrics):
            metrics_file.write(self.metrics, kept)

    def append_metrics(self, records: Iterable[metrics_file.Record]) -> None:
        """Adds one line for each record; they replace a last line that was cut short.

        Raises:
            RunError: if they cannot be written.
        """
        if processes.is_main():
            with self.writing(self.metrics):
                metrics_file.append(self.metrics, records)

    def sync_metrics(self) -> None:
        """Makes what was appended survive a failure of the machine, before its steps are saved.

        Raises:
            RunError: if the file cannot be written.
        """
        if processes.is_main():
            with self.writing(self.metrics):
                metrics_file.sync(self.metrics)

    def write_provenance(self, text: str) -> None:
        """Replaces provenance.jsonl, whole or not at all.

        Raises:
            RunError: if it cannot be written; it stays as it was.
        """
        with self.writing(self.provenance):
            write_text(self.provenance, text)

    def read_results(self) -> results_file.Results:
        """Returns what can be read of results.json; an empty dictionary if there is none."""
        return self._results()[0]

    def write_results(
        self,
        config: ml_collections.ConfigDict,
        evaluations: Mapping[str, Any] | None = None,
        **entries: Any,
    ) -> None:
        """Replaces the named entries of results.json and keeps the others.

        The entry "config" says with what settings the entry "metrics" was measured; it is kept as
        long as "metrics" is.

        Args:
            config: that of the run.
            evaluations: the group with which "metrics" was measured, if it is not the config's.
            entries: the new entries.

        Raises:
            RunError: if it cannot be written; it stays as it was.
        """
        if not processes.is_main():
            return
        found = self.read_results()
        settings = plain(config)
        if evaluations is not None:
            settings["evaluations"] = dict(evaluations)
        if "metrics" in found and "metrics" not in entries:
            settings = found.get("config", settings)
        published = with_differences(config)
        content = {**found, "config": settings, "published": published, **entries}
        with self.writing(self.results):
            write_json(self.results, content)

    def cut_results(self, step: int) -> None:
        """Drops what was measured after a step, which a resumed run measures again.

        Figures of a later step are set aside.

        Raises:
            RunError: if results.json cannot be written; it stays as it was.
        """
        if not processes.is_main():
            return
        found = self.read_results()
        kept = results_file.up_to(step, found)
        if kept == found:
            return
        if "step" in found and "step" not in kept:
            self.set_figures_aside()
        with self.writing(self.results):
            write_json(self.results, kept)

    def set_figures_aside(self) -> None:
        """Moves the figures into a folder beside them, named by their step.

        Raises:
            RunError: if they cannot be moved.
        """
        if not processes.is_main():
            return
        with self.writing(self.figures):
            aside = figures.set_aside(self.figures, self.read_results().get("step"))
        if aside is not None:
            log.info("the earlier figures are now in %s", shown(aside))

    @contextmanager
    def drawing(self, step: int | None = None) -> Iterator[Path]:
        """Yields a folder to draw into, whose files become figures of the run, or of a step of it.

        Raises:
            RunError: as `check_owner` does, or if they cannot be written.
        """
        with tempfile.TemporaryDirectory() as folder:
            try:
                yield Path(folder)
            finally:
                for path in sorted(Path(folder).iterdir()):
                    with self.writing(self.figures / path.name):
                        figures.publish(path, self.figures, step)

    @contextmanager
    def writing(self, path: Path) -> Iterator[None]:
        """Wraps writing to a file of the folder, which must still belong to this run."""
        self.check_owner()
        try:
            yield
        except OSError as error:  # a full disk, a folder in the place of the file
            raise RunError(f"cannot write {shown(path)}: {error.strerror}") from error

    def _make(self) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise workdir_checks.not_writable(self.folder, error) from error

    def _taken(self) -> FolderLock:
        try:
            return FolderLock(self.folder)
        except OSError as error:
            raise workdir_checks.not_writable(self.folder, error) from error

    def _results(self) -> tuple[results_file.Results, list[str]]:
        """Returns what can be read of results.json, and what is wrong with the rest."""
        if not self.results.exists():
            return {}, []
        try:
            return results_file.readable(read_json(self.results))
        except NotJson as error:
            return {}, [str(error)]

    def _keep_damaged(self, path: Path) -> None:
        aside = path.with_name(path.name + DAMAGED)
        with self.writing(aside):
            write_bytes(aside, read_regular(path))

    def _tell_lost(self, step: int, number: int, first: int) -> None:
        if number:
            log.warning(
                "%s lacks %d records up to step %d, the first at step %d: the file was lost or"
                " damaged. Curves will lack these steps, because they are not repeated",
                shown(self.metrics),
                number,
                step,
                first,
            )
