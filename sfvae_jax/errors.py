"""Errors that are the user's to mend: shown as one line, without a traceback."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UsageError(ValueError):
    """Something asked for cannot be: a value, a name, a file. Nothing has been written."""

    exit_status = 2


class RunError(RuntimeError):
    """A run had to stop. What it had saved is kept."""

    exit_status = 1


def unknown_name(kind: str, name: str, known: Iterable[str]) -> UsageError:
    """The error for a name that a table does not hold, with the nearest known one."""
    known = sorted(known)
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else "."
    return UsageError(f"unknown {kind} {name!r}{hint} Known: {', '.join(known)}")
