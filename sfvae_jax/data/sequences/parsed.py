"""Parses lines of text into sequences of a grammar's rules, and keeps the result in a cache."""

from __future__ import annotations

import dataclasses
import hashlib
import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from sfvae_jax.data.archive import Archive, Unreadable
from sfvae_jax.grammars import Grammar, ParseError
from sfvae_jax.paths import not_regular
from sfvae_jax.runtime.display import Display
from sfvae_jax.runtime.user_cache import user_cache_folder, write_whole

SUFFIX = ".npz"
_FORMAT = "3"  # the version of a cache file's layout
# The kind of each array in a cache file, as in `numpy.dtype.kind`.
_KINDS = {
    "seal": "u",
    "rules": "i",
    "lengths": "i",
    "lines": "i",
    "bad_lines": "i",
    "bad_columns": "i",
    "reasons": "U",
}
_LOOKED_AT = 500  # lines of a cache file that are compared with the text file
_PER_UPDATE = 500  # lines between two updates of the progress

log = logging.getLogger("sfvae_jax")


@dataclasses.dataclass(frozen=True)
class Line:
    """A line of a file.

    Attributes:
        number: the line's number, from 1.
        column: the column at which its text begins, from 1.
        text: what should be a sentence; bytes that are not UTF-8 are kept as Python's
            `surrogateescape` does.
    """

    number: int
    column: int
    text: str


@dataclasses.dataclass(frozen=True)
class Parsed:
    """Lines that have been parsed.

    Attributes:
        rules: the rules of all lines that are sentences, one line after another, int16.
        lengths: the number of rules of each of these lines, [N].
        lines: the numbers of these lines, [N].
        bad_lines: the numbers of the other lines, [M].
        bad_columns: in each, the column of the first character that cannot stand there, [M].
        reasons: in each, what is wrong there, [M].
    """

    rules: np.ndarray
    lengths: np.ndarray
    lines: np.ndarray
    bad_lines: np.ndarray
    bad_columns: np.ndarray
    reasons: np.ndarray


def parse_file(path: Path, lines: Sequence[Line], grammar: Grammar, *, go_on: bool) -> Parsed:
    """Parses the lines of a file, or takes them from the cache of an earlier call.

    The cache is the folder `sfvae_jax/sequences` of the user's cache folder, with one file for each
    path and grammar; nothing is written beside the file itself. It may be deleted at any time. A
    cache file is used only if it passes every check of `_load`; otherwise the lines are parsed
    again. If several processes parse the same file at once, each writes its cache file, and the
    last one stays.

    Args:
        path: the file's path.
        lines: the file's lines.
        grammar: the grammar of the sentences.
        go_on: whether to go on after a line that is not a sentence.
    """
    kind = _digest(*map(str, grammar.rules), repr((grammar.separator, grammar.ignored)))
    key = _digest(_FORMAT, kind, *(f"{line.number} {line.column} {line.text}" for line in lines))
    folder, writable = user_cache_folder("sequences")
    place = folder / f"{_digest(str(path), kind)[:32]}{SUFFIX}"
    kept = _load(place, key, lines, grammar) if writable else None
    if kept is not None:
        return kept
    parsed = parse(lines, grammar, go_on=go_on, label=f"parsing {path.name}")
    if not writable:
        log.info("parsed lines are not cached: cannot write to %s", folder)
    elif go_on or not len(parsed.bad_lines):
        _save(place, key, parsed)
    return parsed


