"""A trained model's sequences as texts, and which of them are valid."""

from __future__ import annotations

import jax
import numpy as np
from jax import Array

from sfvae_jax.evaluation.codes import TrainedModel, once
from sfvae_jax.grammars import EXPRESSIONS, Language, ParseError
from sfvae_jax.objectives.batch import example_keys

DECODINGS = ("mode", "sample")


def decode_texts(trained: TrainedModel, codes: np.ndarray, rng: Array | None = None) -> list[str]:
    """The texts of latents [n, m]: of p(x|z) the mode, or with a key a sample."""
    likelihood = trained.likelihood

    def decode(params: object, z: Array, key: Array) -> Array:
        parameters = trained.decode(params, z)
        return likelihood.mode(parameters) if rng is None else likelihood.sample(key, parameters)

    mapped = once(
        trained, ("sequences", rng is not None), lambda: jax.jit(jax.vmap(decode, (None, 0, 0)))
    )
    keys = example_keys(trained.rng if rng is None else rng, len(codes))
    examples = mapped(trained.params, np.asarray(codes, np.float32), keys)
    return [trained.language.write(example) for example in np.asarray(examples)]


def sentences(trained: TrainedModel, part: str) -> list[str]:
    """The texts of "train", "valid" or "test"."""
    return [trained.language.write(example) for example in trained.images_of(part)]


def is_valid(language: Language, text: str) -> bool:
    """Whether an equation parses under `EXPRESSIONS`."""
    del language
    try:
        EXPRESSIONS.parse(text)
    except ParseError:
        return False
    return True


def canonical(language: Language, text: str) -> str | None:
    """One form of all valid texts that mean the same."""
    del language
    return text.replace(" ", "")
