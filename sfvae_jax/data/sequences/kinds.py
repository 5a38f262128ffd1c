"""The kinds of sequences and their sources: equations, molecules and architectures."""

from __future__ import annotations

import functools
from typing import Any

import ml_collections

from sfvae_jax.data.sequences import architectures
from sfvae_jax.data.sequences.equations import MOST_CHARACTERS, MOST_RULES, open_drawn_equations
from sfvae_jax.data.sequences.kind import SequenceKind
from sfvae_jax.data.sequences.text import open_molecules, open_text
from sfvae_jax.data.source import DataSource
from sfvae_jax.errors import UsageError
from sfvae_jax.grammars import (
    COMMON_SMILES,
    EXPRESSIONS,
    SMILES,
    Grammar,
    Language,
    sequence_grammar,
)

TOKENS = ("grammar", "characters")
ELEMENTS = ("all", "common")

_GRAMMARS = {
    ("equations", ""): EXPRESSIONS,
    ("molecules", ""): SMILES,
    ("molecules", "all"): SMILES,
    ("molecules", "common"): COMMON_SMILES,
}
_PLACES = {
    ("equations", "grammar"): MOST_RULES,
    ("equations", "characters"): MOST_CHARACTERS + 1,  # and the end
    ("molecules", "grammar"): 128,  # drug-like molecules (ZINC) take up to 112 rules, 47 on average
    ("molecules", "characters"): 121,
}


def _equations(group: ml_collections.ConfigDict) -> Language:
    return _text_language("equations", group.elements, group.tokens, group.max_length)


def _molecules(group: ml_collections.ConfigDict) -> Language:
    return _text_language("molecules", group.elements, group.tokens, group.max_length)


def _all_elements(group: ml_collections.ConfigDict) -> dict[str, Any]:
    return {"elements": group.elements or "all"}


def _layer_types(group: ml_collections.ConfigDict) -> dict[str, Any]:
    """The layer types of a file as it is now, which may change under its name."""
    if not group.name.startswith("architectures:"):
        return {}
    return {"layer_types": architectures.architecture_language(group).grammar.terminals}


EQUATIONS = SequenceKind("equations", _equations)
MOLECULES = SequenceKind(
    "molecules", _molecules, filled_in=_all_elements, before={"elements": "common"}
)
ARCHITECTURES = SequenceKind(
    "architectures",
    architectures.architecture_language,
    value_range=architectures.value_range,
    filled_in=_layer_types,
)
KINDS = {kind.name: kind for kind in (EQUATIONS, MOLECULES, ARCHITECTURES)}

_TEXT_OPTIONS = ("tokens", "max_length")

SOURCES = (
    DataSource(
        "equations",
        "100,000 arithmetic expressions, drawn from a grammar",
        lambda group, _: open_drawn_equations(_equations(group)),
        kind=EQUATIONS,
        options=_TEXT_OPTIONS,
        splits=("train", "test"),
    ),
    DataSource(
        "equations:",
        "a text file of arithmetic expressions, one a line",
        lambda group, path: open_text(path, _equations(group), skip_corrupt=group.skip_corrupt),
        kind=EQUATIONS,
        options=_TEXT_OPTIONS,
        splits=("train",),
        held_out_by="the expression without white space",
    ),
    DataSource(
        "molecules",
        "350 well-known molecules, written in SMILES",
        lambda group, _: open_molecules(_molecules(group)),
        kind=MOLECULES,
        options=(*_TEXT_OPTIONS, "elements"),
        splits=("train",),
    ),
    DataSource(
        "molecules:",
        "a text file of molecules in SMILES, one a line",
        lambda group, path: open_text(path, _molecules(group), skip_corrupt=group.skip_corrupt),
        kind=MOLECULES,
        options=(*_TEXT_OPTIONS, "elements"),
        splits=("train",),
        held_out_by="the SMILES without white space",
    ),
    DataSource(
        "architectures",
        "11,000 convolutional networks, drawn layer by layer",
        lambda group, _: architectures.open_architectures(group.name, group),
        kind=ARCHITECTURES,
        options=("max_length",),
        splits=("train", "test"),
    ),
    DataSource(
        "architectures:",
        "a file of neural networks, a JSON list of [layer type, value] a line",
        lambda group, _: architectures.open_architectures(group.name, group),
        kind=ARCHITECTURES,
        options=("max_length", "layer_types"),
        splits=("train",),
        held_out_by="the types and values of the layers, not the label",
    ),
    DataSource(
        "enas:",
        "a file of networks in the search space of ENAS with their accuracies, one a line",
        lambda group, _: architectures.open_architectures(group.name, group),
        kind=ARCHITECTURES,
        options=("max_length",),
        splits=("train",),
        held_out_by="the types and values of the layers, not the label",
    ),
)


@functools.cache  # one object, so that what is compiled with its tables is found again
def _text_language(kind: str, elements: str, tokens: str, max_length: int) -> Language:
    if tokens not in TOKENS:
        raise UsageError(f"data.tokens must be one of {', '.join(TOKENS)}, got {tokens!r}")
    grammar = _GRAMMARS[kind, elements]
    grammar = grammar if tokens == "grammar" else _character_grammar(grammar)
    places = max_length or _PLACES[kind, tokens]
    found = Language(kind, grammar, places)
    least = found.tables.least[found.tables.start]
    if places < least:
        raise UsageError(
            f"data.max_length={max_length}: no sequence of {kind} is as short; give {least} or more"
        )
    return found


@functools.cache
def _character_grammar(grammar: Grammar) -> Grammar:
    """All sequences of the characters of which a grammar's terminals are made."""
    characters = dict.fromkeys("".join(grammar.terminals))
    return sequence_grammar(tuple(characters), ignored=grammar.separator)