def parse(lines: Sequence[Line], grammar: Grammar, *, go_on: bool, label: str) -> Parsed:
    """Parses lines, and shows the progress.

    Args:
        lines: lines, most of which should be sentences.
        grammar: the grammar of the sentences.
        go_on: whether to go on after a line that is not a sentence.
        label: what the progress is called.
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
    return Parsed(
        rules,
        np.array(lengths, np.int64),
        np.array([*good], np.int64),
        np.array(bad_lines, np.int64),
        np.array(bad_columns, np.int64),
        np.array(reasons, np.str_),
    )


def _reason(line: Line, error: ParseError) -> str:
    character = line.text[error.column - 1 : error.column]
    if "\udc80" <= character <= "\udcff":
        return f"byte 0x{ord(character) - 0xDC00:02x} is not UTF-8"
    return error.reason


def _digest(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode(errors="surrogateescape")).hexdigest()


def _seal(key: str, parsed: Parsed) -> np.ndarray:
    """Returns a digest of the arrays and of the key under which they are kept, uint8 [32]."""
    digest = hashlib.sha256(key.encode())
    for name, array in dataclasses.asdict(parsed).items():
        digest.update(f"\n{name} {array.dtype.str} {array.shape}\n".encode())
        digest.update(np.ascontiguousarray(array).view(np.uint8).data)
    return np.frombuffer(digest.digest(), np.uint8)


def _load(file: Path, key: str, lines: Sequence[Line], grammar: Grammar) -> Parsed | None:
    """Reads a cache file; None if it is missing, damaged, or kept under another key."""
    try:
        if not_regular(file):
            return None
        with Archive(file) as archive:
            if any(archive.header(name).dtype.kind != kind for name, kind in _KINDS.items()):
                return None
            arrays = {name: archive.read(name) for name in _KINDS}
    except (OSError, Unreadable):
        return None
    seal = arrays.pop("seal")
    parsed = Parsed(**arrays)
    whole = all(array.ndim == 1 for array in arrays.values())
    if not whole or not np.array_equal(seal, _seal(key, parsed)):
        return None
    return parsed if _matches(parsed, lines, grammar) else None


def _matches(parsed: Parsed, lines: Sequence[Line], grammar: Grammar) -> bool:
    """Returns whether parsed lines are these; some are parsed again and compared.

    The seal only shows damage: another program could seal a file of its own.
    """
    numbers = np.array([line.number for line in lines])
    good, bad = np.isin(numbers, parsed.lines), np.isin(numbers, parsed.bad_lines)
    fits = (
        np.array_equal(numbers[good], parsed.lines)
        and np.array_equal(numbers[bad], parsed.bad_lines)
        and np.all(good ^ bad)
        and len(parsed.lengths) == len(parsed.lines)
        and len(parsed.bad_columns) == len(parsed.reasons) == len(parsed.bad_lines)
        and np.all((parsed.lengths > 0) & (parsed.lengths <= len(parsed.rules)))
        and np.sum(parsed.lengths) == len(parsed.rules)
        and np.all((parsed.rules >= 0) & (parsed.rules < len(grammar.rules)))
    )
    if not fits:
        return False
    ends = np.cumsum(parsed.lengths)
    starts = ends - parsed.lengths
    places = np.cumsum(good) - 1  # the place of each line among the good ones
    for i in range(0, len(lines), max(1, len(lines) // _LOOKED_AT)):
        rules = parsed.rules[starts[places[i]] : ends[places[i]]] if good[i] else None
        if not _says(rules, lines[i].text, grammar):
            return False
    return True


def _says(rules: np.ndarray | None, text: str, grammar: Grammar) -> bool:
    """Returns whether a text has these rules; for None, whether it is not a sentence."""
    try:
        if rules is None:
            grammar.parse(text)
            return False
        return "".join(grammar.write(rules).split()) == "".join(text.split())
    except ParseError:
        return rules is None
    except ValueError:  # the rules derive no whole sentence
        return False


def _save(file: Path, key: str, parsed: Parsed) -> None:
    """Writes a cache file that `_load` reads."""
    arrays = {"seal": _seal(key, parsed), **dataclasses.asdict(parsed)}
    failed = write_whole(file, lambda stream: np.savez_compressed(stream, **arrays))
    if failed:
        log.info("parsed lines are not cached: %s", failed)
