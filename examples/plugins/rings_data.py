"""Images of one ring each, with its radius and place as the factors to be found; and binary words.

--config.plugins=examples/plugins/rings_data.py --config.data.name=rings --config.data.ring_width=2
"""

import numpy as np

from sfvae_jax import plugins

SIDE, NUMBERS = 32, {"train": 1000, "test": 200}


def draw(rng, number, width):
    """Images uint8 [N, 32, 32, 1], and the radii [N] in whole pixels as labels."""
    radius = rng.uniform(4, 10, (number, 1, 1))
    x, y = rng.uniform(11, SIDE - 11, (2, number, 1, 1))
    columns, rows = np.arange(SIDE)[None, None, :], np.arange(SIDE)[None, :, None]
    distance = np.abs(np.hypot(columns - x, rows - y) - radius)
    ink = np.clip(width / 2 + 0.5 - distance, 0, 1)
    return np.uint8(255 * ink)[..., None], radius.ravel().astype(int)


def open_rings(settings, path):
    return {
        split: plugins.ArraySplit(*draw(np.random.default_rng(seed), number, settings.ring_width))
        for seed, (split, number) in enumerate(NUMBERS.items())
    }


plugins.register(
    plugins.DataSource(
        name="rings",
        help="1,200 gray rings of 32 x 32 pixels, drawn when they are read",
        open=open_rings,
        splits=("train", "test"),
        shape=(SIDE, SIDE, 1),
        own_options={"ring_width": plugins.Option(2.0, plugins.POSITIVE, "Width of rings, pixels")},
    )
)
