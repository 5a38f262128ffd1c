"""The name of a run: what it changes, as a folder may be called."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

_LONGEST = 100  # a file name holds 255 bytes, of which the run's own files may want some
_BRACKETS = re.compile(r"[\s()\[\]'\"]+")
_UNSAFE = re.compile(r"[^A-Za-z0-9._=,+-]+")
_PLAIN_CONFIG = re.compile(r"configs/[A-Za-z0-9_]+\.py(:[A-Za-z0-9_.+-]+)?")


def name_of(overrides: Mapping[str, Any]) -> str:
    """`KEY=VALUE,...`; where characters had to go, a digest of all keeps the name unique."""
    exact = _told(overrides)
    return _safe(exact, exact) if exact else "defaults"


def names_of(runs: Sequence[Mapping[str, Any]]) -> list[str]:
    """The name of each run of a sweep, by what it changes.

    Those that differ in upper and lower case alone have a digest: not every file system tells them
    apart.
    """
    names = [name_of(run) for run in runs]
    told_apart: dict[str, set[str]] = {}
    for name, run in zip(names, runs, strict=True):
        told_apart.setdefault(name.lower(), set()).add(_told(run))
    return [
        name if len(told_apart[name.lower()]) == 1 else _with_digest(name, _told(run))
        for name, run in zip(names, runs, strict=True)
    ]


def name_of_command(config_file: str, overrides: Mapping[str, Any]) -> str:
    """`CONFIG-PRESET,KEY=VALUE,...`, another one for each config file, preset and overrides.

    A file of `configs/` is told by its name alone, any other one by a digest of its path besides.

    Args:
        config_file: FILE.py[:PRESET], from the current folder or absolute.
        overrides: what the command line changes, in any order.
    """
    file, _, preset = config_file.partition(":")
    path = Path(file).resolve()
    below = path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
    exact = f"{below.as_posix()}:{preset}".removesuffix(":")
    changes = _told({key: overrides[key] for key in sorted(overrides)})
    config = f"{path.stem}-{preset}".removesuffix("-")
    shown = f"{config},{changes}".removesuffix(",")
    return _safe(shown, shown if _PLAIN_CONFIG.fullmatch(exact) else f"{exact},{changes}")


def name_in_table(
    config_file: str, changes: Mapping[str, Any], overrides: Sequence[str] = ()
) -> str:
    """`CONFIG-PRESET,KEY=VALUE,...` of a run beside those of other config files.

    Args:
        config_file: FILE.py[:PRESET].
        changes: what the run changes.
        overrides: what else tells it from others; it shows as a digest.
    """
    file, _, preset = config_file.partition(":")
    config = f"{Path(file).stem}-{preset}".removesuffix("-")
    shown = f"{config},{_told(changes)}".removesuffix(",")
    exact = ",".join([shown, *overrides])
    return _safe(shown, shown) if exact == shown else _with_digest(_safe(shown, shown), exact)


def _told(overrides: Mapping[str, Any]) -> str:
    return ",".join(f"{key}={_value(value)}" for key, value in overrides.items())


def _value(value: Any) -> str:
    """As the command line has it; quoted where a comma in it could be taken for the next key."""
    return repr(value) if isinstance(value, str) and "," in value else str(value)


def _safe(shown: str, exact: str) -> str:
    """What is shown, as a folder may be called; a digest of what is exact where they differ."""
    safe = _UNSAFE.sub("-", _BRACKETS.sub("", shown))
    if safe == exact and len(exact) <= _LONGEST:
        return exact
    return _with_digest(safe, exact)


def _with_digest(name: str, exact: str) -> str:
    # A path may hold bytes that are no UTF-8.
    digest = hashlib.sha256(exact.encode(errors="surrogatepass")).hexdigest()[:8]
    return f"{name[: _LONGEST - len(digest) - 1]}-{digest}"
