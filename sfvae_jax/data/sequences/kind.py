"""What the sequences of one kind are made of."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import ml_collections

from sfvae_jax.grammars import Language


def _nothing(group: ml_collections.ConfigDict) -> dict[str, Any]:
    return {}


@dataclasses.dataclass(frozen=True)
class SequenceKind:
    """One kind of sequences, such as molecules; its functions take the `data` group.

    Attributes:
        name: as `Language.kind` has it.
        language: the language of the data set. It raises UsageError if the options do not fit, or
            a file that the language depends on cannot be read.
        value_range: the least and the greatest value of sequences that have values; None for a kind
            without values. It raises UsageError if the data cannot be read.
        filled_in: options, by name, that are left open in the group and that the data decide; they
            are kept with the run.
        before: options, by name, as runs of earlier versions had them that did not name them.
    """

    name: str
    language: Callable[[ml_collections.ConfigDict], Language]
    value_range: Callable[[ml_collections.ConfigDict], tuple[float, float]] | None = None
    filled_in: Callable[[ml_collections.ConfigDict], dict[str, Any]] = _nothing
    before: Mapping[str, Any] = dataclasses.field(default_factory=dict)
