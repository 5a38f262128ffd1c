"""Errors that a command shows in one line, without a traceback, and texts for messages."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence


class UsageError(ValueError):
    """Something that the user asked for is impossible, such as a value, a name or a file."""

    exit_status = 2


class RunError(RuntimeError):
    """A run had to stop; what it has saved is kept."""

    exit_status = 1


def first_line(error: BaseException) -> str:
    """Returns the first line of the message of an error, or the name of its type if it is empty."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def in_one_line(error: BaseException) -> str:
    """Returns the message of an error in one line, or the name of its type if it is empty."""
    return " ".join(str(error).split()) or type(error).__name__


def readable(text: str) -> str:
    """Replaces each character that cannot be shown, such as a control character, with "?"."""
    return "".join(c if c.isprintable() else "?" for c in text)


def listed(names: Sequence[str], most: int) -> str:
    """Lists at most so many names, and counts the others, as in "a, b and 3 more"."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


# What names that are common elsewhere are called here.
_MEANT = {"elbo": "sampling", "vae": "sampling", "normal": "gaussian"}


def unknown_name(kind: str, name: str, known: Iterable[str]) -> UsageError:
    """Returns the error for a name that a table does not have, with the most similar one."""
    known = sorted(known)
    meant = _MEANT.get(name.lower())
    near = [meant] if meant in known else difflib.get_close_matches(name, known, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else "."
    return UsageError(f"unknown {kind} {name!r}{hint} Known: {', '.join(known)}")
