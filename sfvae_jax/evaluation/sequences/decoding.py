"""What latents decode to, as examples and as texts."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from sfvae_jax.errors import RunError
from sfvae_jax.evaluation.generation.densities.table import DENSITIES
from sfvae_jax.evaluation.generation.sources import random_codes
from sfvae_jax.evaluation.trained_model import (
    TrainedModel,
    once_per_checkpoint,
    program,
    split_examples,
)
from sfvae_jax.grammars import Language
from sfvae_jax.likelihoods import SequenceLikelihood
from sfvae_jax.objectives.numerics.batch import example_keys

# How a latent is decoded: to the mode of p(x|z), or to a sample of it.
DECODINGS = ("mode", "sample")


def language_of(trained: TrainedModel) -> Language:
    """Returns the language of a model of sequences.

    Raises:
        TypeError: if its examples are images.
    """
    if trained.language is None:
        raise TypeError("the model's examples are images, not sequences")
    return trained.language


def decode_examples(
    trained: TrainedModel, codes: np.ndarray, rng: Array | None = None
) -> np.ndarray:
    """Returns the mode of p(x|z) for each latent, or with a key a sample.

    The decoder runs free: one that is fed the places before each place is fed its own output, not
    an example. In the mode each place has the likeliest rule after those before it.

    Args:
        trained: a model of sequences.
        codes: [n, m], n at least 1; decoded in batches of `evaluations.batch_size`.
        rng: the key of samples, into which code i folds i; None for the mode.

    Returns:
        Rules with their padding, int32 [n, T]; with values float32 [n, T, 2].

    Raises:
        RunError: if the decoder's output is not finite.
    """
    sampled = rng is not None
    decode = program(trained, ("sequences", sampled), lambda: _decoder(trained, sampled))
    codes = np.asarray(codes, np.float32)
    keys = example_keys(trained.rng if rng is None else rng, len(codes))
    size = trained.config.batch_size
    batches = [
        jax.device_get(decode(trained.params, codes[i : i + size], keys[i : i + size]))
        for i in range(0, len(codes), size)
    ]
    for _, finite in batches:
        _require_finite(finite)
    return np.concatenate([examples for examples, _ in batches])


def decode_texts(trained: TrainedModel, codes: np.ndarray, rng: Array | None = None) -> list[str]:
    """Returns the n texts of `decode_examples`."""
    return texts(language_of(trained), decode_examples(trained, codes, rng))


def decode_attempts(trained: TrainedModel, codes: np.ndarray, keys: Array) -> list[list[str]]:
    """Returns the texts of several samples of p(x|z) for each latent.

    With every key they are those of `decode_texts`, but the decoder runs once for all keys, unless
    it is fed its own output.

    Args:
        trained: a model of sequences.
        codes: [n, m], n at least 1.
        keys: [k], one for each sample.

    Returns:
        A list for each of the n latents, with its k texts.

    Raises:
        RunError: if the decoder's output is not finite.
    """
    if getattr(trained.model, "teacher_forced", False):
        drawn = np.stack([decode_examples(trained, codes, key) for key in keys])
    else:
        drawn = _draw_attempts(trained, np.asarray(codes, np.float32), keys)
    language = language_of(trained)
    return [texts(language, of_code) for of_code in drawn.swapaxes(0, 1)]


def random_sentences(
    trained: TrainedModel, source: str, number: int, decoding: str = "mode"
) -> list[str]:
    """Returns the texts that random latents decode to.

    Args:
        trained: a model of sequences.
        source: the density that the latents are drawn from, one of `DENSITIES`.
        number: how many texts.
        decoding: one of `DECODINGS`.

    Raises:
        NotApplicable: if the model has no such density.
    """
    codes = random_codes(trained, source, number)
    rng = jax.random.fold_in(trained.rng, DENSITIES[source].stream - 1)
    return decode_texts(trained, codes, rng if decoding == "sample" else None)


def texts(language: Language, examples: Iterable[np.ndarray]) -> list[str]:
    """Returns the texts of examples [T] or [T, 2]."""
    return [language.write(example) for example in examples]


@once_per_checkpoint
def sentences(trained: TrainedModel, split: str) -> list[str]:
    """Returns the texts of "train", "valid" or "test".

    Raises:
        NotApplicable: if the model came without its data set.
    """
    return texts(language_of(trained), split_examples(trained, split))


def rules_of(language: Language, examples: np.ndarray) -> np.ndarray:
    """Returns the rules [N, T] of examples, without their values if they have any."""
    return (examples[..., 0] if language.has_values else examples).astype(int)


def _decoder(trained: TrainedModel, sampled: bool) -> Callable[..., Any]:
    """Compiles parameters, latents [n, m] and keys [n] -> examples and whether all was finite."""

    def decode(params: Any, z: Array, key: Array) -> tuple[Array, Array]:
        if sampled:
            example, parameters = trained.sample(params, z, key)
        else:
            parameters = trained.decode(params, z)
            example = cast(SequenceLikelihood, trained.likelihood).mode(parameters)
        finite = [jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(parameters)]
        return example, jnp.all(jnp.stack(finite))

    return jax.jit(jax.vmap(decode, (None, 0, 0)))


def _draw_attempts(trained: TrainedModel, codes: np.ndarray, keys: Array) -> np.ndarray:
    """Returns examples [k, n, ...], one for each key and latent, from one run of the decoder."""

    def draw(params: Any, z: Array, keys: Array) -> tuple[Array, Array]:
        parameters = jax.vmap(trained.decode, (None, 0))(params, z)
        # One key after another: the logits of all samples at once may not fit in memory.
        drawn = jax.lax.map(lambda k: jax.vmap(trained.likelihood.sample)(k, parameters), keys)
        finite = [jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(parameters)]
        return drawn, jnp.all(jnp.stack(finite))

    compiled = program(trained, "attempts", lambda: jax.jit(draw))
    keys = jax.vmap(example_keys, (0, None))(keys, len(codes))
    batches = []
    for start in range(0, len(codes), trained.config.batch_size):
        at = slice(start, start + trained.config.batch_size)
        drawn, finite = jax.device_get(compiled(trained.params, codes[at], keys[:, at]))
        _require_finite(finite)
        batches.append(drawn)
    return np.concatenate(batches, axis=1)


def _require_finite(finite: np.ndarray) -> None:
    if not np.all(finite):
        raise RunError(
            "the decoded sequences are not finite at this checkpoint; the model diverged"
        )
