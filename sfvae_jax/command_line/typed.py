"""Flags as they were typed, for what must be known before they are parsed."""

from __future__ import annotations

from collections.abc import Sequence


def typed_values(argv: Sequence[str], flag: str) -> list[str]:
    """Returns every value of a flag, given as --flag=VALUE or --flag VALUE.

    Args:
        argv: the flags as typed; a last one without its value has the value "".
        flag: the name, without dashes.
    """
    found = []
    for arg, following in zip(argv, [*argv[1:], ""], strict=False):
        name, equals, value = arg.partition("=")
        if name in (f"--{flag}", f"-{flag}"):
            found.append(value if equals else following)
    return found
