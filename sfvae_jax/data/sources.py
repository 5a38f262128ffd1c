"""The table of sources; nothing else interprets `data.name`.

To add a source of images, write its `DataSource` in a file of `image_sources/` and name it in
SOURCES. The sources of sequences are named in `sequences/kinds.py`.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ml_collections

from sfvae_jax.data.image_sources.folder import FOLDER
from sfvae_jax.data.image_sources.mnist_5k import MNIST_5K
from sfvae_jax.data.image_sources.npz import NPZ
from sfvae_jax.data.image_sources.sprites import SPRITES, SPRITES_GRAY
from sfvae_jax.data.image_sources.tfds import TFDS, UnknownSet
from sfvae_jax.data.options import option_group
from sfvae_jax.data.sequences import kinds
from sfvae_jax.data.sequences.kind import SequenceKind
from sfvae_jax.data.source import IMAGE_OPTIONS, DataSource, SourceSplit
from sfvae_jax.errors import UsageError
from sfvae_jax.grammars import Language
from sfvae_jax.options import plain, shown

SOURCES: dict[str, DataSource] = {
    source.name: source for source in (MNIST_5K, SPRITES, SPRITES_GRAY, NPZ, FOLDER, *kinds.SOURCES)
}
"""All sources by name; TFDS takes every name that is not here."""


def source_of(name: str) -> DataSource:
    """Returns the source that a `data.name` stands for; opens nothing."""
    stem, colon, _ = name.partition(":")
    found = SOURCES.get(f"{stem}:") if colon else SOURCES.get(name, SOURCES.get(f"{name}:"))
    return found or TFDS


def open_source(group: ml_collections.ConfigDict) -> Mapping[str, SourceSplit]:
    """Opens the source that a `data` group names.

    Returns:
        Its splits by name; "train" is always among them.

    Raises:
        UsageError: if there is no such source, it cannot be read, or an option does not apply to
            it; the message says why.
    """
    check_options(group)
    name, source = group.name, source_of(group.name)
    if source is TFDS and (name.startswith((".", "/")) or name.endswith(("/", ".npz"))):
        raise _unknown(name, [])  # TFDS has no such names, and a long error for them
    try:
        splits = source.open(group, source.path_in(name))
    except UnknownSet as error:
        raise _unknown(name, error.known) from error
    if not isinstance(splits, Mapping) or "train" not in splits:
        raise UsageError(
            f"data.name {name!r}: its source must return a dictionary of splits with 'train',"
            f" got {shown(splits)}"
        )
    for part, split in splits.items():
        if not hasattr(split, "digest"):
            raise UsageError(
                f"data.name {name!r}: split {part!r} must be an ArraySplit(examples), or have"
                f" the methods of SourceSplit, got {shown(split)}"
            )
    return splits


def check_options(group: ml_collections.ConfigDict) -> None:
    """Checks that the options of a `data` group apply to its source; reads nothing.

    Raises:
        UsageError: naming the options that do not.
    """
    name, source = group.name, source_of(group.name)
    if "\0" in name:
        raise UsageError(f"data.name {name!r} contains a NUL character; remove it")
    options = option_group(SOURCES)
    keys = dict.fromkeys(key for known in SOURCES.values() for key in known.all_options)
    wrong = [
        key
        for key in keys
        if key in group and key not in source.all_options
        if plain(group[key]) != options[key].default
    ]
    if wrong:
        takers = _takers(wrong[0])
        together = [key for key in wrong if _takers(key) == takers]
        given = " and ".join(f"data.{key}" for key in together)
        defaults = " and ".join(f"data.{key} at {options[key].default!r}" for key in together)
        raise UsageError(
            f"{given} only {'apply' if len(together) > 1 else 'applies'} to {takers}; data.name is"
            f" {name!r}, so leave {defaults}"
        )


def sequence_kind(name: str) -> SequenceKind | None:
    """Returns the kind of sequences with this name, as in `Language.kind`; None if unknown."""
    known = (source.kind for source in SOURCES.values())
    return next((kind for kind in known if kind is not None and kind.name == name), None)


def check_data(group: ml_collections.ConfigDict) -> None:
    """Checks that options fit the data set, and that a file of sequences tells its language.

    Raises:
        UsageError: naming the key.
    """
    try:
        language(group)
        value_range(group)
    except UsageError as error:
        told = str(error)
        raise UsageError(
            told if "data." in told else f"data.name {group.name!r}: {told}"
        ) from error


def language(group: ml_collections.ConfigDict) -> Language | None:
    """Returns the language of the sequences of a data set; None for images.

    Raises:
        UsageError: if an option does not fit the data set, or a file cannot be read.
    """
    check_options(group)
    kind = source_of(group.name).kind
    return None if kind is None else kind.language(group)


def value_range(group: ml_collections.ConfigDict) -> tuple[float, float] | None:
    """Returns the least and the largest value of sequences with values; None for other data.

    Raises:
        UsageError: if they cannot be read.
    """
    kind = source_of(group.name).kind
    return None if kind is None or kind.value_range is None else kind.value_range(group)


def filled_in(group: ml_collections.ConfigDict) -> dict[str, Any]:
    """Returns values, by name, for the options that a `data` group leaves to the data.

    Raises:
        UsageError: if the data cannot be read.
    """
    kind = source_of(group.name).kind
    return {} if kind is None else kind.filled_in(group)


def before(name: str) -> Mapping[str, Any]:
    """Returns the values, by name, of options that runs of earlier versions did not record."""
    kind = source_of(name).kind
    return {} if kind is None else kind.before


def _takers(key: str) -> str:
    """Returns the sources that take an option, in words."""
    if key in IMAGE_OPTIONS:
        return "images"
    of_sequences = [source for source in SOURCES.values() if source.kind is not None]
    takers = [source for source in SOURCES.values() if key in source.all_options]
    if takers == of_sequences:
        return "sequences"
    alone = [source.name for source in takers if not source.takes_path]
    with_path = [s.usage for s in takers if s.takes_path and s.stem not in alone]
    return " and ".join(alone + with_path)


def _unknown(name: str, of_tfds: list[str]) -> UsageError:
    near = difflib.get_close_matches(name, [*(s.stem for s in SOURCES.values()), *of_tfds], n=1)
    if name.endswith(".npz"):
        near = [f"npz:{name}"]
    elif Path(name).is_dir():
        near = [f"folder:{name}"]
    hint = f"; did you mean {near[0]!r}?" if near else "."
    known = ", ".join(source.usage for source in SOURCES.values())
    return UsageError(
        f"data.name: unknown data set {name!r}{hint} Known: {known}, and the image sets of"
        " tensorflow-datasets (mnist, fashion_mnist, omniglot, cifar10, celeb_a, ...)"
    )
