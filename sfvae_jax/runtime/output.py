"""What the commands print: in any locale, and to a reader that may be gone."""

from __future__ import annotations

import atexit
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TextIO


def prepare() -> None:
    """Makes this process's stdout and stderr take every text; a command calls it first.

    A character that the locale lacks is printed as its escape. A pipe whose reader has gone, as
    `head` goes, is no error at the end either.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    atexit.register(flush)


def say(text: str, stream: TextIO | None = None) -> None:
    """Prints a text, by default to stdout; where the reader of a pipe has gone, nothing.

    Raises:
        OSError: if it cannot be written for another reason, such as a full disk.
    """
    stream = sys.stdout if stream is None else stream
    try:
        print(text, file=stream, flush=True)
    except BrokenPipeError:
        _silence(stream)


def say_error(message: str) -> None:
    """Prints the one line that a user's error ends in, to stderr, where that can be written."""
    with suppress(OSError):
        say(f"sfvae_jax: error: {message}", sys.stderr)


@contextmanager
def reader_may_leave() -> Iterator[None]:
    """Around what prints by itself, such as a help text: a reader that goes away is no error."""
    try:
        yield
    except BrokenPipeError:
        _silence(sys.stdout)


def flush() -> None:
    """Writes out what stdout and stderr still hold; where the reader has gone, drops it."""
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except BrokenPipeError:
            _silence(stream)


def _silence(stream: TextIO) -> None:
    """Whatever is written to the stream from now on goes nowhere, without an error."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)
