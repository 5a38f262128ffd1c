"""Checkpoints of the train state, by Orbax: asynchronous, and whole or not there at all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp

from sfvae_jax.errors import RunError
from sfvae_jax.training.state import TrainState


class Checkpoints:
    """The checkpoints of one run; the last few are kept. A context manager."""

    def __init__(self, folder: Path, num_kept: int) -> None:
        options = ocp.CheckpointManagerOptions(
            max_to_keep=num_kept, create=True, cleanup_tmp_directories=True
        )
        self._manager = ocp.CheckpointManager(folder.absolute(), options=options)

    def __enter__(self) -> Checkpoints:
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
            self._manager.save(step, args=ocp.args.StandardSave(state))

    def restore(self, like: TrainState) -> TrainState:
        """The last checkpoint, with the structure and placement of `like`.

        Raises:
            RunError: if it cannot be read, or is of other shapes than this model's.
        """
        target = jax.tree.map(ocp.tree.to_shape_dtype_struct, like)
        try:
            return self._manager.restore(self.last_step, args=ocp.args.StandardRestore(target))
        except Exception as error:  # Orbax raises many kinds for a damaged or misshapen checkpoint
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise RunError(f"cannot restore checkpoint {self.last_step}: {reason}") from error
