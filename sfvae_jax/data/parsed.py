"""Lines of text as sequences of a grammar's rules, parsed once and kept."""

from __future__ import annotations

import dataclasses
import hashlib
import logging
import os
import uuid
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from sfvae_jax.grammars import Grammar, ParseError
from sfvae_jax.progress import Display
from sfvae_jax.user_cache import user_cache_folder

SUFFIX = ".sfvae-cache.npz"
_FORMAT = "2"  # of such a file
_PER_UPDATE = 500  # lines between two updates of the progress

log = logging.getLogger("sfvae_jax")


@dataclasses.dataclass(frozen=True)
class Line:
    """A line of a file.

    Attributes:
        number: from 1.
        column: at which its text begins, from 1.
        text: a sentence, if all is well; bytes that are no UTF-8 as Python's `surrogateescape` has
            them.
    """

    number: int
    column: int
    text: str


@dataclasses.dataclass(frozen=True)
class Parsed:
    """What lines say.

    Attributes:
        rules: of each line that is a sentence, one after another, int16 [sum of lengths].
        lengths: how many are of each, [N].
        lines: their numbers, [N].
        bad_lines: numbers of the others, [M].
        bad_columns: where in each the first character is that cannot stand there, [M].
        reasons: what is wrong there, in words, [M].
    """

    rules: np.ndarray
    lengths: np.ndarray
    lines: np.ndarray
    bad_lines: np.ndarray
    bad_columns: np.ndarray
    reasons: np.ndarray


def parse_file(path: Path, lines: Sequence[Line], grammar: Grammar, *, go_on: bool) -> Parsed:
    """What the lines of a file say, read from what was kept of an earlier time where it can be.

    It is kept beside the file, one `PATH.*.sfvae-cache.npz` a grammar, or, where that folder cannot
    be written, in the user's cache folder, `sfvae_jax/sequences` in it. All may be deleted at any
    time. Processes that parse the same file at once all write it; the last one's stays.

    Args:
        path: of the file.
        lines: what is to be read of it; what was kept of other lines is parsed anew.
        grammar: of their sentences.
        go_on: whether to go on after a line that is none.
    """
    kind = _digest(*map(str, grammar.rules), repr((grammar.separator, grammar.ignored)))
    key = _digest(_FORMAT, kind, *(f"{line.number} {line.column} {line.text}" for line in lines))
    place = path.with_name(f"{path.name}.{kind[:8]}{SUFFIX}")
    kept = _load(place, key)
    if kept is None and not _may_write(path.parent):
        place = user_cache_folder("sequences")[0] / f"{key}{SUFFIX}"
        kept = _load(place, key)
    if kept is not None:
        return kept
    parsed = parse(lines, grammar, go_on=go_on, label=f"parsing {path.name}")
    if go_on or not len(parsed.bad_lines):
        _save(place, key, parsed)
    return parsed


def parse(lines: Sequence[Line], grammar: Grammar, *, go_on: bool, label: str) -> Parsed:
    """What lines say in a grammar, with progress shown under a label.

    Args:
        lines: sentences, most of them.
        grammar: of these.
        go_on: whether to go on after a line that is none.
        label: in words.
    """
    good: dict[int, np.ndarray] = {}
    bad: list[tuple[int, int, str]] = []
    with Display(0, len(lines), f"{label} ") as display:
        for done, line in enumerate(lines, 1):
            try:
                good[line.number] = grammar.parse(line.text).astype(np.int16)
            except ParseError as error:
                bad.append((line.number, line.column + error.column - 1, _reason(line, error)))
                if not go_on:
                    break
            if done % _PER_UPDATE == 0 or done == len(lines):
                display.show(done, "", f"{label} {done}/{len(lines)}")
    rules = np.concatenate([np.zeros(0, np.int16), *good.values()])
    lengths = [len(derivation) for derivation in good.values()]
    bad_lines, bad_columns, reasons = zip(*bad, strict=True) if bad else ((), (), ())
    numbers = (np.array(column, np.int64) for column in (lengths, [*good], bad_lines, bad_columns))
    return Parsed(rules, *numbers, np.array(reasons, np.str_))


def _reason(line: Line, error: ParseError) -> str:
    character = line.text[error.column - 1 : error.column]
    if "\udc80" <= character <= "\udcff":
        return f"byte 0x{ord(character) - 0xDC00:02x} is no UTF-8"
    return error.reason


def _may_write(folder: Path) -> bool:
    """Whether files are to be put there; not where nobody may, though root could."""
    return os.access(folder, os.W_OK | os.X_OK) and bool(folder.stat().st_mode & 0o222)


def _digest(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode(errors="surrogateescape")).hexdigest()


def _load(file: Path, key: str) -> Parsed | None:
    """What a file keeps under a key; None if it keeps another, is damaged or not there."""
    names = [field.name for field in dataclasses.fields(Parsed)]
    try:
        with np.load(file, allow_pickle=False) as archive:
            return (
                Parsed(**{name: archive[name] for name in names}) if archive["key"] == key else None
            )
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error):
        return None


def _save(file: Path, key: str, parsed: Parsed) -> None:
    """Writes a file that `_load` reads, whole or not at all."""
    # Another process may be writing the same.
    unfinished = file.with_name(f".{file.name}.{uuid.uuid4().hex}.partial")
    try:
        with unfinished.open("xb") as stream:
            np.savez_compressed(stream, key=key, **dataclasses.asdict(parsed))
        os.replace(unfinished, file)
    except OSError as error:
        log.info("what was parsed is not kept: cannot write %s: %s", file, error.strerror)
        _remove(unfinished)


def _remove(file: Path) -> None:
    try:
        file.unlink(missing_ok=True)
    except OSError:
        log.info("cannot remove %s", file)
