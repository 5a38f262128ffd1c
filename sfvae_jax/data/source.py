"""A source of examples: what one name in `data.name` stands for, and the splits that it opens."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

import ml_collections
import numpy as np

from sfvae_jax.data.kept_images import Origin
from sfvae_jax.data.sequences.kind import SequenceKind
from sfvae_jax.options import Option

# The options of `data` that every source of images takes, and no other source.
IMAGE_OPTIONS = ("crop", "channels", "image_size", "pad_to", "scale", "binarization")


class SourceSplit(Protocol):
    """The examples of one split of a source, each read when it is indexed.

    Attributes:
        example_shapes: every shape that an example may have; mostly there is one.
        dtype: uint8 in 0..255 or float32 in [0, 1] for pixels; int16 or float32 for sequences.
    """

    example_shapes: frozenset[tuple[int, ...]]
    dtype: np.dtype

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> np.ndarray: ...

    def some(self, indices: np.ndarray) -> Iterable[np.ndarray]:
        """Returns the examples at these indices, in their order."""
        return (self[int(index)] for index in indices)

    @property
    def identities(self) -> np.ndarray | None:
        """A hash of what each example is, uint64 [N] (`held_out`), if their number can change."""
        return None

    def labels(self, indices: np.ndarray) -> np.ndarray | None:
        """Returns the labels of these examples; None if there are none."""
        return None

    def digest(self) -> bytes:
        """Returns bytes that differ once the examples have changed; empty if they never change."""
        return b""

    def origin(self) -> Origin | None:
        """Returns where images come from, if they are to be kept as they are prepared."""
        return None


@dataclasses.dataclass(frozen=True)
class DataSource:
    """What one name in `data.name` stands for.

    Attributes:
        name: the name, such as "mnist_5k"; where a PATH follows it, with the colon, as in "npz:".
        help: what its examples are, a phrase for tables and error messages.
        open: takes the `data` group and the PATH (the whole name where no PATH follows), and
            returns the splits by name; "train" is always among them. It raises UsageError if the
            data cannot be read.
        kind: what its sequences are made of; None for images.
        options: the options of `data` that apply to it, but not to every source.
        own_options: options that it adds to the group `data`, which `open` takes; a kind of
            sequences may add options too.
        splits: which of "train", "valid" and "test" it always has; empty if that depends on PATH or
            on the set.
        shape: the shape of an example, where it is known before the source is opened.
        held_out_by: what is hashed to decide which examples are held out, for a source whose
            examples can change in number; empty if they are shuffled.
        subset_of: the name of the data set from which its examples are taken, if any.
        downloads: whether opening it may download it.
    """

    name: str
    help: str
    open: Callable[[ml_collections.ConfigDict, str], Mapping[str, SourceSplit]]
    kind: SequenceKind | None = None
    options: tuple[str, ...] = IMAGE_OPTIONS
    splits: tuple[str, ...] = ()
    shape: tuple[int, ...] | None = None
    held_out_by: str = ""
    subset_of: str = ""
    downloads: bool = False
    own_options: Mapping[str, Option] = dataclasses.field(default_factory=dict)

    @property
    def stem(self) -> str:
        """The name without its colon."""
        return self.name.removesuffix(":")

    @property
    def all_options(self) -> tuple[str, ...]:
        """The options of `data` that apply to it, but not to every source, with its own."""
        return (*self.options, *self.own_options)

    @property
    def noun(self) -> str:
        """What its examples are called."""
        return "images" if self.kind is None else "sequences"

    @property
    def takes_path(self) -> bool:
        """Whether a PATH follows the name."""
        return self.name.endswith(":")

    def path_in(self, name: str) -> str:
        """Returns the PATH in a `data.name` of this source; the whole name if it takes no PATH."""
        return name.partition(":")[2] if self.takes_path else name

    @property
    def usage(self) -> str:
        """What to write in `data.name`, such as "npz:PATH"."""
        return f"{self.name}PATH" if self.takes_path else self.name


class ArraySplit(SourceSplit):
    """Examples [N, ...] in memory and, where given, their labels [N]."""

    def __init__(
        self,
        examples: np.ndarray,
        labels: np.ndarray | None = None,
        *,
        identities: np.ndarray | None = None,
    ) -> None:
        """Takes the examples.

        Args:
            examples: [N, ...].
            labels: [N], if there are any.
            identities: uint64 [N] (`held_out.identities`), if the examples can change in number.
        """
        self._examples, self._labels, self._identities = examples, labels, identities
        self.example_shapes = frozenset([examples.shape[1:]])
        self.dtype = examples.dtype

    def __len__(self) -> int:
        return len(self._examples)

    def __getitem__(self, index: int) -> np.ndarray:
        return self._examples[index]

    @property
    def identities(self) -> np.ndarray | None:
        """The hashes of the examples, uint64 [N], if they were given."""
        return self._identities

    def labels(self, indices: np.ndarray) -> np.ndarray | None:
        """Returns the labels of these examples; None if there are none."""
        return None if self._labels is None else self._labels[indices]

    def digest(self) -> bytes:
        """Returns a digest of examples and labels; with identities it ignores their order."""
        if self._identities is None:
            columns = [self._examples, self._labels]
        else:
            labels = self._identities if self._labels is None else self._labels
            order = np.lexsort((labels, self._identities))
            columns = [self._identities[order], labels[order]]
        found = hashlib.sha256()
        for column in columns:
            if column is not None:
                found.update(np.ascontiguousarray(column).data)
        return found.digest()
