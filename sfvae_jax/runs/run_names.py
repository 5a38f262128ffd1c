"""Names of runs: what a run changes, as the name of a folder."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

_LONGEST = 100  # file names may have 255 bytes; some are left for endings
_BRACKETS = re.compile(r"[\s()\[\]'\"]+")
_UNSAFE = re.compile(r"[^A-Za-z0-9._=,+-]+")
_PLAIN_CONFIG = re.compile(r"configs/[A-Za-z0-9_]+\.py(:[A-Za-z0-9_.+-]+)?")


def name_of(overrides: Mapping[str, Any]) -> str:
    """Returns `KEY=VALUE,...`, with a digest where unsafe characters were removed."""
    exact = _told(overrides)
    return _safe(exact, exact) if exact else "defaults"


def names_of(runs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Names each run of a sweep by what it changes.

    Names that differ only in upper and lower case get a digest: not every file system tells them
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
    """Returns `CONFIG-PRESET,KEY=VALUE,...`, unique for a config file, preset and overrides.

    A file in `configs/` is identified by its name; any other one also by a digest of its path.

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
    """Returns `CONFIG-PRESET,KEY=VALUE,...` for a run in a table with other config files.

    Args:
        config_file: FILE.py[:PRESET].
        changes: what the run changes.
        overrides: what else distinguishes it from others, shown as a digest.
    """
    file, _, preset = config_file.partition(":")
    config = f"{Path(file).stem}-{preset}".removesuffix("-")
    shown = f"{config},{_told(changes)}".removesuffix(",")
    exact = ",".join([shown, *overrides])
    return _safe(shown, shown) if exact == shown else _with_digest(_safe(shown, shown), exact)


def _told(overrides: Mapping[str, Any]) -> str:
    return ",".join(f"{key}={_value(value)}" for key, value in overrides.items())


def _value(value: Any) -> str:
    """Formats a value as on the command line, quoted if it contains a comma."""
    return repr(value) if isinstance(value, str) and "," in value else str(value)


def _safe(shown: str, exact: str) -> str:
    """Makes a name safe for a folder; adds a digest of the exact text if they differ."""
    safe = _UNSAFE.sub("-", _BRACKETS.sub("", shown))
    if safe == exact and len(exact) <= _LONGEST:
        return exact
    return _with_digest(safe, exact)


def _with_digest(name: str, exact: str) -> str:
    # A path may hold bytes that are not UTF-8.
    digest = hashlib.sha256(exact.encode(errors="surrogatepass")).hexdigest()[:8]
    return f"{name[: _LONGEST - len(digest) - 1]}-{digest}"
