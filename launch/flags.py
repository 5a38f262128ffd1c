"""The flags of `python -m launch.sweep` and of `python -m launch.reproduce`."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from typing import NoReturn

from sfvae_jax.errors import UsageError

_OF_BACKEND = {
    "local": ("jobs",),
    "ray": ("address", "num_cpus", "num_gpus", "resources", "retries"),
}


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}; see --help")


def parse(argv: list[str], description: str) -> argparse.Namespace:
    """The flags; `overrides` holds the --config.KEY=VALUE as they stand.

    Raises:
        UsageError: saying which flag is wrong.
    """
    parser = _of_sweep(description)
    flags, overrides = parser.parse_known_args(argv)
    for flag in overrides:
        if not flag.startswith("--config.") or "=" not in flag:
            parser.error(f"unexpected argument {flag!r}; values are given as --flag=value")
    _check_backend(parser, flags)
    flags.overrides = overrides
    return flags


def parse_reproduce(argv: list[str], description: str) -> argparse.Namespace:
    """The flags of `launch.reproduce`; `table` is None where none is named.

    Raises:
        UsageError: saying which flag is wrong.
    """
    parser = _of_reproduce(description)
    flags = parser.parse_args(argv)
    asked = [name for name in ("list", "plan", "write_docs", "all") if getattr(flags, name)]
    if len(asked) > 1:
        first, second = (f"--{name.replace('_', '-')}" for name in asked[:2])
        parser.error(f"{first} and {second} exclude each other")
    if flags.table and (flags.all or flags.write_docs):
        parser.error(f"--{asked[0].replace('_', '-')} is about all tables; name none beside it")
    if not flags.table and not asked:
        parser.error("name a table, or give --all; --list shows what there is")
    _check_backend(parser, flags)
    return flags


def resources_of(flags: argparse.Namespace) -> dict[str, float]:
    """What one run takes of a Ray cluster, by Ray's names."""
    cpus = {"CPU": 1.0 if flags.num_cpus is None else flags.num_cpus}
    gpus = {"GPU": flags.num_gpus} if flags.num_gpus else {}
    return cpus | gpus | (flags.resources or {})


def _of_sweep(description: str) -> _Parser:
    parser = _make("sweep", description)
    add = parser.add_argument
    add("--config", required=True, metavar="FILE.py[:PRESET]", help="has get_config and sweep(add)")
    add("--workdir", required=True, metavar="DIR", help="each run has a folder in it")
    add("--filter", action="append", default=[], metavar="KEY=GLOB", help="only runs that match")
    add(
        "--dry-run",
        "--dry_run",
        action="store_true",
        help="print the command of each run, and do no more",
    )
    _add_backends(parser)
    return parser


def _of_reproduce(description: str) -> _Parser:
    parser = _make("reproduce", description)
    add = parser.add_argument
    add("table", nargs="?", metavar="TABLE", help="a table or figure, such as sfvae-table4")
    add("--list", action="store_true", help="show every table, or the runs of the one named")
    add("--plan", action="store_true", help="show the missing runs, cheapest evidence first")
    add("--all", action="store_true", help="carry out the missing runs of all tables")
    add(
        "--write-docs",
        "--write_docs",
        action="store_true",
        help="write the results pages from the records",
    )
    add("--budget", type=_minutes, metavar="MINUTES", help="stop after so long; default: no limit")
    add("--workdir", default="runs/reproduce", metavar="DIR", help="default: %(default)s")
    add("--records", default="docs/results/records", metavar="DIR", help="default: %(default)s")
    _add_backends(parser)
    return parser


def _make(command: str, description: str) -> _Parser:
    return _Parser(
        prog=f"python -m launch.{command}",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )


def _add_backends(parser: argparse.ArgumentParser) -> None:
    backends = tuple(_OF_BACKEND)
    parser.add_argument("--backend", choices=backends, default="local", help="default: local")
    local = parser.add_argument_group("--backend=local").add_argument
    local("--jobs", type=_whole(1), metavar="N", help="runs at a time; default: 1")
    ray = parser.add_argument_group("--backend=ray").add_argument
    ray("--address", help="of the cluster; default: RAY_ADDRESS, or this machine alone")
    ray("--num_cpus", type=_amount, metavar="N", help="of one run; default: 1")
    ray("--num_gpus", type=_amount, metavar="N", help="of one run; default: 0")
    ray("--resources", type=_resources, metavar="NAME=N,...", help="of one run, such as TPU=4")
    ray("--retries", type=_whole(0), metavar="N", help="of a killed run; default: 3")


def _check_backend(parser: argparse.ArgumentParser, flags: argparse.Namespace) -> None:
    for backend, names in _OF_BACKEND.items():
        given = [name for name in names if getattr(flags, name) is not None]
        if given and flags.backend != backend:
            parser.error(f"--{given[0]} only applies to --backend={backend}")


def _minutes(text: str) -> float:
    try:
        minutes = float(text)
    except ValueError:
        minutes = 0.0
    if not 0 < minutes < math.inf:
        raise argparse.ArgumentTypeError(f"must be a number of minutes above 0, got {text!r}")
    return minutes


def _whole(least: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not text.isdecimal() or int(text) < least:
            message = f"must be a whole number, {least} or more, got {text!r}"
            raise argparse.ArgumentTypeError(message)
        return int(text)

    return parse


def _amount(text: str) -> float:
    """A whole number, or a share of one, as Ray takes it."""
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not (0 <= number < 1 or (number >= 1 and number.is_integer())):
        raise argparse.ArgumentTypeError(f"must be a whole number or a share of one, got {text!r}")
    return number


def _resources(text: str) -> dict[str, float]:
    """NAME=NUMBER,... as a dictionary."""
    parts = [part.partition("=") for part in text.split(",")]
    if not all(name and equals for name, equals, _ in parts):
        raise argparse.ArgumentTypeError(f"must be NAME=NUMBER, such as TPU=4, got {text!r}")
    return {name: _amount(number) for name, _, number in parts}
