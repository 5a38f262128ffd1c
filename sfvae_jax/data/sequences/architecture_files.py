"""Reads files of neural architectures, one per line; nothing in them is executed."""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from sfvae_jax.errors import UsageError

# The operations of ENAS's search space of whole networks (Pham et al. 2018), by number.
ENAS_TYPES = ("conv3x3", "sep_conv3x3", "conv5x5", "sep_conv5x5", "avg_pool3x3", "max_pool3x3")

# What a layer type is, in words; see `is_layer_type`.
LAYER_TYPE = "printable text without white space, double quotes and ->"

_MOST_SKIPS = 24  # as many as a float32's fraction has bits
_LARGEST = float(np.finfo(np.float32).max)


class Architecture(NamedTuple):
    """The layers of one network, and its label.

    Attributes:
        types: the type of each layer.
        values: the value of each layer, finite.
        label: a number such as the network's accuracy; None if the line has none.
    """

    types: Sequence[str]
    values: Sequence[float]
    label: float | None = None


class ArchitectureFile(NamedTuple):
    """Architectures by line number, from 1, and what is wrong with each of the other lines."""

    architectures: dict[int, Architecture]
    damaged: dict[int, str]


def read_lines(path: Path, parse: Callable[[str], Architecture]) -> ArchitectureFile:
    """Reads a UTF-8 file with one architecture per line; blank lines are left out.

    Args:
        path: the file's path.
        parse: reads a line, and raises ValueError if it cannot.

    Raises:
        UsageError: if the file cannot be read or is empty.
    """
    try:
        lines = path.read_bytes().removeprefix(b"\xef\xbb\xbf").splitlines()
    except OSError as error:
        raise UsageError(
            f"cannot read {path}: {error.strerror}; give the PATH of a file of architectures, one"
            " per line"
        ) from error
    architectures, damaged = {}, {}
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            architectures[number] = parse(line.decode())
        except (ValueError, RecursionError) as error:
            damaged[number] = _reason(error)
    if not architectures and not damaged:
        raise UsageError(f"{path} is empty; expected architectures, one per line")
    return ArchitectureFile(architectures, damaged)


def parse_layers(line: str) -> Architecture:
    """Reads a line [[layer type, value], ...] of JSON, with at least one layer.

    Raises:
        ValueError: if the line has another form, or a value is not finite in float32.
    """
    layers = json.loads(line)
    if not isinstance(layers, list) or not layers:
        raise ValueError("expected a list of [layer type, value] with at least one layer")
    for number, layer in enumerate(layers, 1):
        if not _is_layer(layer):
            raise ValueError(
                f"layer {number} is {_shown(layer)}; expected [layer type, value], a string and a"
                " finite number"
            )
        _check_type(layer[0])
    types, values = zip(*layers, strict=True)
    return Architecture(tuple(map(sys.intern, types)), values)


def parse_enas(line: str) -> Architecture:
    """Reads a line `[[op], [op, skip], [op, skip, skip], ...], accuracy` with at most 25 layers.

    Layer i has i skips in {0, 1}: skip k says whether it also takes the input of layer k, for
    k = 0, ..., i - 1. Its type is its operation, one of `ENAS_TYPES`. Its value in [0, 1) is
    sum_j skip_(i-j) / 2^j, j = 1, ..., i: the skips as a binary fraction, the nearest layer first.

    Raises:
        ValueError: if the line has another form.
    """
    try:
        found = json.loads(f"[{line}]")
    except json.JSONDecodeError as error:
        error.colno = max(error.colno - 1, 1)  # the bracket is not in the line
        raise
    if len(found) != 2 or not isinstance(found[0], list) or not found[0]:
        raise ValueError("expected a list of layers, a comma and an accuracy")
    layers, accuracy = found
    if not _is_number(accuracy):
        raise ValueError(f"the accuracy is {_shown(accuracy)}; expected a finite number")
    if len(layers) > _MOST_SKIPS + 1:
        raise ValueError(
            f"it has {len(layers)} layers; at most {_MOST_SKIPS + 1} can be represented exactly"
        )
    for i, layer in enumerate(layers):
        if not _is_enas_layer(layer, i):
            raise ValueError(
                f"layer {i} is {_shown(layer)}; expected an operation in 0..{len(ENAS_TYPES) - 1}"
                f" and {i} skips in 0..1"
            )
    types = [ENAS_TYPES[layer[0]] for layer in layers]
    return Architecture(types, [_fraction(layer[1:]) for layer in layers], accuracy)


def enas_skips(value: float, layer: int) -> list[int]:
    """Returns the skips of a layer of ENAS, [layer], from its value: the inverse of `parse_enas`.

    Args:
        value: any number, such as a decoder's; the nearest binary fraction counts.
        layer: the layer's number, from 0.
    """
    bits = min(max(round(float(value) * 2**layer), 0), 2**layer - 1)
    return [bits >> k & 1 for k in range(layer)]


def _fraction(skips: Sequence[int]) -> float:
    # The last skip, that of the nearest layer, is the most significant bit.
    return sum(skip << k for k, skip in enumerate(skips)) / 2 ** len(skips)


def _is_number(value: Any) -> bool:
    """Returns whether an entry of JSON is a number that is finite in float32."""
    return type(value) in (int, float) and -_LARGEST <= value <= _LARGEST


def _is_layer(layer: Any) -> bool:
    pair = isinstance(layer, list) and len(layer) == 2
    return pair and isinstance(layer[0], str) and _is_number(layer[1])


def _is_enas_layer(layer: Any, number: int) -> bool:
    if not isinstance(layer, list) or len(layer) != number + 1:
        return False
    if not all(type(entry) is int for entry in layer):
        return False
    return 0 <= layer[0] < len(ENAS_TYPES) and all(0 <= skip <= 1 for skip in layer[1:])


@functools.lru_cache(maxsize=4096)  # a file has few types and many layers
def _check_type(layer_type: str) -> None:
    if not is_layer_type(layer_type):
        raise ValueError(f"{_shown(layer_type)} cannot be a layer type, which is {LAYER_TYPE}")


def is_layer_type(layer_type: Any) -> bool:
    """Returns whether a grammar can have this terminal, so that its sentences can be read again."""
    if not isinstance(layer_type, str) or '"' in layer_type or "->" in layer_type:
        return False
    return layer_type.split() == [layer_type] and layer_type.isprintable()


def _shown(entry: Any) -> str:
    text = json.dumps(entry)
    return text if len(text) <= 40 else f"{text[:37]}..."


def _reason(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f", column {error.colno}: {error.msg}"
    if isinstance(error, UnicodeDecodeError):
        return f", byte {error.start + 1}: not UTF-8"
    if isinstance(error, RecursionError):
        return ": lists are nested too deeply"
    return f": {error}"
