"""Running train steps on the local devices. The only file that knows `pmap`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax import Array

from sfvae_jax.errors import UsageError
from sfvae_jax.training.objective import Metrics
from sfvae_jax.training.state import TrainState

AXIS_NAME = "batch"


def check_shares(batch_size: int, num_devices: int, microbatch: int = 0) -> None:
    """Refuses a batch that devices cannot share evenly, or that chunks of a share do not fill.

    Args:
        batch_size: of all devices together.
        num_devices: that share it.
        microbatch: `train.microbatch`.

    Raises:
        UsageError: saying so.
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
            f" images; choose a divisor of {share}, or 0 for one that suits the machine"
        )


class ParallelSteps:
    """Several train steps in one call, each batch shared evenly by the devices.

    Where the data set lies on every device, a call sends indices alone; else it sends images. The
    state is one copy, alike on all devices, so that checkpoints do not know how many there were.
    """

    def __init__(
        self,
        train_step: Callable[[TrainState, Array], tuple[TrainState, Metrics]],
        images: np.ndarray | None,
        batch_size: int,
        devices: Sequence[Any] | None = None,
    ) -> None:
        """Places the images, if any, on the devices (default: all local ones).

        Raises:
            UsageError: if the devices cannot share a batch evenly.
        """
        self._devices = list(devices or jax.local_devices())
        check_shares(batch_size, len(self._devices))

        def steps(
            state: TrainState, images: Array | None, batches: Array
        ) -> tuple[TrainState, Metrics]:
            # batches: indices [S, b], or images [S, b, ...]
            def one(state: TrainState, batch: Array) -> tuple[TrainState, Metrics]:
                return train_step(state, batch if images is None else images[batch])

            return jax.lax.scan(one, state, batches)

        self._call = jax.pmap(
            steps,
            axis_name=AXIS_NAME,
            in_axes=(None, None, 0),
            out_axes=(None, None),
            devices=self._devices,
            donate_argnums=0,
        )
        mesh = jax.sharding.Mesh(np.array(self._devices), (AXIS_NAME,))
        self._everywhere = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
        self._images = None if images is None else jax.device_put(images, self._everywhere)

    def place(self, state: TrainState) -> TrainState:
        """The state, alike on all devices, as the steps take it."""
        return jax.device_put(state, self._everywhere)

    def __call__(self, state: TrainState, batches: np.ndarray) -> tuple[TrainState, Metrics]:
        """Takes S steps.

        Args:
            state: from `place` or an earlier call; its buffers are given up.
            batches: indices of the examples of each batch, [S, B]; without images on the devices,
                the images themselves, [S, B, ...].

        Returns:
            The state after them, and each step's metrics as arrays [S].
        """
        num_steps, batch_size = batches.shape[:2]
        shares = (len(self._devices), batch_size // len(self._devices))
        shared = batches.reshape(num_steps, *shares, *batches.shape[2:]).swapaxes(0, 1)
        return self._call(state, self._images, shared)
