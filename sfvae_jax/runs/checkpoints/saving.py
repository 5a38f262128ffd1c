"""Saving checkpoints of the train state with Orbax: asynchronously, and whole or not at all.

Orbax, which takes long to import, is imported at the first save, when the first steps are taken.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax

from sfvae_jax.errors import RunError
from sfvae_jax.paths import shown
from sfvae_jax.runs.checkpoints import proof
from sfvae_jax.runs.checkpoints.folders import DAMAGED, checkpoint_steps, remove_temporary
from sfvae_jax.runs.checkpoints.proof import Layout
from sfvae_jax.runs.checkpoints.restoring import last_step, restored
from sfvae_jax.runtime import processes
from sfvae_jax.training.parallel import of_all_processes
from sfvae_jax.training.state import TrainState

if TYPE_CHECKING:
    import orbax.checkpoint as ocp

log = logging.getLogger("sfvae_jax")

# Seconds. Orbax tells the first error of a save while its other writes are still under way, and
# these would make the temporary folder again after it was removed.
_LATE_WRITES = 0.5


class Checkpoints:
    """The checkpoints of one run, of which the last few are kept. A context manager."""

    def __init__(
        self, folder: Path, num_kept: int, check_owner: Callable[[], None] = lambda: None
    ) -> None:
        """Removes what a killed process left half written.

        Args:
            folder: that of the checkpoints.
            num_kept: number of the latest checkpoints that are kept.
            check_owner: raises a `RunError` if the folder no longer belongs to this run; it is
                called before anything there is changed.

        Raises:
            RunError: if the folder cannot be made or read.
        """
        self._folder, self._num_kept, self._check_owner = folder.absolute(), num_kept, check_owner
        self._manager: ocp.CheckpointManager | None = None
        self._being_written: int | None = None
        self._was_read_back = False
        self._make_folder()
        self._remove_temporary()

    def __enter__(self) -> Checkpoints:
        return self

    def __exit__(self, kind: Any, *unused: Any) -> None:
        """Waits for the last save, except after an error in one of several processes.

        Another process may have died, and its part of the save would never come. Callers that raise
        the same error in all processes call `wait` first.

        Raises:
            RunError: if the save failed; it is only logged if another error is being raised.
        """
        if kind is not None and jax.process_count() > 1:
            return
        try:
            self.wait()
        except RunError as error:
            if kind is None:
                raise
            log.error("%s", error)
        finally:
            self._close()

    @property
    def last_step(self) -> int | None:
        """The step of the last checkpoint on disk, or None; all processes must ask for it."""
        return last_step(self._folder)

    def save(self, state: TrainState) -> None:
        """Starts to write the state under its step; returns before it is on disk.

        The first checkpoint is waited for, read back and compared, so that no time is spent on a
        training that could not be resumed.

        Raises:
            RunError: if this checkpoint or the one before cannot be written, or the first cannot be
                read back; earlier ones are kept.
        """
        import orbax.checkpoint as ocp

        self.wait()
        self._check_owner()
        step, proved = int(state.step), proof.proof(state) if processes.is_main() else None
        manager = self._opened()
        with self._writing(step):
            self._being_written = step
            manager.save(
                step,
                args=ocp.args.StandardSave(of_all_processes(state)),
                custom_metadata=proved,
                force=True,  # Orbax would skip steps that it does not expect
            )
        if not self._was_read_back:
            self.wait()
            with processes.agreed():
                if proved is not None:
                    _check_saved(self._folder / str(step), proof.layout_of(state), proved)
            self._was_read_back = True

    def wait(self) -> None:
        """Waits until the checkpoint that is being written, if any, is on disk.

        Raises:
            RunError: if it cannot be written; earlier ones are kept.
        """
        if self._being_written is not None:
            with self._writing(self._being_written):
                self._opened().wait_until_finished()
            self._being_written = None
            self._check_owner()

    def kept(self) -> str:
        """Says in words from which checkpoint a run that has to stop can resume."""
        steps = checkpoint_steps(self._folder)
        return f"checkpoint {steps[0]} is kept" if steps else "there is no checkpoint"

    def restore(self, like: TrainState) -> TrainState:
        """Returns the newest whole checkpoint, with the structure and placement of `like`.

        Damaged newer ones are logged and set aside, so that their steps can be saved again.

        Raises:
            RunError: if none is whole, or its arrays do not fit the model; nothing is changed then.
        """
        self.wait()
        state, damaged = restored(self._folder, like)
        with processes.agreed():
            for step in damaged if processes.is_main() else ():
                self._set_aside(step)
        if damaged:  # Orbax must forget them
            self._close_manager()
        return state

    def _opened(self) -> ocp.CheckpointManager:
        """Returns the manager of Orbax, which the first save opens."""
        if self._manager is not None:
            return self._manager
        import orbax.checkpoint as ocp

        # Orbax reads the metadata of all checkpoints when it begins, and fails if one is damaged;
        # newer releases have an option that prevents this.
        known = {field.name for field in dataclasses.fields(ocp.CheckpointManagerOptions)}
        careful = {"lightweight_initialize": True} if "lightweight_initialize" in known else {}
        try:
            self._manager = ocp.CheckpointManager(
                self._folder,
                options=ocp.CheckpointManagerOptions(max_to_keep=self._num_kept, **careful),
                item_handlers=ocp.StandardCheckpointHandler(),
            )
        except Exception as error:  # from the file system, or about `careful`
            raise self._cannot_use(error) from error
        return self._manager

    def _make_folder(self) -> None:
        try:
            if processes.is_main():
                self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise self._cannot_use(error) from error

    def _cannot_use(self, error: Exception) -> RunError:
        return RunError(f"cannot use {shown(self._folder)}: {proof.one_line(error)}")

    @contextmanager
    def _writing(self, step: int) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # from the file system, TensorStore or Orbax, in any thread
            self._being_written = None
            self._check_owner()
            time.sleep(_LATE_WRITES)
            self._remove_temporary()
            reason = proof.one_line(error)
            raise RunError(f"cannot write checkpoint {step}: {reason}; {self.kept()}") from error

    def _set_aside(self, step: int) -> None:
        self._check_owner()
        path = self._folder / str(step)
        aside = path.with_name(path.name + DAMAGED)
        try:
            if aside.is_dir() and not aside.is_symlink():
                shutil.rmtree(aside)
            path.rename(aside)
        except OSError as error:
            reason = proof.one_line(error)
            raise RunError(
                f"cannot set aside damaged checkpoint {shown(path)}: {reason}"
            ) from error
        log.warning("damaged checkpoint %d is set aside as %s", step, aside.name)

    def _close(self) -> None:
        try:
            self._close_manager()
        except Exception as error:  # from a failed save, which was reported
            log.debug("error while closing the checkpoints: %s", error)
        with contextlib.suppress(RunError):
            self._check_owner()
            self._remove_temporary()

    def _close_manager(self) -> None:
        if self._manager is not None:
            self._manager.close()
            self._manager = None

    def _remove_temporary(self) -> None:
        """Removes what a killed or failed save has left, because the next one needs the space."""
        if processes.is_main():
            remove_temporary(self._folder)


def _check_saved(folder: Path, layout: Layout, proved: dict[str, Any]) -> None:
    """Reads back a checkpoint that has just been saved, and compares it.

    Raises:
        RunError: if it cannot be read, or is not what was saved.
    """

    def check(found: Layout) -> None:
        if found != layout:
            raise proof.Damaged("its arrays are not those that were saved")

    try:
        arrays, _ = proof.read(folder, check)
        if proof.digests(arrays) != proved["arrays"]:
            raise proof.Damaged("its numbers are not those that were saved")
    except (proof.Damaged, FileNotFoundError) as error:
        raise RunError(
            f"checkpoint {folder.name} was written and cannot be read back:"
            f" {proof.one_line(error)}. Training stops, because it could not be resumed; give a"
            " --workdir in another folder or on another file system"
        ) from error
