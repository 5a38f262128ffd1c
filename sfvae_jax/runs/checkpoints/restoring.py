"""Reading the newest whole checkpoint of a run.

A checkpoint that was damaged after it was saved is never used, nor one whose folder was renamed to
another step. Nothing here changes a file.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax.traverse_util import unflatten_dict

from sfvae_jax.errors import RunError
from sfvae_jax.paths import shown
from sfvae_jax.runs.checkpoints import proof
from sfvae_jax.runs.checkpoints.folders import checkpoint_steps
from sfvae_jax.runs.checkpoints.proof import Layout
from sfvae_jax.runtime import processes
from sfvae_jax.training.state import TrainState

# Takes a step and the layout of its checkpoint; raises an error if the arrays are wrong.
Check = Callable[[int, Layout], None]
Wanted = Callable[[str], bool]

log = logging.getLogger("sfvae_jax")

# Names of a state: its parameters of networks, its step, and the prefix of its best validation.
_NETWORKS, _STEP, _BEST = "params.params.", "step", "best."


def last_step(folder: Path) -> int | None:
    """Returns the step of the last checkpoint in a folder, or None.

    It is the one that the main process sees; all processes must call this.
    """
    return next(iter(processes.broadcast_numbers(checkpoint_steps(folder))), None)


def read_state(folder: Path, like: TrainState) -> TrainState:
    """Returns the newest whole checkpoint of a folder, as `restored` does."""
    return restored(folder, like)[0]


def restored(folder: Path, like: TrainState) -> tuple[TrainState, list[int]]:
    """Returns the newest whole checkpoint, and the steps of damaged newer ones.

    Args:
        folder: that of the checkpoints.
        like: a state with the structure and the placement that the result gets; arrays without a
            placement (`jax.ShapeDtypeStruct`) go to the default device.

    Raises:
        RunError: if none is whole, or its arrays do not fit the model.
    """
    arrays, damaged = _newest_whole(folder, _fits(like), _is_any)
    return _placed(arrays, like), damaged


def read_step(folder: Path, step: int, like: TrainState) -> TrainState | None:
    """Returns the checkpoint of one step; None if it is missing or damaged.

    It is the one that the main process sees; all processes must call this.
    """
    arrays: dict[str, np.ndarray] = {}
    with processes.agreed():
        if processes.is_main() and step in checkpoint_steps(folder):
            try:
                arrays, _ = _read_one(folder, step, _fits(like), _is_any)
            except (proof.Damaged, FileNotFoundError) as error:
                log.warning("checkpoint %d is damaged: %s", step, proof.one_line(error))
    arrays = processes.broadcast_arrays(arrays)
    return _placed(arrays, like) if arrays else None


def read_params(folder: Path, wanted: Wanted, check: Callable[[Layout], None]) -> dict[str, Any]:
    """Reads parameters of the newest checkpoint in which they are whole, as nested NumPy arrays.

    For a run that may stop early they are those of its best validation.

    Args:
        folder: that of the checkpoints.
        wanted: whether to read the parameter of a name, such as "decoder.Dense_0.bias".
        check: takes type and shape of these by name before they are read, and raises an error if
            they are wrong.

    Raises:
        RunError: if no checkpoint is whole.
    """

    def of_networks(found: dict[str, Any], prefix: str) -> dict[str, Any]:
        pairs = [(n.removeprefix(prefix), x) for n, x in found.items() if n.startswith(prefix)]
        return {name: x for name, x in pairs if wanted(name)}

    def is_read(name: str) -> bool:
        beside = name.removeprefix(_BEST)
        known = beside.startswith(_NETWORKS) and wanted(beside.removeprefix(_NETWORKS))
        return known or name == _BEST + _STEP

    def check_read(step: int, layout: Layout) -> None:
        check(of_networks(layout, _NETWORKS))

    arrays, _ = _newest_whole(folder, check_read, is_read)
    prefix = _BEST + _NETWORKS if arrays.get(_BEST + _STEP, 0) > 0 else _NETWORKS
    return unflatten_dict(of_networks(arrays, prefix), sep=".")


def first_difference(stored: Layout, expected: Layout) -> tuple[str, str, str] | None:
    """Returns the name of an array that differs in shape or type, and both in words."""
    names = sorted(stored.keys() | expected.keys(), key=lambda name: (name[:6] != "params", name))
    for place in (1, 0):
        for name in names:
            found, wanted = (_in_words(layout, name, place) for layout in (stored, expected))
            if found != wanted:
                return name, found, wanted
    return None


def _in_words(layout: Layout, name: str, place: int) -> str:
    if name not in layout:
        return "missing"
    found = layout[name][place]
    return found if isinstance(found, str) else str(list(found))


def _is_any(name: str) -> bool:
    return True


def _placed(arrays: dict[str, np.ndarray], like: TrainState) -> TrainState:
    def place(path: Any, leaf: jax.Array) -> jax.Array:
        return jax.device_put(arrays[proof.leaf_name(path)], leaf.sharding)

    return jax.tree.map_with_path(place, like)


def _newest_whole(
    folder: Path, check: Check, wanted: Wanted
) -> tuple[dict[str, np.ndarray], list[int]]:
    """Returns arrays of the newest whole checkpoint, and the steps of damaged newer ones.

    The main process reads for all, because the others may see an older state of a shared folder.
    """
    arrays: dict[str, np.ndarray] = {}
    damaged: list[int] = []
    with processes.agreed():
        if processes.is_main():
            arrays, damaged = _read_newest_whole(folder, check, wanted)
    return processes.broadcast_arrays(arrays), processes.broadcast_numbers(damaged)


def _read_newest_whole(
    folder: Path, check: Check, wanted: Wanted
) -> tuple[dict[str, np.ndarray], list[int]]:
    damaged: dict[int, str] = {}
    for step in checkpoint_steps(folder):
        try:
            arrays, proved = _read_one(folder, step, check, wanted)
        except (proof.Damaged, FileNotFoundError) as error:
            damaged[step] = proof.one_line(error)
            continue
        for other, damage in damaged.items():
            log.warning("checkpoint %d is damaged: %s; using checkpoint %d", other, damage, step)
        if not proved:
            log.warning(
                "checkpoint %d was saved by an earlier version, without the digests that would"
                " prove it complete",
                step,
            )
        return arrays, list(damaged)
    what = "; ".join(f"checkpoint {step}: {damage}" for step, damage in damaged.items())
    raise RunError(
        f"{shown(folder)} holds no complete checkpoint ({what or 'it is empty'}); nothing has"
        " been changed. Give another --workdir, or delete this one to start again"
    )


def _read_one(
    folder: Path, step: int, check: Check, wanted: Wanted
) -> tuple[dict[str, np.ndarray], bool]:
    """Reads the wanted arrays and the step of one checkpoint; says whether they were proved."""

    def check_all(layout: Layout) -> None:
        dtype, shape = layout.get(_STEP, ("", ()))
        if not dtype.startswith("int") or shape:
            raise proof.Damaged("it does not contain its step")
        check(step, layout)

    arrays, proved = proof.read(
        folder / str(step), check_all, lambda name: name == _STEP or wanted(name)
    )
    if arrays[_STEP] != step:
        raise proof.Damaged(f"it belongs to step {arrays[_STEP]}; its folder was renamed")
    return arrays, proved


def _fits(like: TrainState) -> Check:
    """Returns a check that the arrays of a checkpoint have the architecture of a state."""
    expected = proof.layout_of(like)

    def check(step: int, stored: Layout) -> None:
        difference = first_difference(stored, expected)
        if difference is not None:
            name, found, wanted = difference
            raise RunError(
                f"checkpoint {step} belongs to another architecture: {name} is {found} in the"
                f" checkpoint and {wanted} in this config; give the config that the run was"
                " trained with"
            )

    return check
