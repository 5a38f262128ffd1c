"""Molecules in SMILES: well-known ones that ship with the library, or those of a file."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import ml_collections

from sfvae_jax.data.sequences.kind import GrammarSizes, Images, NoScore, Score, SequenceKind
from sfvae_jax.data.sequences.text import (
    TEXT_OPTIONS,
    TextFormat,
    open_shipped,
    open_text,
    text_language,
)
from sfvae_jax.data.source import DataSource
from sfvae_jax.grammars import COMMON_SMILES, SMILES, Language, chemistry
from sfvae_jax.options import Option, one_of

# The grammars that `data.elements` chooses from.
GRAMMARS = {"all": SMILES, "common": COMMON_SMILES}

# Drug-like molecules (ZINC) take up to 112 rules, 47 on average.
_MOST_RULES, _MOST_CHARACTERS = 128, 120
_SMI = TextFormat("molecules", "SMILES", first_word_only=True)
_OPTIONS = (*TEXT_OPTIONS, "elements")


def _elements(group: ml_collections.ConfigDict) -> dict[str, Any]:
    return {"elements": group.elements or "all"}


def _language(group: ml_collections.ConfigDict) -> Language:
    grammar = GRAMMARS[_elements(group)["elements"]]
    return text_language("molecules", grammar, group, _MOST_RULES, _MOST_CHARACTERS)


def _penalized_log_p(training: Callable[[], Iterable[str]]) -> Callable[[str], float]:
    """Returns `chemistry.penalized_log_p`, standardised over the training set."""
    try:
        statistics = chemistry.score_statistics(training())
    except chemistry.NoMolecule as error:
        raise NoScore(
            "RDKit cannot read any of the training molecules, so that none has a score"
        ) from error
    return lambda text: chemistry.penalized_log_p(text, statistics)


MOLECULES = SequenceKind(
    "molecules",
    "molecule",
    _language,
    filled_in=_elements,
    before={"elements": "common"},
    is_valid=chemistry.is_valid,
    canonical=chemistry.canonical,
    score=Score("penalised log P", "more", _penalized_log_p),
    own_options={
        "elements": Option(
            "",
            one_of("elements", ("", *GRAMMARS)),
            "For molecules: all = any element in SMILES brackets; common = only those of drug-like"
            " molecules, with a smaller grammar; empty = all",
        )
    },
    drawing=Images(chemistry.molecule_image),
    grammar_sizes=GrammarSizes((9, 9, 10), (9, 9, 11), (501, 501, 501)),
    missing=chemistry.rdkit_missing,
)
SOURCES = (
    DataSource(
        "molecules",
        "350 well-known molecules, written in SMILES",
        lambda group, _: open_shipped(
            Path(__file__).with_name("molecules.smi"), _language(group), _SMI
        ),
        kind=MOLECULES,
        options=_OPTIONS,
        splits=("train",),
    ),
    DataSource(
        "molecules:",
        "a text file of molecules in SMILES, one per line",
        lambda group, path: open_text(
            path, _language(group), _SMI, skip_corrupt=group.skip_corrupt
        ),
        kind=MOLECULES,
        options=_OPTIONS,
        splits=("train",),
        held_out_by="the SMILES without white space",
    ),
)
