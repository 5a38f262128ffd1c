"""Options of everything that is made of generated images: the group `evaluations.generated`.

The evaluations share it, so that images and their features are computed once for all of them.
"""

from __future__ import annotations

from sfvae_jax.evaluation.generation.densities.table import DENSITIES
from sfvae_jax.evaluation.generation.features.table import FEATURES
from sfvae_jax.options import Option, one_of, whole

GENERATED = {
    "features": Option(
        "inception",
        one_of("features", FEATURES),
        "Which features of images are compared: those of the Inception network, or of a"
        " classifier trained on the labels",
    ),
    "num_samples": Option(
        10_000,
        whole(2),
        "Number of images of each source; if there are fewer real images, as many as these",
    ),
    **{name: option for spec in FEATURES.values() for name, option in spec.options.items()},
    **{name: option for spec in DENSITIES.values() for name, option in spec.options.items()},
}
