"""The files of a run: its configuration, metrics and results. Nothing is written elsewhere."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from contextlib import contextmanager
import jax
import ml_collections

from sfvae_jax.errors import UsageError


class Workdir:
    """Names and reads and writes the files of one run."""

    def __init__(self, folder: str | os.PathLike) -> None:
        self.folder = Path(folder).expanduser()
        self.config = self.folder / "config.json"
        self.metrics = self.folder / "metrics.jsonl"
        self.results = self.folder / "results.json"
        self.checkpoints = self.folder / "checkpoints"
        self.figures = self.folder / "figures"

    def check(
        self,
        config: ml_collections.ConfigDict,
        defaults: ml_collections.ConfigDict | None = None,
    ) -> None:
        """Refuses a folder that cannot be written or is another run's; writes nothing.

        Args:
            config: this run's.
            defaults: of keys that a run of an earlier version does not know yet.

        Raises:
            UsageError: saying why; for a run of another configuration, what differs.
        """
        try:
            places = (self.folder, *self.folder.absolute().parents)
            parent = next(path for path in places if path.exists())
        except OSError as error:
            raise UsageError(f"cannot write to workdir {self.folder}: {error.strerror}") from error
        if not parent.is_dir() or not os.access(parent, os.W_OK | os.X_OK):
            raise UsageError(f"cannot write to workdir {self.folder}: {parent} is not writable")
        if self.config.exists():
            self._check_config(config, defaults)
            return
        leftovers = [
            path.name for path in (self.metrics, self.checkpoints, self.results) if path.exists()
        ]
        if leftovers:
            raise UsageError(
                f"workdir {self.folder} holds {' and '.join(leftovers)} but no config.json;"
                " give another --workdir"
            )

    @contextmanager
    def locked(self):
        yield

    @contextmanager
    def claimed(self, config):
        from sfvae_jax.training import processes

        with processes.agreed():
            if processes.is_main():
                self.claim(config)
        yield

    def cut_results(self, step):
        pass

    def claim(self, config: ml_collections.ConfigDict) -> None:
        """Makes the folder this configuration's own, and this process's until it ends.

        Raises:
            UsageError: if it cannot be written, or another process is at work in it.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            if not self.config.exists():
                write_json(self.config, plain(config))
            self._lock = self.config.open()
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UsageError(f"another process is at work in workdir {self.folder}") from error
        except OSError as error:
            raise UsageError(f"cannot write to workdir {self.folder}: {error.strerror}") from error

    def read_metrics(self, up_to: int | None = None) -> list[dict[str, Any]]:
        """The records of metrics.jsonl, up to a step; a last line cut short is left out."""
        if not self.metrics.exists():
            return []
        records = []
        for line in self.metrics.read_text().splitlines():
            try:
                records.append(json.loads(line))
            except json.JSONDecodeError:
                break  # the process was killed while it wrote this line
        return [record for record in records if up_to is None or record["step"] <= up_to]

    def cut_metrics(self, step: int) -> None:
        if jax.process_index():
            return
        """Drops the records after a step, which a resumed run writes again."""
        lines = [json.dumps(record) + "\n" for record in self.read_metrics(up_to=step)]
        write_text(self.metrics, "".join(lines))

    def append_metrics(self, records: Iterable[dict[str, Any]]) -> None:
        if jax.process_index():
            return
        """Adds one line a record."""
        with self.metrics.open("a") as file:
            file.writelines(json.dumps(record) + "\n" for record in records)

    def read_results(self) -> dict[str, Any]:
        """results.json, or an empty dictionary where there is none yet."""
        return read_json(self.results) if self.results.exists() else {}

    def write_results(self, config: ml_collections.ConfigDict, **entries: Any) -> None:
        if jax.process_index():
            return
        """Replaces the named entries of results.json and keeps the others."""
        settings = {"config": plain(config), "published": config.published.to_dict()}
        write_json(self.results, {**self.read_results(), **settings, **entries})

    def _check_config(
        self, config: ml_collections.ConfigDict, defaults: ml_collections.ConfigDict | None
    ) -> None:
        known = {} if defaults is None else flatten(plain(defaults))
        found, asked = {**known, **flatten(read_json(self.config))}, flatten(plain(config))
        differing = differences(found, asked, _of_training)
        if differing:
            raise UsageError(
                f"workdir {self.folder} holds a run of another config: {'; '.join(differing)}."
                " Give another --workdir, or the same config"
            )


_ABSENT = object()


def _of_training(key: str) -> bool:
    """Whether a key decides what is trained; what is measured afterwards may change."""
    if key == "train.compilation_cache":
        return False
    return not key.startswith("evaluations.") or key == "evaluations.steps"


def plain(config: ml_collections.ConfigDict) -> dict[str, Any]:
    """A configuration as JSON reads it back, without the published figures: they are no setting."""
    content = json.loads(json.dumps(config.to_dict()))
    content.pop("published")
    return content


def flatten(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """{"a": {"b": 1}} as {"a.b": 1}."""
    flat = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            flat.update(flatten(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def differences(
    there: dict[str, Any], here: dict[str, Any], matters: Callable[[str], bool]
) -> list[str]:
    """In words, what differs between two flat dictionaries under the keys that matter."""
    return [
        f"{key} is {_shown(there, key)} there and {_shown(here, key)} here"
        for key in sorted(there.keys() | here.keys())
        if matters(key) and there.get(key, _ABSENT) != here.get(key, _ABSENT)
    ]


def read_json(path: Path) -> dict[str, Any]:
    """The object that a JSON file holds.

    Raises:
        UsageError: if it is missing or holds something else.
    """
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot read {path}: {error}") from error
    if not isinstance(content, dict):
        raise UsageError(f"cannot read {path}: it holds no JSON object")
    return content


def write_json(path: Path, content: Any) -> None:
    """Writes JSON, whole or not at all."""
    write_text(path, json.dumps(content, indent=2, allow_nan=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """Writes a file, whole or not at all."""
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(text)
    os.replace(partial, path)


def _shown(flat: dict[str, Any], key: str) -> str:
    return repr(flat[key]) if key in flat else "absent"
