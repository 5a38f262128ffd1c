"""An implementation in a process of its own, as its users run it.

The C library's allocator decides much of a step's time on a CPU, and it is one for a process: the
library's runs keep freed memory (`sfvae_jax.runtime.memory`), other programs usually do not.
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
    """A step of another process; `call` takes it there and returns its seconds."""

    def seconds(self) -> float:
        """Takes the step; how long it took there."""
        return self.call()


@contextmanager
def in_own_process(
    prepare: Callable[[Case], Prepared], case: Case, keep_memory: bool
) -> Iterator[Remote]:
    """A step, prepared in a new process that ends with the context.

    Args:
        prepare: a function of a module.
        case: its argument.
        keep_memory: whether that process keeps freed memory.

    Raises:
        RuntimeError: with the other process's error.
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
        here.close()  # which ends it, unless it is in the midst of a step
        process.join(timeout=10.0)
        process.kill()


def _answer(connection: Any) -> Any:
    try:
        answer = connection.recv()
    except EOFError:
        answer = "the process of a step was ended, perhaps for the memory that it took"
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
    except (EOFError, BrokenPipeError):  # nobody asks any more
        pass
    except Exception as error:
        connection.send(f"{prepare.__name__} of {case}: {type(error).__name__}: {error}")
