"""Every key of a configuration as Markdown: its default, what it must be, and what it is for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import ml_collections

from sfvae_jax.options import Group, Option
from sfvae_jax.reporting.markdown import code, lines_of

_HEADS = ("key", "default", "what it must be", "what it does")


def to_markdown(groups: Group) -> str:
    """A section for each group, with a table of its keys; the keys outside of groups come first.

    Args:
        groups: the options of a whole configuration, as `config.groups` gives them.
    """
    return "\n\n".join(_sections(groups, "")) + "\n"


def _sections(group: Group, prefix: str) -> Iterator[str]:
    rows = [
        [code(prefix + name), code(_text(entry.default)), entry.rule.expected, entry.help]
        for name, entry in group.items()
        if isinstance(entry, Option)
    ]
    if rows:
        yield f"## {prefix.removesuffix('.') or 'Outside of the groups'}"
        yield lines_of(_HEADS, rows)
    for name, entry in group.items():
        if isinstance(entry, Mapping):
            yield from _sections(entry, f"{prefix}{name}.")


def _text(default: Any) -> str:
    """A default as a config file would write it."""
    return "{}" if isinstance(default, ml_collections.ConfigDict) else repr(default)
