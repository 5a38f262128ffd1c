"""Keys of a configuration that a config file leaves open, to be chosen when the rest is known.

A config file cannot look at the data that a flag names, because flags are read after it. It leaves
keys open instead, with a function that chooses them; `config.resolve` calls this function. Keys
that flags or code set meanwhile are no longer open.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import ml_collections
from ml_collections import config_dict

# Sets a key of the configuration to a value if it is open, and does nothing otherwise.
Settle = Callable[[str, Any], None]

# Chooses all open keys; it may read the values of the configuration, also those just settled.
Choose = Callable[[ml_collections.ConfigDict, Settle], None]


class _Open(config_dict.FieldReference):
    """A value that stands for one that is chosen later, until it is set."""

    def __init__(self, value: Any, choose: Choose) -> None:
        super().__init__(value)
        self.choose: Choose | None = choose

    def set(self, value: Any, type_safe: bool = True) -> None:
        """Sets the value, which is then no longer open."""
        super().set(value, type_safe)
        self.choose = None

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Fills a copy; the base class leaves out what it does not know."""
        super().__setstate__(state)
        self.choose = state["choose"]


def leave_open(config: ml_collections.ConfigDict, keys: Iterable[str], choose: Choose) -> None:
    """Leaves keys open, whose values stay until `choose` sets them.

    Args:
        config: the configuration, which is changed.
        keys: their whole names, such as "model.name".
        choose: the function that chooses them.
    """
    for key in keys:
        group, _, name = key.rpartition(".")
        holder = config[group] if group else config
        holder[name] = _Open(holder[name], choose)


def open_keys(config: ml_collections.ConfigDict) -> list[str]:
    """Returns the whole names of the keys that are open."""
    return [key for key, _ in _open(config)]


def told(config: ml_collections.ConfigDict, keys: Iterable[str]) -> str:
    """Returns "KEY=VALUE, ..." for these keys; those whose value is 0 or empty are left out."""
    return ", ".join(f"{key}={config[key]}" for key in keys if config[key])


def choose_open(config: ml_collections.ConfigDict) -> ml_collections.ConfigDict:
    """Returns the configuration with its open keys chosen; as it is if it has none.

    Raises:
        UsageError: if the data cannot be read, or do not suit the config file.
    """
    found = dict(_open(config))
    if not found:
        return config
    chosen = config.copy_and_resolve_references()

    def settle(key: str, value: Any) -> None:
        if key in found:
            chosen.update_from_flattened_dict({key: value})

    with chosen.unlocked():
        for choose in dict.fromkeys(found.values()):
            choose(chosen, settle)
    return chosen


def _open(config: ml_collections.ConfigDict, prefix: str = "") -> Iterator[tuple[str, Choose]]:
    for name, value in config.items(preserve_field_references=True):
        if isinstance(value, ml_collections.ConfigDict):
            yield from _open(value, f"{prefix}{name}.")
        elif isinstance(value, _Open) and value.choose is not None:
            yield prefix + name, value.choose
