"""Plugins on the command line: they are imported before other flags are read.

Only then are their options keys that --config.KEY=VALUE can set, in whatever order flags come.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import ml_collections
from absl import flags
from ml_collections.config_flags.tuple_parser import TupleParser

from sfvae_jax.command_line.tuples import with_tuples
from sfvae_jax.command_line.typed import typed_values
from sfvae_jax.shipped import config_path


def import_named_plugins(argv: Sequence[str]) -> None:
    """Imports the plugins that --config.plugins names, if there is such a flag.

    Raises:
        UsageError: if one of them cannot be imported.
    """
    names = _named(argv)
    if names is not None:
        # Imported here so that a command without plugins does not wait for JAX.
        from sfvae_jax import config

        config.groups(names)


def import_plugins_of_config(flag: flags.Flag, argv: Sequence[str]) -> None:
    """Reads the config file of the flag --config, and imports the plugins that it names.

    The flag then gives this configuration, with the options of all plugins. Plugins that
    --config.plugins names take the place of those of the file. A path in a config file is one from
    the folder of that file, or else from the current folder.

    Args:
        flag: --config, as `config_flags.DEFINE_config_file` makes it.
        argv: the flags as typed.

    Raises:
        UsageError: if a plugin cannot be imported.
    """
    given = typed_values(argv, "config")
    if not given:
        return
    parse = flag.parser.parse
    made: dict[str, ml_collections.ConfigDict] = {}

    def parse_once(argument: str) -> Any:
        return made.pop(argument) if argument in made else parse(argument)

    with suppress(Exception):  # the flag itself will say what is wrong with the file
        config = parse(given[-1])
        if isinstance(config, ml_collections.ConfigDict) and "plugins" in config:
            made[given[-1]] = config
            flag.parser.parse = parse_once  # type: ignore[method-assign]
    if made:
        _add_plugins(config, _named(argv), Path(config_path(given[-1]).partition(":")[0]).parent)


def _add_plugins(
    config: ml_collections.ConfigDict, named: Sequence[str] | None, folder: Path
) -> None:
    own = config.plugins
    if named is None and not own:
        return
    # Imported here so that a command without plugins does not wait for the options of all rooms.
    from sfvae_jax.config import add_plugins

    if isinstance(own, (tuple, list)):
        own = tuple(_beside(name, folder) for name in own)
    config.plugins = own if named is None else tuple(named)
    add_plugins(config)
    config.plugins = own  # the flag, if there is one, sets the others


def _beside(name: Any, folder: Path) -> Any:
    """Returns the whole path of a file in the folder of the config file, else the name."""
    with suppress(OSError, TypeError, ValueError):
        if not Path(name).is_absolute() and (folder / name).is_file():
            return str((folder / name).resolve())
    return name


def _named(argv: Sequence[str]) -> tuple[str, ...] | None:
    """Returns the names that --config.plugins gives; None if there is no such flag."""
    texts = typed_values(argv, "config.plugins")
    if not texts:
        return None
    values = [
        arg.partition("=")[2] for arg in with_tuples([f"--config.plugins={t}" for t in texts])
    ]
    with suppress(ValueError):  # the flag will say so
        return tuple(TupleParser().parse(values[0] if len(values) == 1 else tuple(values)))
    return None
