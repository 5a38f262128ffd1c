"""Choosing runs of a sweep by what they change."""

from __future__ import annotations

import re
from collections.abc import Sequence
from fnmatch import fnmatchcase

from launch.configs import Overrides
from sfvae_jax.errors import UsageError

# A comma is of a value, such as (512, 256), unless the next KEY= follows it.
_BETWEEN = re.compile(r",(?=[\w.]+=)")


def select(runs: Sequence[Overrides], filters: Sequence[str]) -> list[Overrides]:
    """The runs that match every KEY=GLOB.

    Args:
        runs: what each changes.
        filters: KEY=GLOB, or several with commas between.

    Raises:
        UsageError: if one is no KEY=GLOB, or no run is left; it names what there is.
    """
    wanted = [_parse(part) for text in filters for part in _BETWEEN.split(text)]
    chosen = [run for run in runs if all(_matches(run, *pair) for pair in wanted)]
    if not chosen:
        asked = ",".join(f"{key}={glob}" for key, glob in wanted)
        raise UsageError(f"no run of the sweep matches --filter={asked}. Known: {_known(runs)}")
    return chosen


def _parse(text: str) -> tuple[str, str]:
    key, equals, glob = text.partition("=")
    if not key or not equals:
        raise UsageError(f"--filter is KEY=GLOB, such as 'seed=[0-4]', got {text!r}")
    return key, glob


def _matches(run: Overrides, key: str, glob: str) -> bool:
    return key in run and fnmatchcase(str(run[key]), glob)


def _known(runs: Sequence[Overrides]) -> str:
    values: dict[str, dict[str, None]] = {}
    for run in runs:
        for key, value in run.items():
            values.setdefault(key, {})[str(value)] = None
    return "; ".join(f"{key}={' | '.join(known)}" for key, known in values.items())
