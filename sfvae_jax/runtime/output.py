"""Printing in any locale, and to a pipe whose reader may be gone."""

from __future__ import annotations

import atexit
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TextIO


def prepare() -> None:
    """Makes stdout and stderr accept every text; a command calls this first.

    A character that the locale lacks is printed as its escape. At the end of the process, a pipe
    whose reader has gone, such as `head`, is not an error.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    atexit.register(flush)


def say(text: str, stream: TextIO | None = None) -> None:
    """Prints a text, by default to stdout; does nothing if the reader of a pipe has gone.

    Raises:
        OSError: if it cannot be written for another reason, such as a full disk.
    """
    stream = sys.stdout if stream is None else stream
    try:
        print(text, file=stream, flush=True)
    except BrokenPipeError:
        _silence(stream)


def say_error(message: str) -> None:
    """Prints the one line of an error to stderr, if that can be written to."""
    with suppress(OSError):
        say(f"sfvae_jax: error: {message}", sys.stderr)


@contextmanager
def reader_may_leave() -> Iterator[None]:
    """Wraps code that prints by itself, such as a help text, so that its reader may leave."""
    try:
        yield
    except BrokenPipeError:
        _silence(sys.stdout)


def flush() -> None:
    """Writes what stdout and stderr still hold; drops it if the reader has gone."""
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except BrokenPipeError:
            _silence(stream)


def _silence(stream: TextIO) -> None:
    """Discards all that is written to the stream from now on."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)
