"""Examples, latents and keys as users give them to a run, checked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from sfvae_jax.data.preprocessing import as_stored
from sfvae_jax.errors import UsageError
from sfvae_jax.grammars import Language, ParseError
from sfvae_jax.grammars.language import TooLong

_SLACK = 0.01  # of a level, how far a float may lie from it


def stored_examples(
    x: Any, shape: tuple[int, ...], language: Language | None, *, as_bytes: bool = False
) -> np.ndarray:
    """Returns examples as data sets store them, [N, *shape].

    Args:
        x: images [N, *shape], uint8 in 0..255 or floats in [0, 1]; or a list of texts; or sequences
            of rules as data sets store them.
        shape: the shape of an example.
        language: what sequences are made of; None for images.
        as_bytes: whether images must have the 256 levels of uint8.

    Raises:
        UsageError: saying what is wrong with x.
    """
    _refuse_traced("x", x)
    if language is not None and isinstance(x, str):
        raise UsageError("x must be a list of texts, such as [x]; got one text")
    if language is not None and _is_text(x):
        return _of_texts(list(x), shape, language)
    array, noun = np.asarray(x), "images" if language is None else "texts, or rules"
    if array.dtype.name == "bfloat16":
        array = array.astype(np.float32)
    if array.dtype.kind not in "biuf" or array.shape[1:] != tuple(shape) or array.ndim == 0:
        hint = "; give x[None] for a single example" if array.shape == tuple(shape) else ""
        if (*array.shape[1:], 1) == tuple(shape) and array.dtype.kind in "biuf":
            hint = "; give x[..., None]"
        raise UsageError(
            f"x must be {noun} of shape {_with_n(shape)}, got {array.dtype} {list(array.shape)}"
            f"{hint}"
        )
    if not len(array):
        return blank_example(shape, language)[:0]
    return _pixels(array, as_bytes) if language is None else _rules(array, language)


def blank_example(shape: tuple[int, ...], language: Language | None) -> np.ndarray:
    """Returns one stored example, [1, *shape]: a black image, or an empty text."""
    if language is None:
        return np.zeros((1, *shape), np.uint8)
    blank = np.full((1, *shape), language.grammar.padding, np.int16)
    if language.has_values:
        blank = blank.astype(np.float32)
        blank[..., 1] = 0.0
    return blank


def latents(z: Any, latent_size: int) -> np.ndarray:
    """Returns latents [N, m] in float32.

    Raises:
        UsageError: if z has another shape or type, or is not finite.
    """
    _refuse_traced("z", z)
    array = np.asarray(z)
    if array.ndim != 2 or array.shape[1] != latent_size:
        hint = "; give z[None] for a single latent" if array.shape == (latent_size,) else ""
        raise UsageError(
            f"z must be latents of shape [N, {latent_size}], got {list(array.shape)}{hint}"
        )
    if array.dtype.kind not in "biuf" and array.dtype.name != "bfloat16":
        raise UsageError(f"z must be numbers, got {array.dtype}")
    array = array.astype(np.float32)
    if not np.isfinite(array).all():
        raise UsageError("z has values that are not finite; replace them")
    return array


def key_of(rng: Any) -> jax.Array:
    """Returns a JAX key, or the key of a seed.

    Raises:
        UsageError: if it is something else.
    """
    if isinstance(rng, (int, np.integer)) and not isinstance(rng, bool):
        if not -(2**63) <= rng < 2**63:
            raise UsageError(f"rng must be a seed of 64 bits or a key, got {rng}")
        return jax.random.key(int(rng))
    if isinstance(rng, jax.Array):
        is_key = jnp.issubdtype(rng.dtype, jax.dtypes.prng_key)
        if rng.shape == () if is_key else (rng.dtype == np.uint32 and rng.ndim == 1):
            return rng
    raise UsageError(f"rng must be a key such as jax.random.key(0), or a seed, got {_kind(rng)}")


def count_of(name: str, value: Any, least: int) -> int:
    """Returns a whole number.

    Raises:
        UsageError: if it is none, or smaller than the least.
    """
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < least:
        got = _kind(value) if hasattr(value, "shape") else repr(value)
        raise UsageError(f"{name} must be a whole number, {least} or more, got {got}")
    return int(value)


def _refuse_traced(name: str, value: Any) -> None:
    """Refuses what `jax.jit`, `jax.grad` or `jax.vmap` of a run's method passes to it."""
    if isinstance(value, jax.core.Tracer):
        raise UsageError(
            f"{name} must be an array, got a value that jax.jit, jax.grad or jax.vmap traces; trace"
            " run.model.apply(run.params, x, method='encode') or (run.params, z, method='decode'),"
            " which take one example or latent"
        )


def _kind(value: Any) -> str:
    shape = f" of shape {list(value.shape)}" if hasattr(value, "shape") else ""
    return f"{type(value).__name__}{shape}"


def _with_n(shape: Sequence[int]) -> str:
    return f"[{', '.join(['N', *map(str, shape)])}]"


def _is_text(x: Any) -> bool:
    if isinstance(x, np.ndarray):
        return x.dtype.kind in "UO"
    return isinstance(x, (list, tuple)) and all(isinstance(text, str) for text in x)


def _pixels(array: np.ndarray, as_bytes: bool) -> np.ndarray:
    if array.dtype.kind in "iu" and array.max() == 1:
        raise UsageError(
            "x are whole numbers up to 1, so that all pixels of 0..255 would be nearly black;"
            " give booleans or 255 * x, or x / 255 if the images really are that dark"
        )
    stored = as_stored(array, "x", one_bit=False)
    if not as_bytes or stored.dtype == np.uint8:
        return stored
    levels = np.round(255.0 * stored)
    if np.abs(255.0 * stored - levels).max() > _SLACK:
        raise UsageError(
            "x has values between the 256 levels k / 255, and the likelihood of this run has no"
            " others; give uint8"
        )
    return levels.astype(np.uint8)


def _of_texts(texts: list[str], shape: tuple[int, ...], language: Language) -> np.ndarray:
    examples = []
    for i, text in enumerate(texts):
        try:
            examples.append(language.read(text))
        except (ParseError, TooLong) as error:
            raise UsageError(
                f"x[{i}] {text!r} is not a sentence of the {language.kind} of this run: {error}"
            ) from error
    return np.stack(examples) if examples else blank_example(shape, language)[:0]


def _rules(array: np.ndarray, language: Language) -> np.ndarray:
    rules = array[..., 0] if language.has_values else array
    whole = np.isfinite(rules).all() and np.array_equal(rules, np.round(rules))
    if not whole or rules.min() < 0 or rules.max() > language.grammar.padding:
        raise UsageError(
            f"the rules in x must be whole numbers in 0..{language.grammar.padding}; give texts, or"
            " rules as the data set stores them"
        )
    return array.astype(np.float32 if language.has_values else np.int16)
