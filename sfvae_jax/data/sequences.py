"""Data sets of sequences: which language they are in."""

from __future__ import annotations

import ml_collections

from sfvae_jax.data.architectures import architecture_language
from sfvae_jax.grammars import EXPRESSIONS, Language


def language(config: ml_collections.ConfigDict) -> Language | None:
    """The language of the data set that a `data` group describes; None: it holds images."""
    if config.name == "equations":
        return Language("equations", EXPRESSIONS, config.max_length or 15)
    if config.name.partition(":")[0] in ("architectures", "enas"):
        return architecture_language(config)
    return None
