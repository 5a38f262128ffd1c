"""Flags that give a tuple as a list with commas, such as --config.evaluations.names=a,b."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from typing import Any

_PREFIX = "--config."


def with_tuples(argv: Sequence[str]) -> list[str]:
    """Writes lists with commas as the tuples that ml_collections reads.

    Texts need no quotes: --config.KEY=a,b becomes --config.KEY=('a', 'b') if KEY is a tuple. What
    is a Python value already, such as (1, 2) or 1,2, stays as it is.

    Args:
        argv: the flags as typed.
    """
    return [_rewritten(arg) if _may_be_list(arg) else arg for arg in argv]


def _may_be_list(arg: str) -> bool:
    text = arg.partition("=")[2]
    return arg.startswith(_PREFIX) and "," in text and not _is_python(text)


def _rewritten(arg: str) -> str:
    key, _, text = arg.partition("=")
    entries = text.removesuffix(",").split(",")
    if not is_tuple(key.removeprefix(_PREFIX)) or not all(map(str.strip, entries)):
        return arg
    return f"{key}={tuple(_value(entry.strip()) for entry in entries)!r}"


def is_tuple(key: str) -> bool:
    """Whether the values of a config key are tuples, by its option."""
    # Imported here because most flags are no lists, and errors in them need not wait for JAX.
    from sfvae_jax import config, options

    entry = options.entry_of(config.groups(None), key)
    return isinstance(entry, options.Option) and (
        isinstance(entry.default, tuple) or entry.of is tuple
    )


def _is_python(text: str) -> bool:
    try:
        ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text.lstrip().startswith(("(", "["))  # a mistake in a tuple is reported as such
    return True


def _value(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text
