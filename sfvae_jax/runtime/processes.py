"""The processes of one run: each has its own devices, and all take the same steps."""

from __future__ import annotations

import io
import logging
import os
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn

import jax
import numpy as np

from sfvae_jax.errors import RunError, UsageError, first_line, in_one_line
from sfvae_jax.runtime.lock import release_all
from sfvae_jax.runtime.output import flush
from sfvae_jax.runtime.rendezvous import meet

log = logging.getLogger("sfvae_jax")

# A process that does not answer for so long counts as dead, and the others end as well.
_HEARTBEAT_SECONDS = 30
# Process 0 runs the service that connects the others; they need time to print their own errors.
_SECONDS_FOR_OTHERS = 3
# Words in the error of JAX if another process does not answer.
_LOST = ("Gloo", "NCCL", "nccl", "oordination", "arrier", "DEADLINE_EXCEEDED", "UNAVAILABLE")


def start(
    coordinator_address: str | None = None,
    num_processes: int | None = None,
    process_id: int | None = None,
) -> None:
    """Joins the processes of a run; must be called before anything asks JAX for its devices.

    On Cloud TPU, SLURM and Kubernetes JAX finds what is not given.

    Args:
        coordinator_address: "HOST:PORT" of process 0, as the others reach it.
        num_processes: number of processes.
        process_id: number of this process, from 0.

    Raises:
        UsageError: if these are invalid or contradict those of the others, the port is taken, or
            JAX does not find what is not given.
        RunError: if the others are not reached.
    """
    _check(coordinator_address, num_processes, process_id)
    if jax.distributed.is_initialized():
        raise UsageError("this process has already joined a run; it cannot join another")
    log.info("waiting for all processes of this run, at most five minutes")
    elsewhere = "JAX_COORDINATOR_BIND_ADDRESS" in os.environ  # where JAX listens
    if coordinator_address and num_processes and process_id is not None and not elsewhere:
        meet(coordinator_address, num_processes, process_id)
    try:
        jax.distributed.initialize(
            coordinator_address,
            num_processes,
            process_id,
            local_device_ids=_local_device_ids(),
            heartbeat_timeout_seconds=_HEARTBEAT_SECONDS,
        )
    except ValueError as error:  # JAX knows no such cluster, or a variable of it is missing
        raise UsageError(
            "--distributed finds the other processes only on Cloud TPU, SLURM and Kubernetes;"
            " elsewhere give --coordinator_address=HOST:PORT, --num_processes=N and --process_id=I"
            f" ({in_one_line(error)})"
        ) from error
    except RuntimeError as error:
        reason = first_line(error)
        raise RunError(f"the other processes of this run were not reached: {reason}") from error


def is_main() -> bool:
    """Whether this process is the one that writes metrics, figures and results."""
    return jax.process_index() == 0


def gathered(values: Any) -> np.ndarray:
    """Collects numbers from all P processes as [P, ...], in JAX's types; all must call this."""
    if jax.process_count() == 1:
        return np.asarray(values)[None]
    from jax.experimental import multihost_utils

    return np.asarray(multihost_utils.process_allgather(np.asarray(values)))


def any_of(flag: bool) -> bool:
    """Whether a flag is set in any process; all must call this."""
    return bool(gathered(flag).any())


def broadcast_numbers(numbers: Sequence[int]) -> list[int]:
    """Returns the numbers of the main process; all processes must call this."""
    if jax.process_count() == 1:
        return list(numbers)
    return _broadcast(np.array(numbers, np.int32)).tolist()


def broadcast_arrays(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Returns the named arrays of the main process; all must call this, with any arrays."""
    if jax.process_count() == 1:
        return dict(arrays)
    buffer = io.BytesIO()
    content: dict[str, Any] = dict(arrays) if is_main() else {}
    np.savez(buffer, **content)
    file = _broadcast(np.frombuffer(buffer.getvalue(), np.uint8))
    with np.load(io.BytesIO(file.tobytes()), allow_pickle=False) as found:
        return dict(found)


def _broadcast(vector: np.ndarray) -> np.ndarray:
    """Returns the vector of the main process, whose length the others do not know."""
    from jax.experimental import multihost_utils

    length = int(multihost_utils.broadcast_one_to_all(np.array(len(vector), np.int32)))
    room = vector if is_main() else np.zeros(length, vector.dtype)
    return np.asarray(multihost_utils.broadcast_one_to_all(room))


@contextmanager
def agreed() -> Iterator[None]:
    """Makes an error in one process an error in all, so that none waits for one that stopped.

    Raises:
        RunError: if it was another process that failed.
    """
    failure: Exception | None = None
    try:
        yield
    except Exception as error:
        failure = error
    anywhere = any_of(failure is not None)
    if failure is not None:
        raise failure
    if anywhere:
        raise RunError("another process of this run stopped; its own message says why")


def failure(error: Exception) -> str:
    """Says in one line what stopped this process; prints a traceback if that may help."""
    reason = first_line(error)
    lost = any(word in reason for word in _LOST)
    if not lost:
        traceback.print_exception(error)
    what = "lost contact with the others" if lost else "stopped"
    return (
        f"process {jax.process_index()} of {jax.process_count()} {what}: {reason}. Once all have"
        " ended, the same commands resume from the last checkpoint"
    )


def abandon(status: int) -> NoReturn:
    """Ends this process at once, without waiting for threads or other processes.

    Only a command calls this, when nothing is left to save. A clean end could wait for ever: for
    Orbax's threads after a failed save, or for other processes that wait for this one and notice
    its end when its connections close.
    """
    if jax.distributed.is_initialized() and _may_be_main():
        time.sleep(_SECONDS_FOR_OTHERS)
    release_all()
    try:
        flush()
    finally:  # even if stderr is on a full disk
        os._exit(status)


def _may_be_main() -> bool:
    try:
        return is_main()
    except (RuntimeError, AssertionError):  # JAX has no device
        return True


def _check(coordinator: str | None, num_processes: int | None, process_id: int | None) -> None:
    if coordinator is not None:
        host, _, port = coordinator.rpartition(":")
        number = int(port) if port.isascii() and port.isdecimal() else 0
        if not host or not 0 < number < 2**16:
            raise UsageError(
                f"--coordinator_address is {coordinator!r}; give HOST:PORT, with a port from 1 to"
                " 65535"
            )
    if num_processes is not None and num_processes < 1:
        raise UsageError(f"--num_processes is {num_processes}; give 1 or more")
    if process_id is not None and not 0 <= process_id < (num_processes or process_id + 1):
        raise UsageError(
            f"--process_id is {process_id}; with --num_processes={num_processes} it must be from 0"
            f" to {(num_processes or 1) - 1}"
        )


def _local_device_ids() -> list[int] | None:
    """Returns an empty list if SLURM runs one task on each host: it gets all devices of its host.

    JAX would give each task of SLURM one device, however many there are.
    """
    tasks, nodes = (os.environ.get(f"SLURM_{key}") for key in ("NTASKS", "STEP_NUM_NODES"))
    return [] if tasks is not None and tasks == nodes else None
