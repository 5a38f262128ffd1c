"""Checkpoints of the train state, by Orbax: asynchronous, and whole or not there at all.

A checkpoint that was damaged after it was saved is never taken: the newest whole one is.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from flax.traverse_util import unflatten_dict

from sfvae_jax.errors import RunError
from sfvae_jax.training import processes, stored
from sfvae_jax.training.parallel import of_all_processes
from sfvae_jax.training.state import TrainState
from sfvae_jax.training.workdir import DAMAGED, checkpoint_steps

Shapes = dict[str, list[int]]

log = logging.getLogger("sfvae_jax")


class Checkpoints:
    """The checkpoints of one run; the last few are kept. A context manager."""

    def __init__(self, folder: Path, num_kept: int) -> None:
        """Removes what a killed process left half written.

        Raises:
            RunError: if the folder cannot be made or read.
        """
        options = ocp.CheckpointManagerOptions(max_to_keep=num_kept, create=True)
        self._folder = folder.absolute()
        self._being_written: int | None = None
        _remove_temporary(self._folder)
        try:
            self._manager = ocp.CheckpointManager(
                self._folder, options=options, item_handlers=ocp.StandardCheckpointHandler()
            )
        except OSError as error:
            raise RunError(f"cannot use {folder}: {stored.one_line(error)}") from error

    def __enter__(self) -> Checkpoints:
        return self

    def __exit__(self, kind: Any, *unused: Any) -> None:
        """Waits for the last save; not after an error among several processes.

        Another one may have died, and its part of the save would be waited for in vain: before an
        error that all of them meet, `wait` is theirs to call.

        Raises:
            RunError: if it failed, unless another error is on its way; the log tells it then.
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
        """The step of the last checkpoint on disk, or None; all processes have to ask."""
        return last_step(self._folder)

    def save(self, state: TrainState) -> None:
        """Starts to write the state under its step; returns before it is on disk.

        Raises:
            RunError: if it, or the one before it, cannot be written; earlier ones are kept.
        """
        self.wait()
        step = int(state.step)
        with self._writing(step):
            self._being_written = step
            self._manager.save(
                step,
                args=ocp.args.StandardSave(of_all_processes(state)),
                custom_metadata=stored.proof(state) if processes.is_main() else None,
                force=True,  # Orbax would skip what it thinks is not due
            )

    def wait(self) -> None:
        """Returns when the checkpoint that is being written, if any, is on disk.

        Raises:
            RunError: if it cannot be written; earlier ones are kept.
        """
        if self._being_written is not None:
            with self._writing(self._being_written):
                self._manager.wait_until_finished()
            self._being_written = None

    def kept(self) -> str:
        """In words, from which checkpoint a run that has to stop may go on."""
        steps = checkpoint_steps(self._folder)
        return f"checkpoint {steps[0]} is kept" if steps else "there is no checkpoint"

    def restore(self, like: TrainState) -> TrainState:
        """The newest whole checkpoint, with the structure and placement of `like`.

        Damaged newer ones are told in the log and set aside, so that their steps can be saved
        again.

        Raises:
            RunError: if none is whole, or it is of other shapes than this model's; nothing is
                changed then.
        """
        self.wait()
        state, damaged = _restore(self._folder, like)
        with processes.agreed():
            for step in damaged if processes.is_main() else ():
                self._set_aside(step)
        self._manager.reload()
        return state

    @contextmanager
    def _writing(self, step: int) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # of the file system, TensorStore or Orbax, from any thread
            self._being_written = None
            _remove_temporary(self._folder)
            reason = stored.one_line(error)
            raise RunError(f"cannot write checkpoint {step}: {reason}; {self.kept()}") from error

    def _set_aside(self, step: int) -> None:
        path = self._folder / str(step)
        aside = path.with_name(path.name + DAMAGED)
        try:
            if aside.is_dir() and not aside.is_symlink():
                shutil.rmtree(aside)
            path.rename(aside)
        except OSError as error:
            reason = stored.one_line(error)
            raise RunError(f"cannot set aside damaged checkpoint {path}: {reason}") from error
        log.warning("damaged checkpoint %d is set aside as %s", step, aside.name)

    def _close(self) -> None:
        try:
            self._manager.close()
        except Exception as error:  # of a failed save, which has been told
            log.debug("closing the checkpoints: %s", error)
        _remove_temporary(self._folder)


