"""What a kind of sequences is: its language, how good its texts are, and how they are drawn."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal

import ml_collections
import numpy as np

from sfvae_jax.grammars import Language
from sfvae_jax.options import Option


class NoScore(ValueError):
    """The texts of a data set cannot be scored; the message says why."""


@dataclasses.dataclass(frozen=True)
class Score:
    """How good a text is, which a search of the latent space improves.

    Attributes:
        name: the label of its axis in pictures.
        better: whether a greater score ("more") or a smaller one ("less") is better.
        fit: takes a function that returns the texts of the training set, and returns the function
            that scores a valid text. It raises NoScore if there can be none.
        worst: the score that a search gives to an invalid text; None: the worst score of a valid
            text so far.
    """

    name: str
    better: Literal["more", "less"]
    fit: Callable[[Callable[[], Iterable[str]]], Callable[[str], float]]
    worst: float | None = None

    @property
    def sign(self) -> float:
        """The factor, 1.0 or -1.0, by which greater scores become better ones."""
        return 1.0 if self.better == "more" else -1.0


@dataclasses.dataclass(frozen=True)
class Curves:
    """Draws each valid text as a curve y(x).

    Attributes:
        values: y of a text at points x, both [N].
        limit: x goes from -limit to limit.
        target: a text whose curve a search is to come close to, if there is one.
    """

    values: Callable[[str, np.ndarray], np.ndarray]
    limit: float
    target: str = ""


@dataclasses.dataclass(frozen=True)
class Images:
    """Draws each valid text as an image of its own.

    Attributes:
        image: the image of a text, uint8 [height, width, 3], from (width, height) in pixels.
    """

    image: Callable[[str, tuple[int, int]], np.ndarray | None]


@dataclasses.dataclass(frozen=True)
class Blocks:
    """Draws each text as a row of blocks: their colour is a type, their height a value.

    Attributes:
        blocks: type and value of each block of a text.
    """

    blocks: Callable[[str], list[tuple[str, float]]]


@dataclasses.dataclass(frozen=True)
class GrammarSizes:
    """The sizes of the layers of model 'grammar', except its dense layers.

    The defaults are those of the GrammarVAE's authors for expressions.

    Attributes:
        channels: the number of filters of each of the encoder's convolutions.
        kernel_sizes: the length of each of these convolutions, in places.
        decoder_sizes: the number of units of each of the decoder's recurrent layers.
    """

    channels: tuple[int, ...] = (2, 3, 4)
    kernel_sizes: tuple[int, ...] = (2, 3, 4)
    decoder_sizes: tuple[int, ...] = (100, 100, 100)


def _is_written(text: str) -> bool:
    return bool(text.strip())


def _without_spaces(text: str) -> str:
    return "".join(text.split())


def _nothing_missing() -> str:
    return ""


def _nothing(group: ml_collections.ConfigDict) -> dict[str, Any]:
    return {}


@dataclasses.dataclass(frozen=True)
class SequenceKind:
    """One kind of sequences, such as molecules.

    Functions of a group take the `data` group of a config. The `DataSource`s of the kind say where
    the sequences come from.

    Attributes:
        name: as `Language.kind` has it, a plural such as "molecules".
        singular: what one valid text is called, such as "molecule".
        language: the language of the data set. It raises UsageError if the options do not fit, or
            a file that the language depends on cannot be read.
        own_options: options that this kind adds to the group `data`; its `DataSource`s name those
            that they take.
        value_range: the least and the greatest value of sequences that have values; None for a kind
            without values. It raises UsageError if the data cannot be read.
        filled_in: returns values, by name, for the options that the group leaves to the data; they
            are kept with the run.
        before: the values, by name, of options that runs of earlier versions did not record.
        is_valid: whether a text is a meaningful sequence of this kind.
        canonical: one form for all valid texts that mean the same; None for an invalid text that
            has none. By it, evaluations count different and new texts.
        score: how good a text is; None if there is no such measure.
        drawing: how examples are drawn; None: as texts alone.
        grammar_sizes: the sizes of model 'grammar' where a config leaves them open.
        missing: returns why this machine cannot tell validity, score and drawing, for instance
            because a package is not installed, and what to do; empty if it can.
    """

    name: str
    singular: str
    language: Callable[[ml_collections.ConfigDict], Language]
    _: dataclasses.KW_ONLY
    own_options: Mapping[str, Option] = dataclasses.field(default_factory=dict)
    value_range: Callable[[ml_collections.ConfigDict], tuple[float, float]] | None = None
    filled_in: Callable[[ml_collections.ConfigDict], dict[str, Any]] = _nothing
    before: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    is_valid: Callable[[str], bool] = _is_written
    canonical: Callable[[str], str | None] = _without_spaces
    score: Score | None = None
    drawing: Curves | Images | Blocks | None = None
    grammar_sizes: GrammarSizes = dataclasses.field(default_factory=GrammarSizes)
    missing: Callable[[], str] = _nothing_missing
