"""The flags of `python -m launch.sweep` and `python -m launch.reproduce`."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from typing import NoReturn

from sfvae_jax.errors import UsageError

_GRID = "--grid."
_BACKENDS = {
    "local": ("jobs",),
    "ray": ("address", "num_cpus", "num_gpus", "resources", "retries"),
}


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}; see --help")


def parse(argv: list[str], description: str) -> argparse.Namespace:
    """Parses the flags of `launch.sweep`.

    `overrides` holds every --config.KEY=VALUE as given, and `grid` every --grid.KEY=VALUE,...

    Raises:
        UsageError: naming the flag that is wrong.
    """
    parser = _sweep_parser(description)
    flags, rest = parser.parse_known_args(argv)
    for flag in rest:
        if not flag.startswith(("--config.", _GRID)) or "=" not in flag:
            parser.error(f"unexpected argument {flag!r}; give values as --flag=value")
    _check_backend(parser, flags)
    flags.grid = [flag for flag in rest if flag.startswith(_GRID)]
    flags.overrides = [flag for flag in rest if not flag.startswith(_GRID)]
    return flags


def parse_reproduce(argv: list[str], description: str) -> argparse.Namespace:
    """Parses the flags of `launch.reproduce`; `table` is None if none is named.

    Raises:
        UsageError: naming the flag that is wrong.
    """
    parser = _reproduce_parser(description)
    flags = parser.parse_args(argv)
    asked = [name for name in ("list", "plan", "write_docs", "all") if getattr(flags, name)]
    if len(asked) > 1:
        first, second = (f"--{name.replace('_', '-')}" for name in asked[:2])
        parser.error(f"{first} and {second} cannot be given together")
    if flags.table and (flags.all or flags.write_docs):
        parser.error(f"--{asked[0].replace('_', '-')} applies to all tables; do not name one")
    if not flags.table and not asked:
        parser.error("name a table, or give --all; --list shows the tables")
    if flags.filter and (flags.list or flags.write_docs):
        parser.error(f"--filter does not apply to --{asked[0].replace('_', '-')}; leave it out")
    _check_backend(parser, flags)
    return flags


def resources_of(flags: argparse.Namespace) -> dict[str, float]:
    """Returns the resources of a Ray cluster that each run takes, by Ray's names."""
    cpus = {"CPU": 1.0 if flags.num_cpus is None else flags.num_cpus}
    gpus = {"GPU": flags.num_gpus} if flags.num_gpus else {}
    return cpus | gpus | (flags.resources or {})


def _sweep_parser(description: str) -> _Parser:
    parser = _make("sweep", description)
    add = parser.add_argument
    add(
        "--config",
        required=True,
        metavar="FILE.py[:PRESET]",
        help="config file; without --grid it must have a function sweep(add)",
    )
    add(
        "--workdir",
        required=True,
        metavar="DIR",
        help="folder for the workdirs of the runs, their logs and the table",
    )
    _add_filter(parser)
    add(
        "--dry-run",
        "--dry_run",
        action="store_true",
        help="print the command of each run and carry out none",
    )
    add(
        "--tensorboard",
        action="store_true",
        help="write event files of each run; tensorboard --logdir=DIR shows all of them",
    )
    _add_backends(parser)
    return parser


def _reproduce_parser(description: str) -> _Parser:
    parser = _make("reproduce", description)
    add = parser.add_argument
    add("table", nargs="?", metavar="TABLE", help="the table or figure, such as sfvae-table4")
    add("--list", action="store_true", help="show all tables, or the runs of TABLE")
    add(
        "--plan",
        action="store_true",
        help="show the missing runs in the order in which they are carried out",
    )
    add("--all", action="store_true", help="carry out the missing runs of all tables")
    _add_filter(parser)
    add(
        "--write-docs",
        "--write_docs",
        action="store_true",
        help="write the results pages from the records",
    )
    add(
        "--budget", type=_minutes, metavar="MINUTES", help="stop after this time; default: no limit"
    )
    add(
        "--workdir",
        default="runs/reproduce",
        metavar="DIR",
        help="folder for workdirs; default: %(default)s",
    )
    add(
        "--records",
        default="docs/results/records",
        metavar="DIR",
        help="folder of the records; default: %(default)s",
    )
    _add_backends(parser)
    return parser


def _make(command: str, description: str) -> _Parser:
    return _Parser(
        prog=f"python -m launch.{command}",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )


def _add_filter(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--filter",
        action="append",
        default=[],
        metavar="KEY=GLOB",
        help="carry out only the runs that match",
    )


def _add_backends(parser: argparse.ArgumentParser) -> None:
    backends = tuple(_BACKENDS)
    parser.add_argument(
        "--backend",
        choices=backends,
        default="local",
        help="where runs are carried out: on this machine or a Ray cluster; default: local",
    )
    local = parser.add_argument_group("--backend=local").add_argument
    local("--jobs", type=_whole(1), metavar="N", help="number of runs at a time; default: 1")
    ray = parser.add_argument_group("--backend=ray").add_argument
    ray(
        "--address",
        help="address of the cluster; default: RAY_ADDRESS, or a cluster of this machine",
    )
    ray(
        "--num_cpus",
        type=_amount,
        metavar="N",
        help="number of CPUs that each run takes; default: 1",
    )
    ray(
        "--num_gpus",
        type=_amount,
        metavar="N",
        help="number of GPUs that each run takes; default: 0",
    )
    ray(
        "--resources",
        type=_resources,
        metavar="NAME=N,...",
        help="other resources that each run takes, such as TPU=4",
    )
    ray(
        "--retries",
        type=_whole(0),
        metavar="N",
        help="number of times that a killed run is tried again; default: 3",
    )


def _check_backend(parser: argparse.ArgumentParser, flags: argparse.Namespace) -> None:
    for backend, names in _BACKENDS.items():
        given = [name for name in names if getattr(flags, name) is not None]
        if given and flags.backend != backend:
            parser.error(f"--{given[0]} only applies to --backend={backend}")


def _minutes(text: str) -> float:
    try:
        minutes = float(text)
    except ValueError:
        minutes = 0.0
    if not 0 < minutes < math.inf:
        raise argparse.ArgumentTypeError(f"must be a positive number of minutes, got {text!r}")
    return minutes


def _whole(least: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not text.isdecimal() or int(text) < least:
            message = f"must be a whole number, {least} or more, got {text!r}"
            raise argparse.ArgumentTypeError(message)
        return int(text)

    return parse


def _amount(text: str) -> float:
    """Parses a whole number or a fraction below 1, as Ray takes them."""
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not (0 <= number < 1 or (number >= 1 and number.is_integer())):
        raise argparse.ArgumentTypeError(
            f"must be a whole number or a fraction below 1, got {text!r}"
        )
    return number


def _resources(text: str) -> dict[str, float]:
    """Parses NAME=NUMBER,..."""
    parts = [part.partition("=") for part in text.split(",")]
    if not all(name and equals for name, equals, _ in parts):
        raise argparse.ArgumentTypeError(f"must be NAME=NUMBER, such as TPU=4, got {text!r}")
    return {name: _amount(number) for name, _, number in parts}
