"""The subcommands `list` and `show`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import NoReturn

from sfvae_jax.command_line import listing
from sfvae_jax.errors import UsageError
from sfvae_jax.runtime.output import reader_may_leave, say


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}; see --help")


def main(name: str, argv: Sequence[str]) -> int:
    """Runs `list` or `show` and returns the exit status.

    Raises:
        UsageError: if a name, a flag or the configuration is wrong.
    """
    with reader_may_leave():
        return {"list": _list, "show": _show}[name](argv)


def _list(argv: Sequence[str]) -> int:
    parser = _make("list", "Lists configs, objectives, models, data sets and more, one per line.")
    parser.add_argument(
        "kinds", nargs="*", metavar="KIND", help=f"{', '.join(listing.KINDS)}; default: all"
    )
    parser.add_argument(
        "--plugins",
        default="",
        metavar="FILE,...",
        help="files and modules whose parts are listed too",
    )
    flags = parser.parse_args(argv)
    names = [name.strip() for name in flags.plugins.split(",") if name.strip()]
    say(listing.listed(flags.kinds, names))
    return 0


def _show(argv: Sequence[str]) -> int:
    parser = _make("show", "Shows every key of a resolved configuration.")
    parser.add_argument(
        "config", metavar="FILE.py[:PRESET]", help="the config file, or the workdir of a run"
    )
    parser.add_argument(
        "keys", nargs="*", metavar="KEY", help="show only these keys and groups, as in: train seed"
    )
    parser.add_argument(
        "--changed", action="store_true", help="show only keys that differ from their defaults"
    )
    parser.add_argument_group("changes", "--config.KEY=VALUE, as for a run")
    flags, rest = parser.parse_known_args(argv)
    keys = [*flags.keys, *(word for word in rest if not word.startswith("-"))]
    overrides = [flag for flag in rest if flag.startswith("-")]
    for flag in overrides:
        if not flag.startswith(("--config.", "--noconfig.")):
            parser.error(f"unexpected argument {flag!r}; give values as --config.KEY=VALUE")
    # Imported here so that `list` need not wait for all options.
    from sfvae_jax.command_line import settings

    given = flags.config.removeprefix("--config=")
    say(settings.shown(given, overrides, keys, only_changed=flags.changed))
    return 0


def _make(command: str, description: str) -> _Parser:
    return _Parser(prog=f"sfvae_jax {command}", description=description, allow_abbrev=False)
