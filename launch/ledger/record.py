"""The record of a finished run: a small JSON object, made from the files of its workdir."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any

import ml_collections

from launch.ledger.entries import Entry
from launch.runs import Run
from sfvae_jax.config import base_config
from sfvae_jax.reporting.runs import read_run
from sfvae_jax.runs.files import provenance, results_file
from sfvae_jax.runs.files.config_file import flatten, plain
from sfvae_jax.runs.files.results_file import is_number
from sfvae_jax.runs.published import may_matter, uses
from sfvae_jax.runs.workdir import Workdir
from sfvae_jax.shipped import FOLDER, config_path

Record = dict[str, Any]

_MEASURED = (
    "step",
    "metrics",
    "history",
    "not_applicable",
    "caveats",
    "history_caveats",
    "texts",
    "prior_stddev",
    "checkpoint",
    "ended_at",
    "measured_step",
)
_WITH_SENTENCES = ("not_applicable", "caveats", "history_caveats")
_SAME_WORK = ("machine", "processes", "versions", "commit", "changed")


def make_record(entry: Entry, run: Run, calibration: float) -> Record:
    """Makes the record of a finished run. It contains no path of this machine.

    Args:
        entry: the run, as its table describes it.
        run: the same run, with its workdir.
        calibration: of this machine; it is recorded if the run used processors of this kind.

    Raises:
        UsageError: if results.json does not hold the run's final measures, or is damaged.
        OSError: if its provenance cannot be read.
    """
    files = Workdir(run.workdir)
    results, pieces = read_run(files.results), provenance.read(files.provenance)
    settings, flat = settings_of(run.config), flatten(plain(run.config))
    given = [text.partition("=")[0] for text in entry.part.overrides]
    here = bool(pieces) and all(p["machine"]["processor"] == provenance.processor() for p in pieces)
    return {
        "table": entry.table,
        "run": entry.name,
        "config_file": _config_file(entry.part.config),
        "changes": {key: without_folders(flat[key]) for key in [*given, *entry.changes]},
        "seed": run.config.seed,
        **_measured(results, _paths(flat, run.workdir)),
        "evaluations": list(results["config"]["evaluations"]["names"]),
        "fingerprint": results["config"]["data"].get("fingerprint", ""),
        "settings": settings,
        "date": pieces[-1]["began"] if pieces else None,
        "seconds": _sum(pieces, "seconds"),
        "processor_seconds": _sum(pieces, "processor_seconds"),
        "calibration": calibration if here else None,
        "pieces": _joined(pieces),
    }


def fault_of(record: Mapping[str, Any]) -> str:
    """Returns what in a record differs in form from what `make_record` writes; "" if nothing."""
    faults = results_file.readable({key: record[key] for key in _MEASURED if key in record})[1]
    for key, holds in _ENTRIES.items():
        if key not in record:
            faults.append(f"it has no {key!r}")
        elif not holds(record[key]):
            faults.append(f"{key!r} does not have the form of a record")
    return faults[0] if faults else ""


@functools.cache
def defaults() -> dict[str, Any]:
    """Returns the flat settings of the base configuration."""
    return flatten(plain(base_config()))


def settings_of(config: ml_collections.ConfigDict) -> dict[str, Any]:
    """Returns the flat settings that decide a run's result.

    Options of evaluations are included only if the run takes these evaluations.

    Args:
        config: a resolved configuration.
    """
    flat = flatten(plain(config))
    return {
        key: without_folders(value)
        for key, value in flat.items()
        if key == "seed" or (may_matter(key) and key != "data.fingerprint" and uses(flat, key))
    }


def without_folders(value: Any) -> Any:
    """Returns a setting in which a path, such as that of folder:PATH, is cut to its last name."""
    if isinstance(value, list):
        return [without_folders(one) for one in value]
    if not isinstance(value, str) or "/" not in value:
        return value
    kind, colon, path = value.rpartition(":")
    return f"{kind}{colon}{PurePath(path).name}"


def _config_file(given: str) -> str:
    """Returns FILE.py[:PRESET] relative to the repository; outside of it, only the file's name."""
    file, colon, preset = config_path(given).partition(":")
    path = Path(file).resolve()
    shown = path.relative_to(FOLDER).as_posix() if path.is_relative_to(FOLDER) else path.name
    return f"{shown}{colon}{preset}"


def _paths(flat: Mapping[str, Any], workdir: Path) -> dict[str, str]:
    """Returns the paths that a text about a run may contain, and what replaces them."""
    found = {str(workdir): workdir.name}
    for value in flat.values():
        if isinstance(value, str) and without_folders(value) != value:
            short = without_folders(value)
            found |= {value: short, value.rpartition(":")[2]: short.rpartition(":")[2]}
    return dict(sorted(found.items(), key=lambda pair: -len(pair[0])))


def _measured(results: Mapping[str, Any], paths: Mapping[str, str]) -> Record:
    found = {key: results[key] for key in _MEASURED if key in results}
    return {
        key: _told(value, paths) if key in _WITH_SENTENCES else value
        for key, value in found.items()
    }


def _told(value: Any, paths: Mapping[str, str]) -> Any:
    """Replaces the paths in texts."""
    if isinstance(value, dict):
        return {key: _told(inner, paths) for key, inner in value.items()}
    for path, short in paths.items():
        value = value.replace(path, short)
    return value


def _sum(pieces: Sequence[provenance.Piece], key: str) -> float | None:
    """Sums over all pieces of work; None if the first piece, from step 0, is unknown."""
    if not pieces or pieces[0]["from_step"]:
        return None
    return round(sum(piece[key] for piece in pieces), 1)


def _joined(pieces: Sequence[provenance.Piece]) -> list[provenance.Piece]:
    """Joins consecutive pieces of work by the same code on the same machine."""
    joined: list[provenance.Piece] = []
    for piece in pieces:
        last = joined[-1] if joined else None
        if last is None or any(last[key] != piece[key] for key in _SAME_WORK):
            joined.append(dict(piece))
            continue
        last["work"] = " and ".join(dict.fromkeys([*last["work"].split(" and "), piece["work"]]))
        for key in ("seconds", "processor_seconds"):
            last[key] = round(last[key] + piece[key], 1)
    return joined


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_amount(value: Any) -> bool:
    return value is None or (is_number(value) and value >= 0)


def _are_names(value: Any) -> bool:
    return isinstance(value, list) and all(map(_is_text, value))


def _are_settings(value: Any) -> bool:
    return isinstance(value, dict) and not any(isinstance(one, dict) for one in value.values())


_ENTRIES = {
    "table": _is_text,
    "run": _is_text,
    "config_file": _is_text,
    "changes": _are_settings,
    "seed": results_file.is_whole_number,
    "step": results_file.is_whole_number,
    "measured_step": results_file.is_whole_number,
    "metrics": lambda value: isinstance(value, dict) and bool(value),
    "evaluations": _are_names,
    "fingerprint": _is_text,
    "settings": _are_settings,
    "seconds": _is_amount,
    "processor_seconds": _is_amount,
    "calibration": lambda value: value is None or (is_number(value) and value > 0),
    "pieces": lambda value: isinstance(value, list) and all(map(provenance.is_piece, value)),
}
