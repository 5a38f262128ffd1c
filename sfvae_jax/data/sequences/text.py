"""Files of text, one sentence a line."""

from __future__ import annotations

import codecs
import functools
import logging
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np

from sfvae_jax.data.held_out import identities
from sfvae_jax.data.sequences.parsed import Line, Parsed, parse, parse_file
from sfvae_jax.data.source import ArraySplit
from sfvae_jax.data.stored_examples import check_places_fit
from sfvae_jax.errors import UsageError
from sfvae_jax.grammars import Language
from sfvae_jax.paths import regular_file

_LINES = {"equations": "expressions", "molecules": "SMILES"}

log = logging.getLogger("sfvae_jax")


def open_text(path: str, language: Language, *, skip_corrupt: bool) -> Mapping[str, ArraySplit]:
    """The sentences of a UTF-8 file, one a line, in its order; empty lines are none.

    In a file of molecules, what follows the first word of a line is not read, as in .smi files.

    Args:
        path: of the file.
        language: of its sentences.
        skip_corrupt: whether to leave out lines that are no sentences or too long.

    Raises:
        UsageError: if it cannot be read, has no sentences, or has other lines or too long ones.
    """
    expected = f"give {language.kind}:PATH of a text file of {_LINES[language.kind]}, one a line"
    if not path:
        raise UsageError(expected)
    file = regular_file(path, f"data.name={language.kind}:")
    try:
        stat = file.stat()
        return _open(file, (stat.st_size, stat.st_mtime_ns), language, skip_corrupt)
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}; {expected}") from error


@functools.cache  # every part of the data set asks for it
def open_molecules(language: Language) -> Mapping[str, ArraySplit]:
    """The well-known molecules of `molecules.smi`, beside this module.

    Raises:
        UsageError: if one takes more places than there are.
    """
    file = Path(__file__).with_name("molecules.smi")
    lines = _read_lines(file, language.kind)
    parsed = parse(lines, language.grammar, go_on=False, label="parsing molecules")
    return {"train": ArraySplit(_examples(file, parsed, language, skip_corrupt=False))}


@functools.lru_cache(maxsize=2)
def _open(
    file: Path, stamp: tuple[int, int], language: Language, skip_corrupt: bool
) -> Mapping[str, ArraySplit]:
    """The file as it is at this size and time of change."""
    del stamp
    lines = _read_lines(file, language.kind)
    parsed = parse_file(file, lines, language.grammar, go_on=skip_corrupt)
    examples = _examples(file, parsed, language, skip_corrupt=skip_corrupt)
    known = identities(_sentences(lines, parsed.lines[parsed.lengths <= language.num_places]))
    return {"train": ArraySplit(examples, identities=known)}


def _sentences(lines: Iterable[Line], numbers: Iterable[int]) -> Iterator[bytes]:
    """The text of the lines with these numbers, without white space."""
    texts = {line.number: line.text for line in lines}
    return ("".join(texts[number].split()).encode() for number in numbers)


def _read_lines(file: Path, kind: str) -> list[Line]:
    """The lines of a file that hold text."""
    content = file.read_bytes().removeprefix(codecs.BOM_UTF8)
    lines = []
    for number, encoded in enumerate(content.splitlines(), 1):
        # A byte that is no UTF-8 becomes a character of no grammar.
        line = encoded.decode(errors="surrogateescape")
        words = line.split()
        if words:
            sentence = words[0] if kind == "molecules" else line.strip()
            lines.append(Line(number, line.index(words[0]) + 1, sentence))
    if not lines:
        raise UsageError(f"{file} is empty; expected a text file of {_LINES[kind]}, one a line")
    return lines


def _examples(file: Path, parsed: Parsed, language: Language, *, skip_corrupt: bool) -> np.ndarray:
    """Examples [N, T] of the lines that are sentences and fit; the others refused or left out."""
    places, lengths = language.num_places, parsed.lengths
    bad = {
        line: f"line {line}, column {column}: {reason}"
        for line, column, reason in zip(
            parsed.bad_lines, parsed.bad_columns, parsed.reasons, strict=True
        )
    }
    too_long = {
        line: f"line {line}: it takes {length} places, more than {places}"
        for line, length in zip(parsed.lines, lengths, strict=True)
        if length > places
    }
    faults = [fault for _, fault in sorted({**bad, **too_long}.items())]
    if faults and not skip_corrupt:
        first = [*bad.values(), *too_long.values()][0]
        more = (
            "correct it" if bad else f"set --config.data.max_length={lengths.max()}, which fits all"
        )
        raise UsageError(
            f"{file} {first}; {more}, or leave such lines out with --config.data.skip_corrupt=True"
        )
    number = len(parsed.lines) + len(bad)
    if faults:
        counts = f"{len(faults)} of the {number} lines; the first: {faults[0]}"
        if len(faults) == number:
            raise UsageError(f"{file}: nothing is left without {counts}")
        log.warning("%s: leaving out %s", file, counts)
    fits = lengths <= places
    check_places_fit(int(np.sum(fits)), places, 2)
    examples = np.full((np.sum(fits), places), language.grammar.padding, np.int16)
    examples[np.arange(places) < lengths[fits, None]] = parsed.rules[np.repeat(fits, lengths)]
    return examples
