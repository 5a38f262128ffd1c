"""Runs an implementation in a process of its own, as its users do.

Much of a step's time on a CPU depends on the C library's allocator, which all code of a process
shares. Runs of this library keep freed memory (`sfvae_jax.runtime.memory`); other programs usually
do not.
"""

from __future__ import annotations

import dataclasses
import multiprocessing
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from benchmarks.implementations.prepared import Prepared
from benchmarks.measuring.cases import Case


@dataclasses.dataclass(frozen=True)
class Remote(Prepared):
    """A step in another process; `call` runs it there and returns its seconds."""

    def seconds(self) -> float:
        """Runs the step; returns how long it took there."""
        return self.call()


@contextmanager
def in_own_process(
    prepare: Callable[[Case], Prepared], case: Case, keep_memory: bool
) -> Iterator[Remote]:
    """Prepares a step in a new process, which ends with the context.

    Args:
        prepare: a function at the top level of a module.
        case: its argument.
        keep_memory: whether the process keeps freed memory.

    Raises:
        RuntimeError: with the error of the other process.
    """
    spawned = multiprocessing.get_context("spawn")
    here, there = spawned.Pipe()
    process = spawned.Process(target=_serve, args=(there, prepare, case, keep_memory), daemon=True)
    process.start()
    there.close()

    def ask() -> Any:
        here.send(True)
        return _answer(here)

    try:
        yield Remote(call=ask, **_answer(here))
    finally:
        here.close()  # which ends the process, unless it is running a step
        process.join(timeout=10.0)
        process.kill()


def _answer(connection: Any) -> Any:
    try:
        answer = connection.recv()
    except EOFError:
        answer = "the process of a step was killed, perhaps because it used too much memory"
    if isinstance(answer, str):
        raise RuntimeError(answer)
    return answer


def _serve(
    connection: Any, prepare: Callable[[Case], Prepared], case: Case, keep_memory: bool
) -> None:
    try:
        if keep_memory:
            from sfvae_jax.runtime.memory import keep_freed_memory

            keep_freed_memory()
        prepared = prepare(case)
        fields = {
            field.name: getattr(prepared, field.name) for field in dataclasses.fields(prepared)
        }
        del fields["call"]
        connection.send(fields)
        while True:
            connection.recv()
            connection.send(prepared.seconds())
    except (EOFError, BrokenPipeError):  # the parent has closed the pipe
        pass
    except Exception as error:
        connection.send(f"{prepare.__name__} of {case}: {type(error).__name__}: {error}")
