"""Image sets of tensorflow-datasets, prepared as ArrayRecord and read without TensorFlow."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from sfvae_jax.data.kept_images import Origin
from sfvae_jax.data.preprocessing import as_stored
from sfvae_jax.data.source import DataSource, SourceSplit
from sfvae_jax.errors import UsageError, in_one_line

_SPLITS = {"train": "train", "validation": "valid", "test": "test"}
_PER_CHUNK = 1024  # records that are read at once for their labels
_PROBED = 16  # images that are looked at to see whether a set has one bit a pixel


class UnknownSet(LookupError):
    """TFDS has no set of a name; `known` are the names of those that it has."""

    def __init__(self, known: list[str]) -> None:
        super().__init__()
        self.known = known


class TfdsSplit(SourceSplit):
    """One split of a prepared TFDS image set, read by random access.

    Attributes:
        one_bit: whether whole numbers are 0 for black and 1 for white, in the whole set.
    """

    def __init__(self, name: str, builder: Any, split: str) -> None:
        self._name, self._folder, self._split = name, builder.data_dir, split
        self._files = builder.info.splits[split].filepaths
        self._source = builder.as_data_source(split)
        self._labels = _label_source(builder, split)
        self._clean = _CLEANERS.get(name, lambda image: image)
        feature = builder.info.features["image"]
        # Cleaning may change the shape, as an image of zeros shows.
        self.example_shapes = frozenset([self._clean(np.zeros(feature.shape, np.uint8)).shape])
        probed = self._read(np.arange(min(_PROBED, len(self._source))))
        self.one_bit = _is_whole(probed[0]) and max(image.max() for image in probed) <= 1
        self.dtype = as_stored(probed[0], self._in_words, one_bit=self.one_bit).dtype

    @property
    def _in_words(self) -> str:
        return f"the images in {self._folder}"

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: int) -> np.ndarray:
        (image,) = self.some(np.array([index]))
        return image

    def some(self, indices: np.ndarray) -> list[np.ndarray]:
        """Returns the images at these indices."""
        images = self._read(indices)
        return [as_stored(image, self._in_words, one_bit=self.one_bit) for image in images]

    def labels(self, indices: np.ndarray) -> np.ndarray | None:
        """Returns the labels of these images; None if the set has none."""
        if self._labels is None:
            return None
        with self._reading():
            chunks = np.split(indices, range(_PER_CHUNK, len(indices), _PER_CHUNK))
            found = (one for chunk in chunks for one in self._records(self._labels, chunk))
            return np.array([one["label"] for one in found])

    def origin(self) -> Origin | None:
        """Returns the set and the split; and the state of its files and of what decodes them."""
        import PIL
        import tensorflow_datasets as tfds

        try:
            found = [os.stat(file) for file in self._files]
        except OSError:  # files that are not on a disk, or are gone
            return None
        state = [f"{stat.st_size} {stat.st_mtime_ns}" for stat in found]
        state += [f"{package.__name__} {package.__version__}" for package in (tfds, PIL)]
        state += ["with OpenCV" if importlib.util.find_spec("cv2") else "without OpenCV"]
        place = f"TFDS {self._name} {self._folder} {self._split}"
        return Origin(place, " ".join([*state, f"one bit: {self.one_bit}"]))

    def _read(self, indices: np.ndarray) -> list[np.ndarray]:
        with self._reading():
            records = self._records(self._source, indices)
            return [self._clean(found["image"]) for found in records]

    def _records(self, source: Any, indices: np.ndarray) -> Iterable[Any]:
        """Returns records, from one file in half of the time that they take one by one.

        From several files they take longer together, as the reader starts a thread for each file.
        """
        numbers = [int(index) for index in indices]  # the readers take no NumPy
        if len(self._files) == 1:
            return source.__getitems__(numbers)
        return (source[number] for number in numbers)

    @contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # readers raise anything on damaged files
            raise UsageError(f"cannot read {self._in_words}: {in_one_line(error)}") from error


def open_tfds(name: str) -> Mapping[str, TfdsSplit]:
    """Opens a TFDS set: those of the splits train, valid and test that it has.

    Raises:
        UnknownSet: if TFDS has no such set.
        UsageError: if it is not prepared, or it is not a set of images.
    """
    import tensorflow_datasets as tfds

    try:
        builder = tfds.builder(name, data_dir=os.environ.get("TFDS_DATA_DIR"))
    except ImportError as error:  # this builder cannot even describe itself without TensorFlow
        raise _not_prepared(name) from error
    except tfds.core.DatasetNotFoundError as error:
        known = tfds.list_builders(with_community_datasets=False)
        raise UnknownSet(known) from error
    except Exception as error:
        reason = in_one_line(error)[:200]
        raise UsageError(f"tensorflow-datasets cannot open {name!r}: {reason}") from error
    features = builder.info.features
    image = features["image"] if "image" in (features or ()) else None
    if image is None or image.shape is None or None in image.shape:
        raise UsageError(
            f"TFDS set {name!r} has no 'image' of a fixed size; choose another data.name"
        )
    if not builder.info.splits:
        builder = _prepare(name)
    if "train" not in builder.info.splits:
        raise UsageError(
            f"TFDS set {name!r} has no train split; it has {', '.join(builder.info.splits)}"
        )
    try:
        return _splits(name, builder)
    except NotImplementedError as error:  # the format has no random access
        raise UsageError(
            f"TFDS set {name!r} in {builder.data_dir} is not in a format with random access;"
            " prepare it with file_format='array_record'"
        ) from error


def _splits(name: str, builder: Any) -> dict[str, TfdsSplit]:
    splits = {
        split: TfdsSplit(name, builder, theirs)
        for theirs, split in _SPLITS.items()
        if theirs in builder.info.splits
    }
    one_bit = all(split.one_bit for split in splits.values())
    for split in splits.values():
        split.one_bit = one_bit
    return splits


def _label_source(builder: Any, split: str) -> Any:
    """Opens the split without decoding its images, for its labels; None if it has no labels."""
    import tensorflow_datasets as tfds

    if "label" not in builder.info.features:
        return None
    return builder.as_data_source(split, decoders={"image": tfds.decode.SkipDecoding()})


def _is_whole(image: np.ndarray) -> bool:
    return bool(np.issubdtype(image.dtype, np.integer))


def _omniglot_as_light_ink(image: np.ndarray) -> np.ndarray:
    """Returns an image of Omniglot with ink at 255 on a ground of 0 in one channel, as in MNIST.

    Its PNGs have one bit a pixel, and ink is 0. They are decoded to {0, 1} without TensorFlow and
    to {0, 255} with it, always to three equal channels.
    """
    return np.where(image[..., :1] == 0, np.uint8(255), np.uint8(0))


_CLEANERS = {"omniglot": _omniglot_as_light_ink}


def _prepare(name: str) -> Any:
    """Downloads and prepares a TFDS set, which requires TensorFlow."""
    import tensorflow_datasets as tfds

    if importlib.util.find_spec("tensorflow") is None:
        raise _not_prepared(name)
    try:
        folder = os.environ.get("TFDS_DATA_DIR")
        builder = tfds.builder(name, data_dir=folder, file_format="array_record")
        builder.download_and_prepare()
    except Exception as error:
        reason = in_one_line(error)
        raise UsageError(f"{_not_prepared(name)} (preparing failed: {reason})") from error
    return builder


def _not_prepared(name: str) -> UsageError:
    import tensorflow_datasets as tfds

    folder = os.environ.get("TFDS_DATA_DIR") or tfds.core.constants.DATA_DIR
    return UsageError(
        f"TFDS set {name!r} is not prepared in {folder}. Set TFDS_DATA_DIR to a folder that has it"
        " as ArrayRecord, or install tensorflow, which preparing requires (reading does not) and"
        " which then downloads it; --config.data.name=mnist_5k requires neither"
    )


TFDS = DataSource(
    "",
    "an image set of tensorflow-datasets, such as mnist, cifar10 or celeb_a",
    lambda group, name: open_tfds(name),
    downloads=True,
)