def last_step(folder: Path) -> int | None:
    """The step of the last checkpoint in a folder, or None; nothing is changed there.

    That which the main process sees; all have to ask.
    """
    return next(iter(processes.of_main(checkpoint_steps(folder))), None)


def read_state(folder: Path, like: TrainState) -> TrainState:
    """The newest whole checkpoint of a folder, as `Checkpoints.restore`; nothing is changed there.

    Raises:
        RunError: if none is whole, or it is of other shapes than this model's.
    """
    return _restore(folder, like)[0]


def read_params(folder: Path) -> Any:
    """The parameters in the newest whole checkpoint, NumPy arrays, of any architecture.

    Nothing is changed there.

    Raises:
        RunError: if none is whole.
    """
    _, arrays, _ = _newest_whole(folder)
    return unflatten_dict(arrays, sep=".")["params"]


def leaf_shapes(tree: Any) -> Shapes:
    """The shape of each array of a tree, by the name under which Orbax keeps it."""
    return {name: list(leaf.shape) for name, leaf in stored.by_name(tree).items()}


def _restore(folder: Path, like: TrainState) -> tuple[TrainState, list[int]]:
    """The newest whole checkpoint in the place of `like`, and the steps of damaged newer ones."""
    step, arrays, damaged = _newest_whole(folder)
    there = {name: list(array.shape) for name, array in arrays.items()}
    _check_architecture(step, there, leaf_shapes(like))

    def place(path: Any, leaf: jax.Array) -> jax.Array:
        array = np.asarray(arrays[stored.leaf_name(path)], leaf.dtype)
        return jax.device_put(array, leaf.sharding)

    return jax.tree.map_with_path(place, like), damaged


def _newest_whole(folder: Path) -> tuple[int, dict[str, np.ndarray], list[int]]:
    """Step and named arrays of the newest whole checkpoint, and the steps of damaged newer ones.

    The main process reads for all: what another one sees of a shared folder may be of before.
    """
    step, arrays, damaged = 0, {}, []
    with processes.agreed():
        if processes.is_main():
            step, arrays, damaged = _read_newest_whole(folder)
    step, *damaged = processes.of_main([step, *damaged])
    return step, processes.arrays_of_main(arrays), damaged


def _read_newest_whole(folder: Path) -> tuple[int, dict[str, np.ndarray], list[int]]:
    damaged: dict[int, str] = {}
    for step in checkpoint_steps(folder):
        try:
            arrays, proved = stored.read(folder / str(step))
        except (stored.Damaged, FileNotFoundError) as error:
            damaged[step] = stored.one_line(error)
            continue
        _tell(damaged, step)
        if not proved:
            log.warning("checkpoint %d is of an earlier version: nothing proves it whole", step)
        return step, arrays, list(damaged)
    what = "; ".join(f"checkpoint {step}: {damage}" for step, damage in damaged.items())
    raise RunError(
        f"{folder} holds no whole checkpoint ({what or 'it is empty'}); nothing has been changed."
        " Give another --workdir, or delete this one to start anew"
    )


def _tell(damaged: dict[int, str], step: int) -> None:
    for other, damage in damaged.items():
        log.warning("checkpoint %d is damaged: %s; using checkpoint %d", other, damage, step)


def _check_architecture(step: int, there: Shapes, here: Shapes) -> None:
    names = sorted(there.keys() | here.keys())
    for name in sorted(names, key=lambda name: not name.startswith("params")):
        found, wanted = (shapes.get(name, "missing") for shapes in (there, here))
        if found != wanted:
            raise RunError(
                f"checkpoint {step} is of another architecture: {name} is {found} there and"
                f" {wanted} in this configuration; use the one that it was trained with"
            )


def _remove_temporary(folder: Path) -> None:
    """Removes what a save that was killed, or failed, has left: the next one needs the room."""
    if processes.is_main():
        for path in folder.glob(f"*{ocp.utils.TMP_DIR_SUFFIX}*"):
            shutil.rmtree(path, ignore_errors=True)
