"""Neural architectures as sequences of layers: a type and a value each (FLOW Section 4)."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import ml_collections
import numpy as np

from sfvae_jax.data.held_out import identities
from sfvae_jax.data.sequences.architecture_files import (
    ENAS_TYPES,
    NO_LAYER_TYPE,
    Architecture,
    is_layer_type,
    parse_enas,
    parse_layers,
    read_lines,
)
from sfvae_jax.data.sequences.random_networks import LAYER_TYPES, MAX_LAYERS, networks
from sfvae_jax.data.source import ArraySplit
from sfvae_jax.data.stored_examples import check_places_fit
from sfvae_jax.errors import UsageError
from sfvae_jax.grammars import Grammar, Language, sequence_grammar
from sfvae_jax.paths import regular_file

DRAWN = "architectures"
_PARSERS: dict[str, Callable[[str], Architecture]] = {
    "architectures": parse_layers,
    "enas": parse_enas,
}

log = logging.getLogger("sfvae_jax")


def open_architectures(name: str, config: ml_collections.ConfigDict) -> Mapping[str, ArraySplit]:
    """Architectures x, float32 [N, T, 2]: layer types in column 0, values in column 1.

    Column 0 holds indices of the rules of `architecture_language`: of the layers, of the end, then
    padding. Column 1 is 0 where there is no layer.

    Args:
        name: "architectures" for convolutional networks drawn by a seed (`networks`);
            "architectures:PATH" of lines [[layer type, value], ...] of JSON (`parse_layers`); or
            "enas:PATH" (`parse_enas`), labelled by their accuracies, float32.
        config: the `data` group: layer_types (the vocabulary of "architectures:PATH"; empty: that
            of the file, sorted), max_length (T; 0: the longest architecture and its end) and
            skip_corrupt (whether to leave out lines that cannot be used).

    Returns:
        Splits: train and test of what is drawn, train of a file.

    Raises:
        UsageError: if the file cannot be read, or one of its lines cannot be used.
    """
    return _open(name, config).parts


def architecture_language(config: ml_collections.ConfigDict) -> Language:
    """What the architectures of a `data` group are made of: one rule a layer type, and the end.

    Raises:
        UsageError: as `open_architectures` does.
    """
    return _open(config.name, config).language


def value_range(config: ml_collections.ConfigDict) -> tuple[float, float]:
    """Least and greatest value of the architectures of a `data` group, all parts together.

    Raises:
        UsageError: as `open_architectures` does.
    """
    return _open(config.name, config).value_range


class _Architectures(NamedTuple):
    language: Language
    value_range: tuple[float, float]
    parts: Mapping[str, ArraySplit]


def _open(name: str, config: ml_collections.ConfigDict) -> _Architectures:
    layer_types = tuple(config.layer_types)
    _check_layer_types(layer_types)
    if name == DRAWN:
        return _drawn(config.max_length)
    kind, _, path = name.partition(":")
    if not path:
        raise UsageError(f"give {kind}:PATH of a file of architectures, one a line")
    file = regular_file(path, f"data.name={kind}:")
    stat = file.stat()
    stamp = (stat.st_size, stat.st_mtime_ns)
    read = functools.partial(_read, kind, file, stamp, config.max_length, config.skip_corrupt)
    found = read(())
    # A vocabulary that the config has kept from the file itself is no reason to read it again.
    same = not layer_types or layer_types == found.language.grammar.terminals
    return found if same else read(layer_types)


def _check_layer_types(layer_types: tuple[str, ...]) -> None:
    for layer_type in layer_types:
        if not is_layer_type(layer_type):
            raise UsageError(f"data.layer_types: {layer_type!r} is no layer type: {NO_LAYER_TYPE}")
    if len(set(layer_types)) < len(layer_types):
        raise UsageError(f"data.layer_types {layer_types} has a type twice; give each once")


@functools.lru_cache(maxsize=2)
def _drawn(max_length: int) -> _Architectures:
    num_places = max_length or MAX_LAYERS + 1
    if num_places <= MAX_LAYERS:
        raise UsageError(
            f"data.max_length must be 0, or at least {MAX_LAYERS + 1} for the longest of"
            f" {DRAWN!r} and its end; got {max_length}"
        )
    drawn = {
        split: [Architecture(*zip(*network, strict=True)) for network in of_split]
        for split, of_split in networks().items()
    }
    return _packed(drawn, LAYER_TYPES, num_places)


@functools.lru_cache(maxsize=4)  # every part of the data set, and the model, ask for it
def _read(
    kind: str,
    path: Path,
    stamp: tuple[int, int],
    max_length: int,
    skip_corrupt: bool,
    layer_types: tuple[str, ...],
) -> _Architectures:
    """The file as it is at this size and time of change."""
    del stamp
    found, damaged = read_lines(path, _PARSERS[kind])
    total = len(found) + len(damaged)
    problems = {line: _problem(one, layer_types, max_length) for line, one in found.items()}
    damaged |= {line: problem for line, problem in problems.items() if problem}
    usable = [one for line, one in found.items() if line not in damaged]
    if damaged and not (skip_corrupt and usable):
        raise UsageError(
            f"cannot use {_first(damaged, total, path)}; correct them"
            + (", or leave them out with --config.data.skip_corrupt=True" if usable else "")
        )
    if damaged:
        log.warning("leaving out %s", _first(damaged, total, path))
    if kind == "enas":
        layer_types = ENAS_TYPES
    types = layer_types or tuple(sorted({name for one in usable for name in one.types}))
    num_places = max_length or max(len(one.types) for one in usable) + 1
    return _packed({"train": usable}, types, num_places, may_grow=True)


def _problem(one: Architecture, layer_types: tuple[str, ...], max_length: int) -> str:
    """What keeps an architecture from being used; empty if nothing does."""
    length = len(one.types)
    if max_length and length >= max_length:
        return (
            f": {length} layers and the end take {length + 1} places, more than data.max_length"
            f" {max_length}"
        )
    unknown = [name for name in one.types if name not in layer_types] if layer_types else ()
    return f": layer type {unknown[0]!r} is not among data.layer_types" if unknown else ""


def _first(damaged: Mapping[int, str], total: int, path: Path) -> str:
    line, reason = min(damaged.items())
    return f"{len(damaged)} of the {total} lines of {path}, first line {line}{reason}"


def _packed(
    splits: Mapping[str, Sequence[Architecture]],
    layer_types: Sequence[str],
    num_places: int,
    *,
    may_grow: bool = False,
) -> _Architectures:
    grammar = sequence_grammar(layer_types, separator=" ")
    language = Language("architectures", grammar, num_places, has_values=True)
    values = [value for found in splits.values() for one in found for value in one.values]
    return _Architectures(
        language,
        (min(values), max(values)),
        {
            split: ArraySplit(
                _examples(found, layer_types, grammar, num_places),
                _labels(found),
                identities=identities(map(_content, found)) if may_grow else None,
            )
            for split, found in splits.items()
        },
    )


def _content(one: Architecture) -> bytes:
    """The layers alone, so that the same ones with another label stay together."""
    return repr([*zip(one.types, map(float, one.values), strict=True)]).encode()


def _examples(
    found: Sequence[Architecture], layer_types: Sequence[str], grammar: Grammar, num_places: int
) -> np.ndarray:
    """[N, T, 2] of architectures that fit."""
    index = {name: i for i, name in enumerate(layer_types)}
    lengths = np.array([len(one.types) for one in found])
    check_places_fit(len(found), num_places, 8)
    x = np.zeros((len(found), num_places, 2), np.float32)
    x[:, :, 0] = grammar.padding
    x[np.arange(len(found)), lengths, 0] = grammar.padding - 1  # the last rule, the end
    rows = np.repeat(np.arange(len(found)), lengths)
    places = np.arange(len(rows)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    x[rows, places, 0] = [index[name] for one in found for name in one.types]
    x[rows, places, 1] = [value for one in found for value in one.values]
    return x


def _labels(found: Sequence[Architecture]) -> np.ndarray | None:
    if found[0].label is None:
        return None
    return np.array([one.label for one in found], np.float32)
