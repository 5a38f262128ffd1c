"""A trained model's sequences: latents as examples and as texts, and which texts are valid."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from sfvae_jax.errors import RunError
from sfvae_jax.evaluation.generation.densities.table import DENSITIES
from sfvae_jax.evaluation.generation.sources import random_codes
from sfvae_jax.evaluation.sequences import molecules
from sfvae_jax.evaluation.trained_model import TrainedModel, once, part_images, program
from sfvae_jax.grammars import EXPRESSIONS, Language, ParseError
from sfvae_jax.objectives.numerics.batch import example_keys

DECODINGS = ("mode", "sample")


def decode_examples(
    trained: TrainedModel, codes: np.ndarray, rng: Array | None = None
) -> np.ndarray:
    """The sequences of latents [n, m]: of p(x|z) the mode, or with a key a sample.

    The decoder runs free: where it is fed its own output, with that and no example's. In the mode
    each place has the likeliest rule after those before it.

    Args:
        trained: model of sequences.
        codes: [n, m], n at least 1; decoded in batches of `evaluations.batch_size`.
        rng: of samples; code i folds i in.

    Returns:
        Rules with their padding, int32 [n, T]; with values float32 [n, T, 2].

    Raises:
        RunError: if what the decoder gives is not finite.
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
    """The texts of `decode_examples`, n of them."""
    return texts(trained.language, decode_examples(trained, codes, rng))


def decode_attempts(trained: TrainedModel, codes: np.ndarray, keys: Array) -> list[list[str]]:
    """Texts of several samples of p(x|z) for each latent: what `decode_texts` gives with every key.

    The decoder runs once for all keys, unless it is fed its own output.

    Args:
        trained: model of sequences.
        codes: [n, m], n at least 1.
        keys: [k], one for each sample.

    Returns:
        For each of the n latents its k texts.

    Raises:
        RunError: as `decode_examples`.
    """
    if getattr(trained.model, "teacher_forced", False):
        drawn = np.stack([decode_examples(trained, codes, key) for key in keys])
    else:
        drawn = _draw_attempts(trained, np.asarray(codes, np.float32), keys)
    return [texts(trained.language, of_code) for of_code in drawn.swapaxes(0, 1)]


def random_sentences(
    trained: TrainedModel, source: str, number: int, decoding: str = "mode"
) -> list[str]:
    """Texts of random latents.

    Args:
        trained: model of sequences.
        source: one of `DENSITIES`, that the latents are from.
        number: of texts.
        decoding: "mode" or "sample", of p(x|z).

    Raises:
        NotApplicable: if the model has no such density.
    """
    codes = random_codes(trained, source, number)
    rng = jax.random.fold_in(trained.rng, DENSITIES[source].stream - 1)
    return decode_texts(trained, codes, rng if decoding == "sample" else None)


def texts(language: Language, examples: Iterable[np.ndarray]) -> list[str]:
    """What examples [T] or [T, 2] say."""
    return [language.write(example) for example in examples]


def sentences(trained: TrainedModel, part: str) -> list[str]:
    """The texts of "train", "valid" or "test", written once.

    Raises:
        NotApplicable: if the model came without its data set.
    """
    write = lambda: texts(trained.language, part_images(trained, part))  # noqa: E731
    return once(trained, ("sentences", part), write)


def is_valid(language: Language, text: str) -> bool:
    """Whether a text is what its kind of sequences must be.

    An equation parses under `EXPRESSIONS`, a molecule is read by RDKit, an architecture has one
    layer or more.

    Raises:
        NotApplicable: if it is a molecule and RDKit is not installed.
    """
    return _VALID[language.kind](text)


def canonical(language: Language, text: str) -> str | None:
    """One form of all valid texts that mean the same: what is counted as one sequence.

    Of an equation the text without spaces, of a molecule RDKit's SMILES (None where it reads
    none), of an architecture the types of its layers, without their values.

    Raises:
        NotApplicable: if it is a molecule and RDKit is not installed.
    """
    if language.kind == "equations":
        return text.replace(" ", "")
    if language.kind == "molecules":
        return molecules.canonical(text)
    return " ".join(kind for kind, _ in layers(language, text))


def layers(language: Language, text: str) -> list[tuple[str, float]]:
    """Type and value of each layer of an architecture's text; the value is 1 where it has none."""
    parts = text.split(language.grammar.separator or None)
    if not language.has_values:
        return [(part, 1.0) for part in parts if part]
    pairs = (part.removesuffix(")").rpartition("(") for part in parts if part)
    return [(kind, float(value)) for kind, _, value in pairs]


def rules_of(language: Language, examples: np.ndarray) -> np.ndarray:
    """The rules [N, T] of examples, without their values if they have any."""
    return (examples[..., 0] if language.has_values else examples).astype(int)


def _decoder(trained: TrainedModel, sampled: bool) -> Callable[..., Any]:
    """Of parameters, latents [n, m] and keys [n]: the examples, and whether all was finite, [n]."""

    def decode(params: Any, z: Array, key: Array) -> tuple[Array, Array]:
        if sampled:
            example, parameters = trained.sample(params, z, key)
        else:
            parameters = trained.decode(params, z)
            example = trained.likelihood.mode(parameters)
        finite = [jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(parameters)]
        return example, jnp.all(jnp.stack(finite))

    return jax.jit(jax.vmap(decode, (None, 0, 0)))


def _draw_attempts(trained: TrainedModel, codes: np.ndarray, keys: Array) -> np.ndarray:
    """Examples [k, n, ...] from parameters that are decoded once."""

    def draw(params: Any, z: Array, keys: Array) -> tuple[Array, Array]:
        parameters = jax.vmap(trained.decode, (None, 0))(params, z)
        # One key after another: all samples' logits at once may be more than fits.
        drawn = jax.lax.map(lambda k: jax.vmap(trained.likelihood.sample)(k, parameters), keys)
        finite = [jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(parameters)]
        return drawn, jnp.all(jnp.stack(finite))

    draw = program(trained, "attempts", lambda draw=draw: jax.jit(draw))
    keys = jax.vmap(example_keys, (0, None))(keys, len(codes))
    batches = []
    for start in range(0, len(codes), trained.config.batch_size):
        part = slice(start, start + trained.config.batch_size)
        drawn, finite = jax.device_get(draw(trained.params, codes[part], keys[:, part]))
        _require_finite(finite)
        batches.append(drawn)
    return np.concatenate(batches, axis=1)


def _require_finite(finite: np.ndarray) -> None:
    if not np.all(finite):
        raise RunError("the decoded sequences are not finite at this checkpoint; it diverged")


def is_expression(text: str) -> bool:
    """Whether a text parses under `EXPRESSIONS`."""
    try:
        EXPRESSIONS.parse(text)
    except ParseError:
        return False
    return True


_VALID: dict[str, Callable[[str], bool]] = {
    "equations": is_expression,
    "molecules": molecules.is_valid,
    "architectures": lambda text: bool(text.strip()),
}
