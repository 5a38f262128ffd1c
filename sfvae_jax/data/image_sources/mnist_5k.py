"""5,000 real MNIST digits, which ship with the library.

mnist_5k.LICENSE.txt, beside the file of the digits, says where they come from.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from sfvae_jax.data.archive import Archive, Unreadable
from sfvae_jax.data.source import ArraySplit, DataSource
from sfvae_jax.errors import UsageError

_FILE = Path(__file__).with_suffix(".npz")


@functools.cache  # training and evaluation open it
def open_mnist_5k() -> Mapping[str, ArraySplit]:
    """Opens the digits, 500 of each class: uint8 [5000, 28, 28, 1], with labels.

    Raises:
        UsageError: if their file is missing or damaged.
    """
    try:
        with Archive(_FILE) as archive:
            images, labels = archive.read("images"), archive.read("labels")
        if (images.shape, labels.shape) != ((5000, 28, 28, 1), (5000,)):
            raise Unreadable(f"it holds arrays of shape {images.shape} and {labels.shape}")
        if not images.dtype == labels.dtype == np.uint8:
            raise Unreadable(f"it holds arrays of {images.dtype} and {labels.dtype}")
    except Unreadable as error:
        raise UsageError(
            f"cannot read {_FILE}, which holds mnist_5k: {error}; reinstall sfvae_jax"
        ) from error
    return {"train": ArraySplit(images, labels)}


MNIST_5K = DataSource(
    "mnist_5k",
    "5,000 digits of MNIST, which come with the installation",
    lambda group, _: open_mnist_5k(),
    splits=("train",),
    shape=(28, 28, 1),
    subset_of="mnist",
)
