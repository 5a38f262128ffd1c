"""Data sets of sequences: equations, molecules and architectures, by name."""

from __future__ import annotations

import functools
from collections.abc import Mapping

import ml_collections

from sfvae_jax.data.sequences.equations import MOST_CHARACTERS, MOST_RULES, open_drawn_equations
from sfvae_jax.data.sequences.text import open_molecules, open_text
from sfvae_jax.data.source_split import SourceSplit
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
KINDS = {
    "equations": "equations",
    "molecules": "molecules",
    "architectures": "architectures",
    "enas": "architectures",
}
"""The kind of the sequences, by the name of the data set without ":PATH"."""

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
_OF_IMAGES = {
    "crop": 0,
    "channels": 0,
    "image_size": 0,
    "pad_to": 0,
    "scale": 1.0,
    "binarization": "none",
}
_OF_SEQUENCES = {"tokens": "grammar", "max_length": 0, "layer_types": (), "elements": ""}


def language(config: ml_collections.ConfigDict) -> Language | None:
    """What the sequences of a data set are made of and say; None for images.

    Args:
        config: the `data` group.

    Raises:
        UsageError: if its options do not fit.
    """
    check_options(config)
    kind = _kind(config.name)
    if kind is None:
        return None
    if kind == "architectures":
        from sfvae_jax.data.sequences.architectures import architecture_language

        return architecture_language(config)
    return _text_language(kind, config.elements, config.tokens, config.max_length)


def layer_types(config: ml_collections.ConfigDict) -> tuple[str, ...]:
    """What `data.layer_types` becomes: for "architectures:PATH" the types in the file now.

    Args:
        config: the `data` group.

    Raises:
        UsageError: if the file cannot be read.
    """
    name, colon, _ = config.name.partition(":")
    if name != "architectures" or not colon:
        return tuple(config.layer_types)
    return language(config).grammar.terminals


def elements(config: ml_collections.ConfigDict) -> str:
    """What `data.elements` becomes: for molecules "all" where it is empty.

    Args:
        config: the `data` group.
    """
    return config.elements or ("all" if _kind(config.name) == "molecules" else "")


def elements_before(name: str) -> str:
    """What `data.elements` was in runs of earlier versions, which had no such option.

    Args:
        name: of its data set.
    """
    return "common" if _kind(name) == "molecules" else ""


def value_range(config: ml_collections.ConfigDict) -> tuple[float, float] | None:
    """Least and greatest value of sequences that have values; None for others and for images.

    Args:
        config: the `data` group.

    Raises:
        UsageError: if they cannot be read.
    """
    if _kind(config.name) != "architectures":
        return None
    from sfvae_jax.data.sequences import architectures

    return architectures.value_range(config)


def open_sequences(config: ml_collections.ConfigDict) -> Mapping[str, SourceSplit] | None:
    """The source of sequences that a `data` group names; None if it names none.

    Returns:
        Its parts by name, whose examples are those of its language; "train" is always there.

    Raises:
        UsageError: if it cannot be read, or its options do not fit.
    """
    spoken = language(config)
    if spoken is None:
        return None
    if spoken.kind == "architectures":
        from sfvae_jax.data.sequences.architectures import open_architectures

        return open_architectures(config.name, config)
    _, colon, path = config.name.partition(":")
    if not colon and spoken.kind == "equations":
        return open_drawn_equations(spoken)
    if not colon:
        return open_molecules(spoken)
    return open_text(path, spoken, skip_corrupt=config.skip_corrupt)


def check_options(config: ml_collections.ConfigDict) -> None:
    """Refuses options that do not apply to the data set, and impossible paths; reads nothing.

    Raises:
        UsageError: naming them.
    """
    if "\0" in config.name:
        raise UsageError(
            f"data.name {config.name!r} has a NUL character, which no path can have; correct it"
        )
    kind = _kind(config.name)
    foreign, what = (_OF_IMAGES, "images") if kind else (_OF_SEQUENCES, "sequences")
    given = [f"data.{key}" for key, default in foreign.items() if config[key] != default]
    if given:
        owner = f"the {kind} of {config.name!r}" if kind else f"the images of {config.name!r}"
        raise UsageError(f"{', '.join(given)}: for {what} only; leave at the default for {owner}")
    if kind == "architectures" and config.tokens != "grammar":
        raise UsageError("data.tokens only applies to equations and molecules; leave it 'grammar'")
    if kind != "architectures" and tuple(config.layer_types):
        raise UsageError(
            f"data.layer_types only applies to architectures:PATH; leave it () for {kind}"
        )
    if kind != "molecules" and config.elements:
        raise UsageError(
            f"data.elements={config.elements!r} only applies to molecules; leave it empty for the"
            f" {kind} of {config.name!r}"
        )


def _kind(name: str) -> str | None:
    return KINDS.get(name.partition(":")[0])


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
