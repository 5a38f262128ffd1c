"""Train steps on the devices of all processes, by `jax.pmap` or by `jax.jit` of `jax.shard_map`.

This is the only file that uses them. Both run the same step, with the same axis of devices.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import NamedSharding, PartitionSpec

from sfvae_jax.errors import UsageError
from sfvae_jax.training.losses.base import Metrics
from sfvae_jax.training.state import TrainState, TrainStep

AXIS_NAME = "batch"

# (state, batches of this process [S, b, ...], how many of them to take) -> (state, metrics), on the
# devices of this process
_Call = Callable[[TrainState, np.ndarray, int], tuple[TrainState, Metrics]]


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
    local = _alike_on(jax.local_devices())
    return _joined(jax.device_put(state, local), _alike_on(all_devices()))


def _joined(tree: Any, sharding: NamedSharding) -> Any:
    """Returns arrays of this sharding whose shards on this process's devices are those of a tree.

    Nothing is copied: the arrays share their buffers.
    """

    def join(leaf: Array) -> Array:
        shards = [shard.data for shard in leaf.addressable_shards]
        return jax.make_array_from_single_device_arrays(leaf.shape, sharding, shards)

    return jax.tree.map(join, tree)


def _alike_on(devices: Sequence[Any]) -> NamedSharding:
    mesh = jax.sharding.Mesh(np.array(devices), (AXIS_NAME,))
    return NamedSharding(mesh, PartitionSpec())


class ParallelSteps:
    """Takes several train steps in one call, with each batch shared evenly by the devices.

    If the devices hold the data set, a call sends only indices to them; otherwise it sends
    examples. By "pmap" every device holds the whole data set; by "jit" each holds an equal part of
    it, and the devices exchange the examples of each batch. Every device holds a copy of the state,
    so that checkpoints do not depend on the number of devices. Each process provides its own share
    of the batches and receives the copies on its own devices.

    Attributes:
        share: the slice of a batch that holds the examples of this process.
    """

    def __init__(
        self,
        train_step: TrainStep,
        examples: np.ndarray | None,
        batch_size: int,
        rng: Array,
        devices: Sequence[Any] | None = None,
        *,
        parallelism: str = "pmap",
    ) -> None:
        """Copies the examples, if any, to the devices of this process.

        Args:
            train_step: takes the state, a device's share of a batch, and `rng`; its axis is
                `AXIS_NAME`.
            examples: those that the devices shall hold; None if calls send them.
            batch_size: number of examples on all devices together.
            rng: the key of the training.
            devices: those that share a batch, grouped by process; None for all of all processes.
            parallelism: one of `options.PARALLELISMS`.

        Raises:
            UsageError: if the devices cannot share a batch evenly.
        """
        devices = list(devices or all_devices())
        check_shares(batch_size, len(devices))
        local = [device for device in devices if device.process_index == jax.process_index()]
        each, first = batch_size // len(devices), devices.index(local[0])
        self.share = slice(first * each, (first + len(local)) * each)
        self._everywhere = _alike_on(local)
        by = {"pmap": _by_pmap, "jit": _by_jit}[parallelism]
        self._call = by(train_step, examples, rng, devices, self._everywhere)

    def place(self, state: TrainState) -> TrainState:
        """Copies the state to all devices of this process; the steps require this."""
        return jax.device_put(state, self._everywhere)

    def __call__(
        self, state: TrainState, batches: np.ndarray, longest: int = 0
    ) -> tuple[TrainState, dict[str, np.ndarray]]:
        """Takes S steps.

        Calls of up to `longest` steps share one compiled program, and so take the same steps to the
        last bit.

        Args:
            state: the result of `place` or of an earlier call; its buffers are donated.
            batches: indices of the examples in this process's share of each batch, [S, b]. If the
                devices do not hold the examples, these are the examples themselves, [S, b, ...].
            longest: the largest S of a run; by default this one.

        Returns:
            The state after the steps, and the metrics of each step as NumPy arrays [S].
        """
        number = len(batches)
        if number < longest:
            unused = np.zeros((longest - number, *batches.shape[1:]), batches.dtype)
            batches = np.concatenate([batches, unused])
        state, metrics = self._call(state, batches, number)
        return state, {name: of[:number] for name, of in jax.device_get(metrics).items()}


def _steps(
    train_step: TrainStep,
    examples_at: Callable[[Array, Array], Array],
    key_impl: Any,
) -> Callable[[TrainState, Array | None, Array, Array, Array], tuple[TrainState, Metrics]]:
    """Returns the program of one device: a step for each of its first batches.

    How many, and the key, are arguments, so that calls of all lengths and runs of all seeds share
    one compiled program.

    Args:
        train_step: that of one device.
        examples_at: takes the examples that the device holds and indices [b].
        key_impl: what kind of key the last argument's numbers are of.
    """

    def steps(
        state: TrainState, examples: Array | None, batches: Array, number: Array, key_data: Array
    ) -> tuple[TrainState, Metrics]:
        # batches: indices [S, b], or examples [S, b, ...]
        rng = jax.random.wrap_key_data(key_data, impl=key_impl)

        @jax.jit  # so that eval_shape and the loop share one trace
        def one(state: TrainState, batch: Array) -> tuple[TrainState, Metrics]:
            batch = batch if examples is None else examples_at(examples, batch)
            return train_step(state, batch, rng)

        def nth(n: Array, before: tuple[TrainState, Metrics]) -> tuple[TrainState, Metrics]:
            state, metrics = one(before[0], batches[n])
            return state, jax.tree.map(lambda row, new: row.at[n].set(new), before[1], metrics)

        def empty(metric: Any) -> Array:
            return jnp.zeros((len(batches), *metric.shape), metric.dtype)

        _, metrics = jax.eval_shape(one, state, batches[0])
        return jax.lax.fori_loop(0, number, nth, (state, jax.tree.map(empty, metrics)))

    return steps


def _by_pmap(
    train_step: TrainStep,
    examples: np.ndarray | None,
    rng: Array,
    devices: Sequence[Any],
    local: NamedSharding,
) -> _Call:
    run = jax.pmap(
        _steps(train_step, lambda examples, indices: examples[indices], jax.random.key_impl(rng)),
        axis_name=AXIS_NAME,
        in_axes=(None, None, 0, None, None),
        out_axes=(None, None),
        devices=devices,
        donate_argnums=0,
    )
    held = None if examples is None else jax.device_put(examples, local)
    key_data = _numbers(rng)
    num_local = len(local.device_set)

    def call(state: TrainState, batches: np.ndarray, number: int) -> tuple[TrainState, Metrics]:
        num_steps, num_examples = batches.shape[:2]
        shares = (num_local, num_examples // num_local)
        shared = batches.reshape(num_steps, *shares, *batches.shape[2:]).swapaxes(0, 1)
        return run(state, held, shared, number, key_data)

    return call


def _by_jit(
    train_step: TrainStep,
    examples: np.ndarray | None,
    rng: Array,
    devices: Sequence[Any],
    local: NamedSharding,
) -> _Call:
    everywhere = _alike_on(devices)
    alike = PartitionSpec()
    specs = (alike, PartitionSpec(AXIS_NAME), PartitionSpec(None, AXIS_NAME), alike, alike)
    shardings = tuple(NamedSharding(everywhere.mesh, spec) for spec in specs)
    of_state, of_examples, of_batches, *_ = shardings
    exchanged = functools.partial(_exchanged, num_devices=len(devices))
    program = jax.shard_map(
        _steps(train_step, exchanged, jax.random.key_impl(rng)),
        mesh=everywhere.mesh,
        in_specs=specs,
        out_specs=PartitionSpec(),
        check_vma=False,
    )
    run = jax.jit(program, donate_argnums=0, in_shardings=shardings)
    held = None if examples is None else _divided(examples, of_examples)
    key_data = _numbers(rng)
    alone = len(devices) == len(local.device_set)

    def call(state: TrainState, batches: np.ndarray, number: int) -> tuple[TrainState, Metrics]:
        if alone:
            return run(state, held, batches, number, key_data)
        batches = jax.make_array_from_process_local_data(of_batches, batches)
        joined = _joined(state, of_state)
        return _joined(run(joined, held, batches, number, key_data), local)

    return call


def _numbers(rng: Array) -> np.ndarray:
    """Returns a key as NumPy numbers; several processes' programs take no array of one device."""
    return np.asarray(jax.random.key_data(rng))


def _divided(examples: np.ndarray, sharding: NamedSharding) -> Array:
    """Gives each device an equal part of the examples; the last ones are filled up with zeros."""
    num_parts = sharding.mesh.size
    rows = -(-len(examples) // num_parts)
    shape = (num_parts * rows, *examples.shape[1:])

    def part(index: tuple[slice, ...] | None) -> np.ndarray:
        found = examples if index is None else examples[index[0]]
        missing = np.zeros((rows - len(found), *shape[1:]), found.dtype)
        return np.concatenate([found, missing]) if len(missing) else found

    return jax.make_array_from_callback(shape, sharding, part)


def _exchanged(held: Array, indices: Array, *, num_devices: int) -> Array:
    """Returns the examples of this device's indices [b], of which each device holds a part.

    Every device sends to every other what it has at the places that the other asks for, which
    are the wanted examples if it is the one that holds them. Numbers are moved, never added.
    """
    if num_devices == 1:
        return held[indices]
    asked = jax.lax.all_gather(indices, AXIS_NAME)  # [D, b]
    received = jax.lax.all_to_all(held[asked % len(held)], AXIS_NAME, 0, 0)  # [D, b, ...]
    return received[indices // len(held), jnp.arange(len(indices))]
