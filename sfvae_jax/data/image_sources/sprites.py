"""Sprites: coloured shapes with known factors, rendered when they are asked for.

All arithmetic is on whole numbers, so that every machine renders the same bits.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from sfvae_jax.data.source import DataSource, SourceSplit

SIDE = 64
SHAPES = ("square", "ellipse", "triangle", "heart", "star")
PALETTE = np.array(
    [
        (255, 99, 105),  # coral
        (255, 159, 67),  # orange
        (255, 214, 92),  # yellow
        (64, 214, 140),  # green
        (64, 210, 225),  # turquoise
        (92, 148, 255),  # blue
        (168, 112, 255),  # violet
        (255, 128, 205),  # pink
    ],
    np.int32,
)
GROUND = np.array((20, 24, 44), np.int32)

# The number of values of each factor; gray sprites have no colour.
FACTORS = {
    "shape": len(SHAPES),
    "scale": 32,
    "orientation": 180,
    "x": 112,
    "y": 112,
    "colour": len(PALETTE),
}

_NUM_IMAGES = {"train": 10_000, "test": 2_000}
_SEEDS = {"train": 1, "test": 2}

_BLACK, _WHITE = np.array([0], np.int32), np.array([255], np.int32)

# Each pixel has 8 x 8 samples. Lengths are multiples of 1/32 pixel, sines of 1/4096. After the
# rotation lengths are multiples of 1/512 pixel, so that their squares fit in 32 bits.
_SAMPLES = 8
_UNITS = 32
_SINE_UNITS = 4096
_TURNED_UNITS = 512
_TURNED_SHIFT = 8  # log2(_UNITS * _SINE_UNITS / _TURNED_UNITS)


def _sines(num_angles: int) -> np.ndarray:
    angles = 2 * np.pi * np.arange(num_angles) / num_angles
    return np.rint(_SINE_UNITS * np.sin(angles)).astype(np.int32)


_SINES = _sines(FACTORS["orientation"])
_QUARTER_TURN = len(_SINES) // 4


class SpritesSplit(SourceSplit):
    """One split of the sprites; image i has a seed of its own and is rendered when asked for."""

    def __init__(self, split: str, num_channels: int) -> None:
        self._split, self._gray = split, num_channels == 1
        self.example_shapes = frozenset([(SIDE, SIDE, num_channels)])
        self.dtype = np.dtype(np.uint8)

    def __len__(self) -> int:
        return _NUM_IMAGES[self._split]

    def __getitem__(self, index: int) -> np.ndarray:
        *place, colour = self._factors_of(index)
        if self._gray:
            return shade(coverage(*place), _BLACK, _WHITE)
        return shade(coverage(*place), GROUND, PALETTE[colour])

    def factors(self, indices: np.ndarray) -> np.ndarray:
        """Returns the factors, int32 [N, 6] in the order of FACTORS; [N, 5] for gray sprites."""
        factors = np.array([self._factors_of(int(index)) for index in indices], np.int32)
        return factors.reshape(-1, len(FACTORS))[:, : 5 if self._gray else 6]

    def labels(self, indices: np.ndarray) -> np.ndarray:
        """Returns the shapes [N], as indices of SHAPES."""
        return self.factors(indices)[:, 0]

    def _factors_of(self, index: int) -> list[int]:
        # Raw words of a bit generator never change; the methods of a Generator may.
        words = np.random.PCG64([_SEEDS[self._split], index]).random_raw(len(FACTORS))
        return [int(word) % size for word, size in zip(words, FACTORS.values(), strict=True)]


def open_sprites(num_channels: int) -> Mapping[str, SpritesSplit]:
    """Returns the splits: 10,000 training and 2,000 test images of 64 x 64 pixels.

    Shape, scale, orientation, position and colour are independent and uniform over their values.

    Args:
        num_channels: 3, or 1 for white shapes on black.
    """
    return {split: SpritesSplit(split, num_channels) for split in _NUM_IMAGES}


def coverage(shape: int, scale: int, orientation: int, x: int, y: int) -> np.ndarray:
    """Returns how many samples of each pixel lie in a shape, int32 [64, 64] in 0..64.

    Args:
        shape: an index of SHAPES.
        scale: 0..31, for a circumscribed radius of 10 to 17.75 pixels.
        orientation: the rotation, clockwise, in 180ths of a turn.
        x: 0..111, for a centre 18 to 45.75 pixels from the left.
        y: 0..111, for a centre 18 to 45.75 pixels from the top.
    """
    quarters = (40 + scale, 72 + x, 72 + y)
    radius, x, y = (_UNITS // 4 * number for number in quarters)
    columns, rows = _window(x, radius), _window(y, radius)
    sine, cosine = _SINES[orientation], _SINES[(orientation + _QUARTER_TURN) % len(_SINES)]
    dx, dy = _samples(columns) - x, _samples(rows)[:, None] - y
    u = (dx * cosine + dy * sine) >> _TURNED_SHIFT
    v = (dy * cosine - dx * sine) >> _TURNED_SHIFT
    inside = _INSIDE[SHAPES[shape]](u, v, radius * _TURNED_UNITS // _UNITS)
    blocks = inside.reshape(
        rows.stop - rows.start, _SAMPLES, columns.stop - columns.start, _SAMPLES
    )
    counts = np.zeros((SIDE, SIDE), np.int32)
    counts[rows, columns] = blocks.sum(axis=(1, 3), dtype=np.int32)
    return counts


def shade(ink: np.ndarray, ground: np.ndarray, colour: np.ndarray) -> np.ndarray:
    """Paints ink in a colour [C] on a ground [C], mixed at the edges; uint8 [64, 64, C]."""
    whole = _SAMPLES**2
    mixed = ink[..., None] * (colour - ground) + (whole * ground + whole // 2)
    return (mixed // whole).astype(np.uint8)


def _window(centre: int, radius: int) -> slice:
    """Returns the range of rows or columns that a shape may touch."""
    return slice((centre - radius) // _UNITS, (centre + radius) // _UNITS + 1)


def _samples(pixels: slice) -> np.ndarray:
    step = _UNITS // _SAMPLES
    start, stop = pixels.start * _UNITS + step // 2, pixels.stop * _UNITS
    return np.arange(start, stop, step, dtype=np.int32)


# Each function tells which samples lie in an upright shape with this circumscribed radius; u points
# to the right and v down.


def _in_square(u: np.ndarray, v: np.ndarray, radius: int) -> np.ndarray:
    return np.maximum(np.abs(u), np.abs(v)) <= radius * 181 // 256  # radius / sqrt(2)


def _in_ellipse(u: np.ndarray, v: np.ndarray, radius: int) -> np.ndarray:
    return u * u + 3 * v * v <= radius * radius


def _in_triangle(u: np.ndarray, v: np.ndarray, radius: int) -> np.ndarray:
    slanted = np.abs(u) * 887 - v * 512  # 1024 times sin and cos of 60 degrees
    return (slanted <= radius * 512) & (2 * v <= radius)


def _in_heart(u: np.ndarray, v: np.ndarray, radius: int) -> np.ndarray:
    """A square standing on its corner, with a disc on each of its upper sides."""
    side = radius * 95 // 128
    raised = side // 10 - v
    s, t = np.abs(u) + raised, raised - np.abs(u)
    square = (s <= side) & (t >= -side)
    return square | (t * t + (s - side) ** 2 <= side * side)


def _in_star(u: np.ndarray, v: np.ndarray, radius: int) -> np.ndarray:
    """Within at least four of the five lines that join every other of the five points."""
    reach = radius * 316  # 1024 times cos of 72 degrees
    within = [across * u - up * v <= reach for across, up in _STAR_NORMALS]
    return sum(line.astype(np.int8) for line in within) >= 4


_STAR_NORMALS = (
    (0, 1024),
    (974, 316),
    (-974, 316),
    (602, -828),
    (-602, -828),
)  # normals of these lines, towards the points
_INSIDE = dict(
    zip(SHAPES, (_in_square, _in_ellipse, _in_triangle, _in_heart, _in_star), strict=True)
)


SPRITES = DataSource(
    "sprites",
    "12,000 coloured shapes with known factors, rendered when they are asked for",
    lambda group, _: open_sprites(num_channels=3),
    splits=("train", "test"),
    shape=(SIDE, SIDE, 3),
)
SPRITES_GRAY = DataSource(
    "sprites_gray",
    "the same shapes in white on black",
    lambda group, _: open_sprites(num_channels=1),
    splits=("train", "test"),
    shape=(SIDE, SIDE, 1),
)
