"""Errors that the user can correct: shown as one line, without a traceback."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence


class UsageError(ValueError):
    """Something asked for cannot be: a value, a name, a file. Nothing has been written."""

    exit_status = 2


class RunError(RuntimeError):
    """A run had to stop. What it had saved is kept."""

    exit_status = 1


def first_line(error: BaseException) -> str:
    """The first line of what an error says; its type's name where it says nothing."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def in_one_line(error: BaseException) -> str:
    """All that an error says, in one line; its type's name where it says nothing."""
    return " ".join(str(error).split()) or type(error).__name__


def readable(text: str) -> str:
    """A text with "?" for each character that cannot be shown, such as a control character."""
    return "".join(c if c.isprintable() else "?" for c in text)


def listed(names: Sequence[str], most: int) -> str:
    """So many of the names at most, and how many more there are, as in "a, b and 3 more"."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def unknown_name(kind: str, name: str, known: Iterable[str]) -> UsageError:
    """The error for a name that a table does not hold, with the nearest known one."""
    known = sorted(known)
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else "."
    return UsageError(f"unknown {kind} {name!r}{hint} Known: {', '.join(known)}")
