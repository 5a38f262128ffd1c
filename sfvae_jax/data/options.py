"""The options of the group `data`."""

from __future__ import annotations

from collections.abc import Mapping

from sfvae_jax.data.geometry import CHANNELS
from sfvae_jax.data.preprocessing import BINARIZATIONS
from sfvae_jax.data.sequences.text import TOKENS_OPTION
from sfvae_jax.data.source import DataSource
from sfvae_jax.options import (
    COUNT_OR_0,
    FLAG,
    POSITIVE,
    TEXT,
    Option,
    Rule,
    is_whole,
    one_of,
    own_options,
    whole,
)

MOST_PIXELS = 2**14  # of a side; a square of such sides has 268 million pixels
MOST_PLACES = 2**14  # of a sequence

_SIDE = whole(0, MOST_PIXELS)
_CHANNELS = Rule(
    lambda value: is_whole(value) and value in CHANNELS,
    f"{', '.join(map(str, CHANNELS[:-1]))} or {CHANNELS[-1]}",
)


def option_group(sources: Mapping[str, DataSource]) -> dict[str, Option]:
    """Returns the options of the group, with those that sources and kinds of sequences add."""
    kinds = {source.kind.name: source.kind for source in sources.values() if source.kind}
    own = own_options(kinds) | own_options(sources)
    return {
        "name": Option(
            "mnist_5k",
            TEXT,
            "Where the examples come from, such as mnist_5k, mnist or another image set of TFDS,"
            " npz:PATH of your own arrays, folder:PATH of image files, equations or molecules;"
            " data.md and sequences.md in docs/ list all",
        ),
        "num_examples": Option(0, COUNT_OR_0, "Training examples, drawn at random; 0 = all"),
        "num_valid": Option(
            0,
            COUNT_OR_0,
            "Validation examples from the valid split or, if the data have none, held out of the"
            " training examples; 0 = the whole split; no examples if there is none",
        ),
        "num_test": Option(
            0,
            COUNT_OR_0,
            "Test examples from the test split or, if the data have none, held out of the"
            " training examples; 0 = the whole split; no examples if there is none",
        ),
        "seed": Option(
            0,
            whole(0, 2**32 - 1),
            "Decides which examples each split holds; runs that differ only in the top-level seed"
            " share them",
        ),
        "fingerprint": Option(
            "",
            TEXT,
            "Requires the data to have this fingerprint, as config.json has it: the size and digest"
            " of each split; empty = whatever the data are now",
        ),
        # What is done to each image when it is read, in this order.
        "crop": Option(
            0, _SIDE, "Side in pixels of the square cut from the middle of each image; 0 = no crop"
        ),
        "channels": Option(0, _CHANNELS, "1 = gray, 3 = RGB, 0 = as the images are"),
        "image_size": Option(
            0,
            _SIDE,
            "Side in pixels to which images are resized; without data.crop the largest square in"
            " the middle is cut first; 0 = not resized",
        ),
        "pad_to": Option(
            0, _SIDE, "Side in pixels to which images are padded with zeros; 0 = not padded"
        ),
        "skip_corrupt": Option(
            False,
            FLAG,
            "Whether to leave out the damaged images of a folder, or the lines of a text file that"
            " cannot be used, instead of refusing them",
        ),
        "device_bytes": Option(
            0,
            whole(0, 2**63 - 1, "2**63 - 1"),
            "A training set larger than this many bytes is streamed to the devices instead of being"
            " kept there, with the same results; 0 = a quarter of a device's memory, or 4 GiB where"
            " that is unknown; times the number of devices if train.parallelism is jit",
        ),
        "scale": Option(1.0, POSITIVE, "Pixels are scaled to [0, scale]"),
        "tokens": TOKENS_OPTION,
        "max_length": Option(
            0,
            whole(0, MOST_PLACES),
            "For sequences: how many places each has, the end and padding included; 0 = the default"
            " of the data set",
        ),
        **own,
        "binarization": Option(
            "none",
            one_of("binarization", BINARIZATIONS),
            "How gray pixels become black or white: static = drawn once, dynamic = drawn anew each"
            " time an image is used, none = they stay gray",
        ),
    }
