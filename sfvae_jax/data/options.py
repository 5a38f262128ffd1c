"""The group `data` of a configuration."""

from __future__ import annotations

from sfvae_jax.data.geometry import CHANNELS
from sfvae_jax.data.preprocessing import BINARIZATIONS
from sfvae_jax.data.sequences.kinds import ELEMENTS, TOKENS
from sfvae_jax.options import (
    COUNT_OR_0,
    FLAG,
    POSITIVE,
    TEXT,
    Option,
    Rule,
    is_whole,
    one_of,
    tuple_of,
    whole,
)

MOST_PIXELS = 2**14  # a side; an image of so many has 268 million
MOST_PLACES = 2**14  # of a sequence

_SIDE = whole(0, MOST_PIXELS)
_CHANNELS = Rule(
    lambda value: is_whole(value) and value in CHANNELS,
    f"{', '.join(map(str, CHANNELS[:-1]))} or {CHANNELS[-1]}",
)
_LAYER_TYPES = tuple_of(lambda name: isinstance(name, str), "names of layers, such as ('conv',)")

DATA = {
    "name": Option(
        "mnist_5k",
        TEXT,
        "mnist_5k, sprites, sprites_gray, a TFDS name (mnist, cifar10, celeb_a, ...), npz:PATH of"
        " your own arrays, or folder:PATH of image files. Sequences: equations, molecules,"
        " architectures, or one of these before :PATH of a text file, or enas:PATH",
    ),
    "num_examples": Option(0, COUNT_OR_0, "training examples, drawn at random; 0 = all"),
    "num_valid": Option(
        0, COUNT_OR_0, "valid examples, 0 = all; held out where the source has no valid split"
    ),
    "num_test": Option(
        0, COUNT_OR_0, "test examples, 0 = all; held out where the source has no test split"
    ),
    "seed": Option(
        0,
        whole(0, 2**32 - 1),
        "decides which examples each split holds; not the run's `seed`, so that runs share them",
    ),
    "fingerprint": Option(
        "",
        TEXT,
        "number and digest of each split, as config.json has them; empty: those of the data now",
    ),
    # What is done to each image as it is read, in this order; 0 = nothing.
    "crop": Option(0, _SIDE, "side of the square that is cut from the middle; 0 = whole images"),
    "channels": Option(0, _CHANNELS, "1 = gray, 3 = RGB, 0 = as they are"),
    "image_size": Option(
        0, _SIDE, "pixels a side that images are resized to, cropped to a square before; 0 = none"
    ),
    "pad_to": Option(0, _SIDE, "pixels a side, with zeros around the image; 0 = none"),
    "skip_corrupt": Option(
        False,
        FLAG,
        "leave out damaged images of a folder and lines of a text file that are no sentences",
    ),
    "device_bytes": Option(
        0,
        whole(0, 2**63 - 1, "2**63"),
        "a training set of more bytes is streamed to the devices and not held there, with the same"
        " results; 0 = a quarter of a device's memory, or 4 GiB where that is not known",
    ),
    "scale": Option(1.0, POSITIVE, "pixels lie in [0, scale]"),
    "tokens": Option(
        "grammar",
        one_of("tokens", TOKENS),
        "only for equations and molecules: whether a sequence is made of rules of the grammar or of"
        " characters",
    ),
    "max_length": Option(0, whole(0, MOST_PLACES), "places of a sequence; 0 = the data set's own"),
    "elements": Option(
        "",
        one_of("elements", ("", *ELEMENTS)),
        "only for molecules: all = any element in SMILES brackets, common = those of drug-like"
        " molecules, in a smaller grammar; empty = all",
    ),
    "layer_types": Option(
        (), _LAYER_TYPES, "only for architectures:PATH; () = the types in the file"
    ),
    "binarization": Option(
        "none",
        one_of("binarization", BINARIZATIONS),
        "static: pixels drawn once; dynamic: drawn anew at every visit",
    ),
}
