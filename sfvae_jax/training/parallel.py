"""Train steps on the devices of all processes. This is the only file that uses `pmap`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax import Array

from sfvae_jax.errors import UsageError
from sfvae_jax.training.losses.base import Metrics
from sfvae_jax.training.state import TrainState

AXIS_NAME = "batch"


def all_devices() -> list[Any]:
    """Returns the devices of all processes, grouped by process, in the same order everywhere."""
    return sorted(jax.devices(), key=lambda device: (device.process_index, device.id))


def check_shares(batch_size: int, num_devices: int, microbatch: int = 0) -> None:
    """Checks that devices can share a batch evenly, and that chunks divide a device's share.

    Args:
        batch_size: number of examples on all devices together.
        num_devices: number of devices that share the batch.
        microbatch: `train.microbatch`.

    Raises:
        UsageError: if either check fails; the error names the keys to change.
    """
    if batch_size % num_devices:
        raise UsageError(
            f"a batch of {batch_size} cannot be shared evenly by {num_devices} devices;"
            " choose train.batch_size (or, for a full batch, data.num_examples) as a multiple"
        )
    share = batch_size // num_devices
    if microbatch and share % microbatch:
        raise UsageError(
            f"train.microbatch {microbatch} does not divide a device's share of the batch, {share}"
            f" examples; choose a divisor of {share}, or 0 for one that suits the machine"
        )


def of_all_processes(state: Any) -> Any:
    """Joins arrays that are equal in every process into arrays on the devices of all processes.

    Nothing is copied. Orbax requires this form. If there is only one process, the state is returned
    as it is.
    """
    if jax.process_count() == 1:
        return state
    everywhere = _alike_on(all_devices())
    local = _alike_on(jax.local_devices())

    def join(leaf: Array) -> Array:
        shards = [shard.data for shard in jax.device_put(leaf, local).addressable_shards]
        return jax.make_array_from_single_device_arrays(leaf.shape, everywhere, shards)

    return jax.tree.map(join, state)


def _alike_on(devices: Sequence[Any]) -> jax.sharding.NamedSharding:
    mesh = jax.sharding.Mesh(np.array(devices), (AXIS_NAME,))
    return jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())


class ParallelSteps:
    """Takes several train steps in one call, with each batch shared evenly by the devices.

    If every device holds the data set, a call sends only indices to the devices; otherwise it sends
    examples. Every device holds a copy of the state, so that checkpoints do not depend on the
    number of devices. Each process provides its own share of the batches and receives the copies
    on its own devices.

    Attributes:
        share: the slice of a batch that holds the examples of this process.
    """

    def __init__(
        self,
        train_step: Callable[[TrainState, Array], tuple[TrainState, Metrics]],
        examples: np.ndarray | None,
        batch_size: int,
        devices: Sequence[Any] | None = None,
    ) -> None:
        """Copies the examples, if any, to the devices of this process.

        By default, the devices of all processes share a batch.

        Raises:
            UsageError: if the devices cannot share a batch evenly.
        """
        devices = list(devices or all_devices())
        check_shares(batch_size, len(devices))
        local = [device for device in devices if device.process_index == jax.process_index()]
        self._num_local = len(local)
        each, first = batch_size // len(devices), devices.index(local[0])
        self.share = slice(first * each, (first + len(local)) * each)

        def steps(
            state: TrainState, examples: Array | None, batches: Array
        ) -> tuple[TrainState, Metrics]:
            # batches: indices [S, b], or examples [S, b, ...]
            def one(state: TrainState, batch: Array) -> tuple[TrainState, Metrics]:
                return train_step(state, batch if examples is None else examples[batch])

            return jax.lax.scan(one, state, batches)

        self._call = jax.pmap(
            steps,
            axis_name=AXIS_NAME,
            in_axes=(None, None, 0),
            out_axes=(None, None),
            devices=devices,
            donate_argnums=0,
        )
        self._everywhere = _alike_on(local)
        self._examples = None if examples is None else jax.device_put(examples, self._everywhere)

    def place(self, state: TrainState) -> TrainState:
        """Copies the state to all devices of this process; the steps require this."""
        return jax.device_put(state, self._everywhere)

    def __call__(self, state: TrainState, batches: np.ndarray) -> tuple[TrainState, Metrics]:
        """Takes S steps.

        Args:
            state: the result of `place` or of an earlier call; its buffers are donated.
            batches: indices of the examples in this process's share of each batch, [S, b]. If the
                devices do not hold the examples, these are the examples themselves, [S, b, ...].

        Returns:
            The state after the steps, and the metrics of each step as arrays [S].
        """
        num_steps, num_examples = batches.shape[:2]
        shares = (self._num_local, num_examples // self._num_local)
        shared = batches.reshape(num_steps, *shares, *batches.shape[2:]).swapaxes(0, 1)
        return self._call(state, self._examples, shared)
