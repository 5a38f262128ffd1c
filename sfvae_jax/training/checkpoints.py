"""Checkpoints of the train state, by Orbax: asynchronous, and whole or not there at all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp

from sfvae_jax.errors import RunError
from sfvae_jax.training.parallel import of_all_processes, of_this_process
from sfvae_jax.training.state import TrainState

Shapes = dict[str, list[int]]


class Checkpoints:
    """The checkpoints of one run; the last few are kept. A context manager."""

    def __init__(self, folder: Path, num_kept: int) -> None:
        options = ocp.CheckpointManagerOptions(
            max_to_keep=num_kept, create=True, cleanup_tmp_directories=True
        )
        self._make = lambda: ocp.CheckpointManager(
            folder.absolute(), options=options, item_handlers=ocp.StandardCheckpointHandler()
        )

    def __enter__(self) -> Checkpoints:
        self._manager = self._make()
        return self

    def __exit__(self, *unused: Any) -> None:
        self._manager.wait_until_finished()
        self._manager.close()

    @property
    def last_step(self) -> int | None:
        """The step of the last whole checkpoint, or None."""
        return self._manager.latest_step()

    def save(self, state: TrainState) -> None:
        """Starts to write the state under its step; returns before it is on disk."""
        step = int(state.step)
        if step != self.last_step:
            self._manager.save(step, args=ocp.args.StandardSave(of_all_processes(state)))

    def wait(self) -> None:
        self._manager.wait_until_finished()

    def restore(self, like: TrainState) -> TrainState:
        """The last checkpoint, with the structure and placement of `like`.

        Raises:
            RunError: if it cannot be read, or is of other shapes than this model's.
        """
        self._manager.wait_until_finished()
        self._check_architecture(like)
        target = jax.tree.map(ocp.tree.to_shape_dtype_struct, of_all_processes(like))
        try:
            state = self._manager.restore(self.last_step, args=ocp.args.StandardRestore(target))
        except Exception as error:  # Orbax raises many kinds for a damaged or misshapen checkpoint
            raise _unreadable(self.last_step, error) from error
        return of_this_process(state, like)

    def _check_architecture(self, like: TrainState) -> None:
        step = self.last_step
        try:
            metadata = self._manager.item_metadata(step)
            stored = {leaf.name: list(leaf.shape) for leaf in jax.tree.leaves(metadata)}
        except Exception as error:
            raise _unreadable(step, error) from error
        wanted = leaf_shapes(like)
        names = sorted(stored.keys() | wanted.keys())
        for name in sorted(names, key=lambda name: not name.startswith("params")):
            there, here = (shapes.get(name, "missing") for shapes in (stored, wanted))
            if there != here:
                raise RunError(
                    f"checkpoint {step} is of another architecture: {name} is {there} there and"
                    f" {here} in this configuration; use the one that it was trained with"
                )


def last_step(folder: Path) -> int | None:
    """The step of the last whole checkpoint in a folder, or None; nothing is changed there."""
    if not folder.exists():
        return None
    with _reader(folder) as manager:
        return manager.latest_step()


def read_params(folder: Path) -> Any:
    """The parameters in the last checkpoint of a folder, NumPy arrays, of any architecture.

    Nothing is changed there.

    Raises:
        RunError: if it cannot be read.
    """
    device = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    with _reader(folder) as manager:
        step = manager.latest_step()
        try:
            target = jax.tree.map(
                lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=device),
                manager.item_metadata(step),
            )
            state = manager.restore(step, args=ocp.args.StandardRestore(target))
        except Exception as error:  # as in `Checkpoints.restore`
            raise _unreadable(step, error) from error
    return jax.device_get(state["params"])


def _reader(folder: Path) -> ocp.CheckpointManager:
    options = ocp.CheckpointManagerOptions(read_only=True)
    return ocp.CheckpointManager(
        folder.absolute(), options=options, item_handlers=ocp.StandardCheckpointHandler()
    )


def leaf_shapes(tree: Any) -> Shapes:
    """The shape of each array of a tree, by the name under which Orbax keeps it."""
    return {_name(path): list(leaf.shape) for path, leaf in jax.tree.leaves_with_path(tree)}


def _name(path: tuple[Any, ...]) -> str:
    """The name under which Orbax keeps a leaf."""
    return ".".join(
        str(getattr(key, "name", getattr(key, "key", getattr(key, "idx", None)))) for key in path
    )


def _unreadable(step: int | None, error: Exception) -> RunError:
    reason = (str(error).strip() or type(error).__name__).splitlines()[0]
    return RunError(f"cannot restore checkpoint {step}: {reason}")
