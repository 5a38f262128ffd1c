"""Neural architectures as sequences of layers with a type and a value each (FLOW Section 4)."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import ml_collections
import numpy as np

from sfvae_jax.data.held_out import identities
from sfvae_jax.data.sequences.architecture_files import (
    ENAS_TYPES,
    LAYER_TYPE,
    Architecture,
    is_layer_type,
    parse_enas,
    parse_layers,
    read_lines,
)
from sfvae_jax.data.sequences.kind import Blocks, SequenceKind
from sfvae_jax.data.sequences.random_networks import LAYER_TYPES, MAX_LAYERS, Network, networks
from sfvae_jax.data.source import ArraySplit, DataSource
from sfvae_jax.data.stored_examples import check_places_fit
from sfvae_jax.errors import UsageError
from sfvae_jax.grammars import Grammar, Language, sequence_grammar
from sfvae_jax.options import Option, tuple_of
from sfvae_jax.paths import file_stamp, regular_file

log = logging.getLogger("sfvae_jax")


class _Format(NamedTuple):
    """The format of one kind of files.

    Attributes:
        source: the name of the source without its colon.
        parse: reads a line.
        layer_types: the vocabulary of all such files; () if each file has its own.
        value_range: the least and the greatest value that such files can have; None if each file
            has its own.
    """

    source: str
    parse: Callable[[str], Architecture]
    layer_types: tuple[str, ...] = ()
    value_range: tuple[float, float] | None = None


class _Opened(NamedTuple):
    """A data set of architectures.

    Attributes:
        language: the language, with a rule for each layer type and one for the end.
        value_range: the least and the greatest value in all splits.
        splits: float32 [N, T, 2]: in column 0 the rules of layers, of the end, then padding; in
            column 1 the values, 0 where there is no layer.
    """

    language: Language
    value_range: tuple[float, float]
    splits: Mapping[str, ArraySplit]


_JSON_LINES = _Format("architectures", parse_layers)
_ENAS = _Format("enas", parse_enas, ENAS_TYPES, (0.0, 1.0))
_FORMATS = {text_format.source: text_format for text_format in (_JSON_LINES, _ENAS)}


def _open(group: ml_collections.ConfigDict) -> _Opened:
    """Opens the architectures of a `data` group.

    Those of a file are labelled by their accuracies, float32, where it has any. `layer_types` is
    the vocabulary of "architectures:PATH"; empty, it is that of the file, sorted. `max_length` is
    T; 0 leaves room for the longest architecture and its end.

    Raises:
        UsageError: if the file cannot be read, or one of its lines cannot be used.
    """
    layer_types = tuple(group.layer_types)
    _check_layer_types(layer_types)
    source, colon, path = group.name.partition(":")
    if not (colon or source == "enas"):
        return _drawn(group.max_length)
    if not path:
        raise UsageError(
            f"data.name={source}:PATH requires the PATH of a file of architectures, one per line"
        )
    file = regular_file(path, f"data.name={source}:")
    read = functools.partial(
        _read, _FORMATS[source], file, file_stamp(file), group.max_length, group.skip_corrupt
    )
    found = read(())
    # A vocabulary that the config has kept from this very file is no reason to read it again.
    same = not layer_types or layer_types == found.language.grammar.terminals
    return found if same else read(layer_types)


def _check_layer_types(layer_types: tuple[str, ...]) -> None:
    for layer_type in layer_types:
        if not is_layer_type(layer_type):
            raise UsageError(
                f"data.layer_types: {layer_type!r} cannot be a layer type, which is {LAYER_TYPE}"
            )
    if len(set(layer_types)) < len(layer_types):
        raise UsageError(f"data.layer_types {layer_types} has a type twice; give each type once")


def _architecture(network: Network) -> Architecture:
    types, values = zip(*network, strict=True)
    return Architecture(types, values)


@functools.lru_cache(maxsize=2)
def _drawn(max_length: int) -> _Opened:
    num_places = max_length or MAX_LAYERS + 1
    if num_places <= MAX_LAYERS:
        raise UsageError(
            f"data.max_length must be 0, or at least {MAX_LAYERS + 1} for the longest network of"
            f" 'architectures' and its end; got {max_length}"
        )
    drawn = {
        split: [_architecture(network) for network in of_split]
        for split, of_split in networks().items()
    }
    return _packed(drawn, LAYER_TYPES, num_places)


@functools.lru_cache(maxsize=4)  # every split of the data set, and the model, ask for it
def _read(
    text_format: _Format,
    path: Path,
    stamp: tuple[int, int],
    max_length: int,
    skip_corrupt: bool,
    layer_types: tuple[str, ...],
) -> _Opened:
    """Reads a file as it is when it has this stamp."""
    del stamp
    found, damaged = read_lines(path, text_format.parse)
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
    types = text_format.layer_types or layer_types
    types = types or tuple(sorted({name for one in usable for name in one.types}))
    num_places = max_length or max(len(one.types) for one in usable) + 1
    return _packed({"train": usable}, types, num_places, may_grow=True)


def _problem(one: Architecture, layer_types: tuple[str, ...], max_length: int) -> str:
    """Returns what keeps an architecture from being used; empty if nothing does."""
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
    return f"{len(damaged)} of the {total} lines of {path}; the first is line {line}{reason}"


def _packed(
    splits: Mapping[str, Sequence[Architecture]],
    layer_types: Sequence[str],
    num_places: int,
    *,
    may_grow: bool = False,
) -> _Opened:
    language = _language_of(tuple(layer_types), num_places)
    grammar = language.grammar
    values = [value for found in splits.values() for one in found for value in one.values]
    return _Opened(
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
    """Returns the layers alone, so that equal ones with different labels stay together."""
    return repr([*zip(one.types, map(float, one.values), strict=True)]).encode()


def _examples(
    found: Sequence[Architecture], layer_types: Sequence[str], grammar: Grammar, num_places: int
) -> np.ndarray:
    """Returns the examples [N, T, 2] of architectures that fit."""
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


def _filled_in(group: ml_collections.ConfigDict) -> dict[str, Any]:
    """Returns the layer types of a file as it is now; it may change under its name."""
    if not group.name.startswith("architectures:"):
        return {}
    return {"layer_types": _open(group).language.grammar.terminals}


def _language(group: ml_collections.ConfigDict) -> Language:
    """Returns the language; a run that recorded its types and length needs no file for it."""
    source, colon, _ = group.name.partition(":")
    text_format = _FORMATS.get(source) if colon else None
    types = (text_format.layer_types or tuple(group.layer_types)) if text_format else ()
    if not (types and group.max_length):
        return _open(group).language
    _check_layer_types(types)
    return _language_of(types, group.max_length)


def _value_range(group: ml_collections.ConfigDict) -> tuple[float, float]:
    source, colon, _ = group.name.partition(":")
    known = _FORMATS[source].value_range if colon else None
    return known or _open(group).value_range


@functools.cache  # one object, so that functions compiled with its tables are found again
def _language_of(layer_types: tuple[str, ...], num_places: int) -> Language:
    grammar = sequence_grammar(layer_types, separator=" ")
    return Language("architectures", grammar, num_places, has_values=True)


def layers(text: str) -> list[tuple[str, float]]:
    """Returns type and value of each layer of a text such as "conv(0.5) dense(1)"."""
    pairs = (layer.removesuffix(")").rpartition("(") for layer in text.split())
    return [(layer_type, float(value)) for layer_type, _, value in pairs]


ARCHITECTURES = SequenceKind(
    "architectures",
    "architecture",
    _language,
    value_range=_value_range,
    own_options={
        "layer_types": Option(
            (),
            tuple_of(lambda name: isinstance(name, str), "names of layers, such as ('conv',)"),
            "For architectures:PATH: the layer types that the model knows; () = those in the file",
        )
    },
    filled_in=_filled_in,
    # Two architectures are the same if the types of their layers are.
    canonical=lambda text: " ".join(layer_type for layer_type, _ in layers(text)),
    drawing=Blocks(layers),
)
_HELD_OUT_BY = "the types and values of the layers, not the label"
SOURCES = (
    DataSource(
        "architectures",
        "11,000 convolutional networks, drawn layer by layer",
        lambda group, _: _open(group).splits,
        kind=ARCHITECTURES,
        options=("max_length",),
        splits=("train", "test"),
    ),
    DataSource(
        "architectures:",
        "a file of neural networks, a JSON list of [layer type, value] per line",
        lambda group, _: _open(group).splits,
        kind=ARCHITECTURES,
        options=("max_length", "layer_types"),
        splits=("train",),
        held_out_by=_HELD_OUT_BY,
    ),
    DataSource(
        "enas:",
        "a file of networks in the search space of ENAS with their accuracies, one per line",
        lambda group, _: _open(group).splits,
        kind=ARCHITECTURES,
        options=("max_length",),
        splits=("train",),
        held_out_by=_HELD_OUT_BY,
    ),
)
