"""Sequences written as text: their languages, and files with one sentence per line."""

from __future__ import annotations

import codecs
import dataclasses
import functools
import logging
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import ml_collections
import numpy as np

from sfvae_jax.data.held_out import identities
from sfvae_jax.data.sequences.parsed import Line, Parsed, parse, parse_file
from sfvae_jax.data.source import ArraySplit
from sfvae_jax.data.stored_examples import check_places_fit
from sfvae_jax.errors import UsageError, unknown_name
from sfvae_jax.grammars import Grammar, Language, sequence_grammar
from sfvae_jax.options import Option, one_of
from sfvae_jax.paths import file_stamp, regular_file

# What `data.tokens` makes sequences of: rules of the grammar, or characters of the text.
TOKENS = ("grammar", "characters")
TOKENS_OPTION = Option(
    "grammar",
    one_of("tokens", TOKENS),
    "For equations and molecules: what a sequence is made of, rules of the grammar or characters",
)
# The options of `data` that `text_language` reads.
TEXT_OPTIONS = ("tokens", "max_length")

log = logging.getLogger("sfvae_jax")


@dataclasses.dataclass(frozen=True)
class TextFormat:
    """How the sentences of one kind stand in a file.

    Attributes:
        source: the name of the source without its colon, such as "molecules".
        sentences: what the lines hold, a plural such as "SMILES".
        first_word_only: whether only the first word of a line is read, as in .smi files.
    """

    source: str
    sentences: str
    first_word_only: bool = False

    @property
    def file(self) -> str:
        """What such a file is, in words."""
        return f"a text file of {self.sentences}, one per line"


# ---- languages ----


def text_language(
    kind: str,
    grammar: Grammar,
    group: ml_collections.ConfigDict,
    most_rules: int,
    most_characters: int,
) -> Language:
    """Returns the language of sentences of a grammar, made of its rules or of characters.

    Args:
        kind: the name of the kind of sequences.
        grammar: the grammar of the sentences.
        group: the `data` group; `tokens` and `max_length` are read.
        most_rules: the number of places where `max_length` is 0, for sequences of rules.
        most_characters: the number of characters where `max_length` is 0, for sequences of
            characters; one place more is for the end.

    Raises:
        UsageError: if `max_length` is too small for any sentence.
    """
    if group.tokens not in TOKENS:
        raise UsageError(f"data.tokens: {unknown_name('tokens', group.tokens, TOKENS)}")
    of_rules = group.tokens == "grammar"
    default = most_rules if of_rules else most_characters + 1
    found = _language(
        kind, grammar if of_rules else _character_grammar(grammar), group.max_length or default
    )
    least = found.tables.least[found.tables.start]
    if found.num_places < least:
        raise UsageError(
            f"data.max_length is {group.max_length}, but the shortest sequence of {kind} takes"
            f" {least} places; set it to {least} or more, or to 0"
        )
    return found


@functools.cache  # one object, so that functions compiled with its tables are found again
def _language(kind: str, grammar: Grammar, num_places: int) -> Language:
    return Language(kind, grammar, num_places)


@functools.cache
def _character_grammar(grammar: Grammar) -> Grammar:
    """Returns the grammar of all strings of the characters in a grammar's terminals."""
    characters = dict.fromkeys("".join(grammar.terminals))
    return sequence_grammar(tuple(characters), ignored=grammar.separator)


# ---- files ----


def open_text(
    path: str, language: Language, text_format: TextFormat, *, skip_corrupt: bool
) -> Mapping[str, ArraySplit]:
    """Returns the sentences of a UTF-8 file in the order of its lines; empty lines are left out.

    Args:
        path: the file's path.
        language: the language of the sentences.
        text_format: how they stand in the file.
        skip_corrupt: whether to leave out lines that are not sentences or are too long.

    Raises:
        UsageError: if the file cannot be read or is empty, or one of its lines cannot be used.
    """
    expected = f"data.name={text_format.source}:PATH requires the PATH of {text_format.file}"
    if not path:
        raise UsageError(expected)
    file = regular_file(path, f"data.name={text_format.source}:")
    try:
        return _open(file, file_stamp(file), language, text_format, skip_corrupt)
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}; {expected}") from error


@functools.cache  # every split of the data set asks for it
def open_shipped(
    file: Path, language: Language, text_format: TextFormat
) -> Mapping[str, ArraySplit]:
    """Returns the sentences of a file that ships with the library.

    Raises:
        UsageError: if one of them takes more places than the language has.
    """
    lines = _read_lines(file, text_format)
    label = f"parsing {text_format.source}"
    parsed = parse(lines, language.grammar, go_on=False, label=label)
    return {"train": ArraySplit(_examples(file, parsed, language, skip_corrupt=False))}


@functools.lru_cache(maxsize=2)
def _open(
    file: Path,
    stamp: tuple[int, int],
    language: Language,
    text_format: TextFormat,
    skip_corrupt: bool,
) -> Mapping[str, ArraySplit]:
    """Returns the sentences of a file as it is when it has this stamp."""
    del stamp
    lines = _read_lines(file, text_format)
    parsed = parse_file(file, lines, language.grammar, go_on=skip_corrupt)
    examples = _examples(file, parsed, language, skip_corrupt=skip_corrupt)
    known = identities(_sentences(lines, parsed.lines[parsed.lengths <= language.num_places]))
    return {"train": ArraySplit(examples, identities=known)}


def _sentences(lines: Iterable[Line], numbers: Iterable[int]) -> Iterator[bytes]:
    """Yields the text of the lines with these numbers, without white space."""
    texts = {line.number: line.text for line in lines}
    return ("".join(texts[number].split()).encode() for number in numbers)


def _read_lines(file: Path, text_format: TextFormat) -> list[Line]:
    """Returns the lines of a file that are not blank."""
    content = file.read_bytes().removeprefix(codecs.BOM_UTF8)
    lines = []
    for number, encoded in enumerate(content.splitlines(), 1):
        # A byte that is not UTF-8 becomes a character that no grammar has.
        line = encoded.decode(errors="surrogateescape")
        words = line.split()
        if words:
            sentence = words[0] if text_format.first_word_only else line.strip()
            lines.append(Line(number, line.index(words[0]) + 1, sentence))
    if not lines:
        raise UsageError(f"{file} is empty; expected {text_format.file}")
    return lines


def _examples(file: Path, parsed: Parsed, language: Language, *, skip_corrupt: bool) -> np.ndarray:
    """Returns the examples [N, T] of the lines that are sentences and fit.

    Raises:
        UsageError: if there are other lines and they are not to be skipped, or nothing is left.
    """
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
            raise UsageError(f"{file}: no line can be used. Left out: {counts}")
        log.warning("%s: leaving out %s", file, counts)
    fits = lengths <= places
    check_places_fit(int(np.sum(fits)), places, 2)
    examples = np.full((int(np.sum(fits)), places), language.grammar.padding, np.int16)
    examples[np.arange(places) < lengths[fits, None]] = parsed.rules[np.repeat(fits, lengths)]
    return examples
