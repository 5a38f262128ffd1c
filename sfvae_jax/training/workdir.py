"""The files of a run: its configuration, metrics and results. Nothing is written elsewhere."""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import ml_collections

from sfvae_jax.errors import RunError, UsageError
from sfvae_jax.files import partial, read_json, write_json, write_text
from sfvae_jax.published import with_differences
from sfvae_jax.training import processes
from sfvae_jax.training.lock import FolderLock, read_token
from sfvae_jax.training.settings import differences, flatten, of_earlier, of_training, plain

log = logging.getLogger("sfvae_jax")

# What a damaged checkpoint's name ends with once it is set aside.
DAMAGED = ".damaged"

# A network file system may show a new file a minute late.
_LOOKS, _SECONDS_BETWEEN_LOOKS = 180, 0.5

# The entries of results.json that are not of the final step.
_LASTING = ("config", "published", "history", "history_caveats")


class Workdir:
    """Names, reads and writes the files of one run; only the main one of its processes writes."""

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

    def check_checkpoints(self, config: ml_collections.ConfigDict) -> None:
        """Refuses to begin again a run that had a checkpoint, of which none is left.

        One that was killed before its first checkpoint has none either, and begins again. Only the
        main process looks: what another one sees of a shared folder may be of before.

        Raises:
            RunError: saying how this shows.
        """
        if not processes.is_main():
            return
        if checkpoint_steps(self.checkpoints):
            return
        evidence = self._evidence_of_checkpoints(config)
        if evidence:
            raise RunError(
                f"the checkpoints of {self.folder} are lost: there is none, but {evidence};"
                " nothing has been changed. Put them back, give another --workdir, or delete this"
                " one to start anew"
            )

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keeps other runs out of the folder while the context lasts.

        Raises:
            UsageError: if it cannot be written, another process is at work in it, or the processes
                of this run do not share it.
        """
        with processes.agreed():
            lock = self._lock() if processes.is_main() else None
        try:
            with processes.agreed():
                self._check_shared(lock)
            yield
        finally:
            if lock is not None:
                lock.release()

    @contextmanager
    def claimed(
        self,
        config: ml_collections.ConfigDict,
        defaults: ml_collections.ConfigDict | None = None,
    ) -> Iterator[None]:
        """As `locked`, and makes the folder this configuration's own for good.

        Raises:
            UsageError: as `locked` and `check`, for another run may have come first.
            RunError: as `check_checkpoints`.
        """
        with self.locked():
            with processes.agreed():
                if processes.is_main():
                    self.check(config, defaults)
                self.check_checkpoints(config)
                self.claim(config)
            yield

    def claim(self, config: ml_collections.ConfigDict) -> None:
        """Writes config.json if there is none yet, and clears what a killed process left.

        Raises:
            UsageError: if it cannot be written.
        """
        if not processes.is_main():
            return
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            for path in (self.config, self.metrics, self.results):
                partial(path).unlink(missing_ok=True)
            if not self.config.exists():
                write_json(self.config, plain(config))
        except OSError as error:
            raise self._not_writable(error) from error

    def read_metrics(self, up_to: int | None = None) -> list[dict[str, Any]]:
        """The records of metrics.jsonl, up to a step; lines that hold none are left out."""
        if not self.metrics.exists():
            return []
        lines = self.metrics.read_bytes().splitlines()
        records = [record for record in map(_record, lines) if record is not None]
        return [record for record in records if up_to is None or record["step"] <= up_to]

    def cut_metrics(self, step: int) -> None:
        """Drops the records after a step, which a resumed run writes again.

        Raises:
            RunError: if the file cannot be written; it stays as it was.
        """
        if not processes.is_main():
            return
        lines = [json.dumps(record) + "\n" for record in self.read_metrics(up_to=step)]
        if step == 0 and self.read_metrics():
            log.warning("there is no checkpoint yet: all steps in metrics.jsonl are taken again")
        with _writing(self.metrics):
            write_text(self.metrics, "".join(lines))

    def append_metrics(self, records: Iterable[dict[str, Any]]) -> None:
        """Adds one line a record, in the place of a last line that was cut short.

        Raises:
            RunError: if they cannot be written.
        """
        if not processes.is_main():
            return
        lines = "".join(json.dumps(record) + "\n" for record in records)
        with _writing(self.metrics), self.metrics.open("a+b") as file:
            _cut_short_line(file)
            file.write(lines.encode())

    def sync_metrics(self) -> None:
        """Has what was appended stay when the machine fails; a checkpoint of its steps follows.

        Raises:
            RunError: if it cannot be.
        """
        if processes.is_main() and self.metrics.exists():
            with _writing(self.metrics), self.metrics.open("rb") as file:
                os.fsync(file.fileno())

    def read_results(self) -> dict[str, Any]:
        """results.json, or an empty dictionary where there is none yet."""
        return read_json(self.results) if self.results.exists() else {}

    def write_results(self, config: ml_collections.ConfigDict, **entries: Any) -> None:
        """Replaces the named entries of results.json and keeps the others.

        Raises:
            RunError: if it cannot be written; it stays as it was.
        """
        if not processes.is_main():
            return
        settings = {"config": plain(config), "published": with_differences(config)}
        content = {**self.read_results(), **settings, **entries}
        with _writing(self.results):
            write_json(self.results, content)

    def cut_results(self, step: int) -> None:
        """Drops what was measured after a step, which a resumed run measures again.

        Raises:
            RunError: if results.json cannot be written; it stays as it was.
        """
        if not processes.is_main():
            return
        found = self.read_results()
        kept = {
            key: _up_to(step, entry) if key.startswith("history") else entry
            for key, entry in found.items()
            if key in _LASTING or found.get("step", step + 1) <= step
        }
        if kept != found:
            with _writing(self.results):
                write_json(self.results, kept)

    def _lock(self) -> FolderLock:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            return FolderLock(self.folder)
        except OSError as error:
            raise self._not_writable(error) from error

    def _check_shared(self, lock: FolderLock | None) -> None:
        """Refuses a folder in which this process does not see the lock that the main one took."""
        token = int(processes.gathered(0 if lock is None else lock.token)[0])
        for _ in range(_LOOKS):
            if read_token(self.folder) == token:
                return
            time.sleep(_SECONDS_BETWEEN_LOOKS)
        raise UsageError(
            f"workdir {self.folder} is not the folder that process 0 of this run writes; give one"
            " on a file system that all hosts share, by its absolute path"
        )

    def _not_writable(self, error: OSError) -> UsageError:
        return UsageError(f"cannot write to workdir {self.folder}: {error.strerror}")

    def _evidence_of_checkpoints(self, config: ml_collections.ConfigDict) -> str | None:
        """What can only be there once a checkpoint was whole."""
        if any(self.checkpoints.glob(f"*{DAMAGED}")):
            return f"damaged ones (*{DAMAGED}) were set aside"
        results = self.read_results()
        measured = [results["step"]] if "step" in results else list(results.get("history", {}))
        if measured:
            return f"results.json holds measures of step {measured[-1]}"
        last = max((record["step"] for record in self.read_metrics()), default=0)
        # The second is begun when the first is whole, and until it is begun no step is taken.
        if last > 2 * config.train.checkpoint_every:
            return f"metrics.jsonl reaches step {last}"
        return None

    def _check_config(
        self, config: ml_collections.ConfigDict, defaults: ml_collections.ConfigDict | None
    ) -> None:
        known = {} if defaults is None else flatten(plain(defaults))
        found, asked = of_earlier(flatten(read_json(self.config)), known), flatten(plain(config))
        differing = differences(found, asked, of_training)
        if differing:
            raise UsageError(
                f"workdir {self.folder} holds a run of another config: {'; '.join(differing)}."
                " Give another --workdir, or the same config"
            )


def checkpoint_steps(folder: Path) -> list[int]:
    """The steps of all checkpoints in a folder, whole or damaged, the newest first."""
    if not folder.is_dir():
        return []
    names = (path.name for path in folder.iterdir())
    return sorted((int(name) for name in names if _is_step(name)), reverse=True)


def _is_step(name: str) -> bool:
    number = name.isascii() and name.isdecimal()
    return number and name == str(int(name)) and int(name) < 2**31


def _up_to(step: int, history: dict[str, Any]) -> dict[str, Any]:
    return {key: entry for key, entry in history.items() if int(key) <= step}


def _record(line: bytes) -> dict[str, Any] | None:
    """What a line of metrics.jsonl holds; None for one that was cut short or damaged."""
    try:
        record = json.loads(line)
    except ValueError:
        return None
    whole = isinstance(record, dict) and isinstance(record.get("step"), int)
    return record if whole else None


def _cut_short_line(file: BinaryIO) -> None:
    """Cuts a file open for appending back to its last whole line."""
    if not file.tell():
        return
    file.seek(-1, os.SEEK_END)
    if file.read(1) != b"\n":
        file.seek(0)
        file.truncate(file.read().rfind(b"\n") + 1)


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:  # a full disk, a folder in the place of the file
        raise RunError(f"cannot write {path}: {error.strerror}") from error
