"""A grid on the command line: one run for every combination of the values of some keys."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

from launch.configs import Overrides, parse_config
from sfvae_jax import config, options
from sfvae_jax.command_line.tuples import is_tuple
from sfvae_jax.errors import UsageError

PREFIX = "--grid."

_OPENING, _CLOSING, _QUOTES = "([", ")]", "'\""


def grid_of(flags: Sequence[str], config_file: str, overrides: Sequence[str]) -> list[Overrides]:
    """Returns what each run of a grid changes; the last key changes from one run to the next.

    Args:
        flags: --grid.KEY=VALUE,VALUE,...; VALUE is written as for --config.KEY, a tuple in
            parentheses, and a text with commas in quotes.
        config_file: FILE.py[:PRESET], to which the keys belong.
        overrides: --config.KEY=VALUE of every run.

    Raises:
        UsageError: if a key is unknown or given twice, or its values are not what they must be.
    """
    axes: dict[str, list[Any]] = {}
    given = (f"--config={config_file}", *overrides)
    fixed = {override.removeprefix("--config.").partition("=")[0] for override in overrides}
    for flag in flags:
        key, _, text = flag.removeprefix(PREFIX).partition("=")
        if key in axes:
            raise UsageError(f"{PREFIX}{key} is given twice; give all its values in one flag")
        if key in fixed:
            raise UsageError(
                f"--config.{key} and {PREFIX}{key} are both given, and the grid would replace the"
                " former; leave out one of them"
            )
        entries = _entries(key, text)
        _check_tuples(key, text, entries)
        axes[key] = [_value(given, key, entry) for entry in entries]
        for value in axes[key]:
            if axes[key].count(value) > 1:
                raise UsageError(f"{PREFIX}{key} has the value {value!r} twice; leave out one")
    return [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]


def _entries(key: str, text: str) -> list[str]:
    """Splits a text at the commas that are outside of brackets and quotes."""
    found, depth, quote = [""], 0, ""
    for character in text:
        if quote:
            quote = "" if character == quote else quote
        elif character in _QUOTES:
            quote = character
        elif character in _OPENING:
            depth += 1
        elif character in _CLOSING:
            depth -= 1
        if character == "," and not depth and not quote:
            found.append("")
        else:
            found[-1] += character
    entries = [entry.strip() for entry in found]
    if quote or depth or not all(entries):
        wrong = "a bracket or a quote is not closed" if quote or depth else "a value is missing"
        raise UsageError(
            f"{PREFIX}{key} must be values with commas between them, such as {PREFIX}seed=0,1,2;"
            f" {wrong} in {options.shown(text)}"
        )
    return entries


def _check_tuples(key: str, text: str, entries: Sequence[str]) -> None:
    """Checks that tuples stand in parentheses, because other commas are between values."""
    if is_tuple(key) and not all(entry[0] in _OPENING for entry in entries):
        raise UsageError(
            f"{key} is a tuple: write each value in parentheses, such as"
            f" {PREFIX}{key}='({text}),(...)', got {options.shown(text)}"
        )


def _value(given: Sequence[str], key: str, entry: str) -> Any:
    """Returns a value as the flag --config.KEY=ENTRY sets it."""
    if is_tuple(key):
        inner = entry[1:-1].strip().removesuffix(",")  # whose texts need no quotes
        entry = f"{inner}," if inner else "()"
    elif _is_text(key) and entry[0] in _QUOTES:
        entry = entry[1:-1]
    value = parse_config((*given, f"--config.{key}={entry}"))
    for name in key.split("."):
        value = value[name]
    return value


def _is_text(key: str) -> bool:
    option = options.entry_of(config.groups(None), key)
    return isinstance(option, options.Option) and isinstance(option.default, str)
