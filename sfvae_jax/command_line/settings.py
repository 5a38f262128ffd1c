"""A resolved configuration as text: each key with its value and what it does."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import ml_collections

from sfvae_jax import config, left_open, options
from sfvae_jax.command_line import recorded
from sfvae_jax.command_line.flag_config import parse_config
from sfvae_jax.command_line.plugin_flags import import_named_plugins

_WIDTH = 100  # columns of a line


class Setting(NamedTuple):
    """One key of a configuration.

    Attributes:
        key: its whole name, such as "train.steps".
        value: its value.
        default: its value if a config file changes nothing.
        help: what it does.
        is_chosen: whether the config file left it to the data.
    """

    key: str
    value: Any
    default: Any
    help: str
    is_chosen: bool = False

    @property
    def is_changed(self) -> bool:
        """Whether the value differs from the default."""
        return _plain(self.value) != _plain(self.default)


def shown(
    config_file: str,
    overrides: Sequence[str] = (),
    keys: Sequence[str] = (),
    *,
    only_changed: bool = False,
) -> str:
    """Returns every key of the configuration that a run would have, with a legend.

    Args:
        config_file: FILE.py[:PRESET], or the workdir of a run.
        overrides: --config.KEY=VALUE flags.
        keys: the keys and groups that are shown; empty: all of them.
        only_changed: whether keys that have their defaults are left out.

    Raises:
        UsageError: if the configuration cannot be read or is refused, or a key is unknown.
    """
    import_named_plugins(overrides)
    flag = recorded.config_flag(config_file) if Path(config_file).is_dir() else ""
    given = parse_config([flag or f"--config={config_file}", *overrides])
    chosen, resolved = left_open.open_keys(given), config.resolve(given)
    groups = config.groups(resolved.plugins)
    known = options.keys(groups)
    for key in keys:
        if key not in known:
            raise options.unknown_key(key, known)
    lines = [f"{config_file}, resolved; * marks what differs from the default"]
    for setting in settings(groups, resolved):
        setting = setting._replace(is_chosen=setting.key in chosen)
        is_asked = not keys or any(f"{setting.key}.".startswith(f"{key}.") for key in keys)
        if is_asked and (setting.is_changed or not only_changed):
            lines += _lines(setting)
    return "\n".join(lines)


def settings(
    group: options.Group, values: Mapping[str, Any], prefix: str = ""
) -> Iterator[Setting]:
    """Yields every key of a configuration, in the order of the options.

    Args:
        group: the options.
        values: of every option of the group.
        prefix: of the keys' whole names.
    """
    for name, entry in group.items():
        if isinstance(entry, options.Option):
            yield Setting(prefix + name, values[name], entry.default, entry.help)
        else:
            yield from settings(entry, values[name], f"{prefix}{name}.")


def _lines(setting: Setting) -> list[str]:
    mark = "*" if setting.is_changed else " "
    notes = ["chosen by the data"] * setting.is_chosen
    notes += [f"default: {_text(setting.default)}"] * setting.is_changed
    told = f"  ({'; '.join(notes)})" if notes else ""
    line = f"{mark} {setting.key} = {_text(setting.value)}{told}"
    return [
        line,
        textwrap.fill(setting.help, _WIDTH, initial_indent=" " * 6, subsequent_indent=" " * 6),
    ]


def _text(value: Any) -> str:
    if isinstance(value, ml_collections.ConfigDict):  # published figures, which are long
        return options.shown(_plain(value))
    return repr(_plain(value))


def _plain(value: Any) -> Any:
    if isinstance(value, ml_collections.ConfigDict):
        return value.to_dict()
    return options.plain(value)
