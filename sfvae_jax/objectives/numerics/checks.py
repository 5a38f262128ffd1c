"""Checks of arguments: shapes are always checked, values where they are known.

Values are known unless JAX traces them: the values that `jax.jit`, `jax.vmap` or `jax.grad` traces
are not checked, and nothing is added to the program. Chex asserts the shapes, and the errors raised
here name the argument and say what was expected and what to do.
"""

from __future__ import annotations

import difflib
import numbers
import operator
from collections.abc import Callable, Iterable
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from sfvae_jax.objectives.numerics.precision import is_narrow

_ROUNDING = 2e-3  # how far pixels may lie beyond [0, 1]: two steps of float16
_ONE_EXAMPLE = "; this function takes one example; use jax.vmap for a batch"


class ArgumentError(ValueError, AssertionError):
    """An error that names an argument with a wrong shape or value and says what was expected.

    It is an `AssertionError` too, as the errors of Chex are.
    """


def shape_of(name: str, value: Any) -> tuple[int, ...]:
    """The shape of an array or a number.

    Raises:
        ArgumentError: if it is neither.
    """
    if isinstance(value, numbers.Number):
        return ()
    if not hasattr(value, "shape"):
        raise ArgumentError(f"{name} must be an array, got a {type(value).__name__}")
    return tuple(value.shape)


def check_scalar(name: str, value: Any) -> None:
    """Checks that a value is a single number."""
    shape = shape_of(name, value)
    if not _holds(chex.assert_shape, value, ()):
        raise ArgumentError(f"{name} must be a scalar, got shape {shape}{_ONE_EXAMPLE}")


def check_vector(name: str, value: Any) -> None:
    """Checks that a value is one vector [m], in particular not a batch of vectors."""
    shape = shape_of(name, value)
    if not _holds(chex.assert_rank, value, 1):
        hint = _ONE_EXAMPLE if shape else ""
        raise ArgumentError(f"{name} must have shape [m], got shape {shape}{hint}")


def check_batch(name: str, value: Any, expected: str = "[B, m]") -> None:
    """Checks that a value is a batch of vectors."""
    shape = shape_of(name, value)
    if not _holds(chex.assert_rank, value, 2):
        raise ArgumentError(f"{name} must have shape {expected}, got shape {shape}")


def check_square(name: str, value: Any, size: int | None = None) -> None:
    """Checks that a value is one square matrix, of this size if one is given."""
    shape = shape_of(name, value)
    side = size if size is not None else (shape or (0,))[0]
    if _holds(chex.assert_shape, value, (side, side)):
        return
    expected = "[m, m]" if size is None else f"({size}, {size})"
    hint = _ONE_EXAMPLE if len(shape) == 3 else ""
    raise ArgumentError(f"{name} must have shape {expected}, got shape {shape}{hint}")


def check_shape(name: str, value: Any, expected: tuple[int, ...], why: str = "") -> None:
    """Checks that a value has a shape; `why` says in the error why that one is expected."""
    shape = shape_of(name, value)
    if _holds(chex.assert_shape, value, tuple(expected)):
        return
    hint = _ONE_EXAMPLE if shape[1:] == tuple(expected) else ""
    raise ArgumentError(f"{name} must have shape {tuple(expected)}{why}, got shape {shape}{hint}")


def check_one_for_each(name: str, value: Any, of: str, others: Any) -> None:
    """Checks that two arrays have leading axes of the same length."""
    shape, number = shape_of(name, value), shape_of(of, others)[0]
    if shape[:1] != (number,):
        raise ArgumentError(
            f"{name} must hold one example for each of the {number} {of}, got shape {shape}"
        )


def check_example(x: Any, x_hat: Any, name: str = "the decoder's output") -> None:
    """Checks that an example has the shape of the decoder's output."""
    check_shape("x", x, shape_of(name, x_hat), f", as {name} has")


def check_pair(name: str, value: Any, expected: str) -> None:
    """Checks that a value is a tuple or list of two; an array of two rows is not one."""
    if isinstance(value, (tuple, list)):
        if len(value) == 2:
            return
        what = f"{len(value)} values"
    elif hasattr(value, "shape"):
        what = f"one array of shape {tuple(value.shape)}"
    else:
        what = f"a {_kind(value)}"
    raise ArgumentError(f"{name} must be the pair {expected}, got {what}")


def check_per_element(name: str, value: Any, like: Any) -> None:
    """Checks that a value is a scalar or has the shape of another array."""
    shape = shape_of(name, value)
    if shape and shape != like.shape:
        hint = _ONE_EXAMPLE if shape[1:] == like.shape else ""
        raise ArgumentError(
            f"{name} must be a scalar or have shape {like.shape}, got shape {shape}{hint}"
        )


def per_element(name: str, value: Array | float, like: Any) -> Array:
    """Broadcasts a scalar, or an array with the shape of another, to that shape.

    Raises:
        ArgumentError: if it is neither.
    """
    check_per_element(name, value, like)
    return jnp.broadcast_to(value, like.shape)


def check_tells_apart(name: str, value: Any, number: int, what: str) -> None:
    """Checks that the floats of an array have enough bits for `number` different values."""
    if is_narrow(value) and number > 2 ** (jnp.finfo(value.dtype).nmant + 1):
        raise ArgumentError(
            f"{name} must be float32; {value.dtype} cannot represent all {number} {what}"
        )


def check_positive(name: str, value: Any) -> None:
    """Checks that no number is known to be negative, zero or nan."""
    known = known_value(value)
    if known is not None and not np.all(known > 0):
        raise ArgumentError(f"{name} must be positive, got {_first(known, known > 0)}")


def check_not_negative(name: str, value: Any) -> None:
    """Checks that no number is known to be negative or nan."""
    known = known_value(value)
    if known is not None and not np.all(known >= 0):
        raise ArgumentError(f"{name} must not be negative, got {_first(known, known >= 0)}")


def check_number(name: str, value: Any) -> None:
    """Checks that a value is a number or an array of numbers, and that none is known to be inf."""
    if isinstance(value, (Array, np.ndarray, np.generic)):
        is_number = jnp.issubdtype(value.dtype, jnp.number)
    else:
        is_number = isinstance(value, numbers.Real) and not isinstance(value, bool)
    if not is_number:
        raise ArgumentError(f"{name} must be a number, got {in_one_line(value)}")
    known = known_value(value)
    if known is not None and np.any(np.isinf(known)):
        raise ArgumentError(f"{name} must be finite, got {in_one_line(value)}")


def check_in_0_1(name: str, value: Any) -> None:
    """Checks that a single number is not known to lie outside [0, 1]."""
    check_scalar(name, value)
    known = known_value(value)
    if known is not None and not 0.0 <= known <= 1.0:
        raise ArgumentError(f"{name} must lie in [0, 1], got {value}")


def check_examples(x: Any, likelihood: Any) -> None:
    """Checks that a batch is not empty, and fits a likelihood of pixels in [0, 1], if known."""
    if not len(x):
        raise ArgumentError("x holds no example; a batch has at least one")
    known = known_value(x) if getattr(likelihood, "in_unit_interval", False) else None
    if known is None:
        return
    outside = (known < -_ROUNDING) | (known > 1 + _ROUNDING)
    if outside.any():
        advice = "; divide pixels of 8 bits by 255" if known.max() > 2 else ""
        raise ArgumentError(
            f"x must lie in [0, 1] for {type(likelihood).__name__}, got"
            f" {_first(known, ~outside)}{advice}"
        )


def check_flag(name: str, value: Any) -> None:
    """Checks that a value is True or False."""
    if not isinstance(value, (bool, np.bool_)):
        raise ArgumentError(f"{name} must be True or False, got {in_one_line(value)}")


def check_count(name: str, value: Any) -> None:
    """Checks that a count is a whole number, 0 or more; True and False are none."""
    if _whole(name, value) < 0:
        raise ArgumentError(f"{name} must not be negative, got {value}")


def check_at_least_one(name: str, value: Any) -> None:
    """Checks that a count is a whole number, 1 or more."""
    if _whole(name, value) < 1:
        raise ArgumentError(f"{name} must be at least 1, got {value}")


def is_key(value: Any) -> bool:
    """Whether a value is a key, or an array of keys, of either kind that JAX has."""
    dtype = getattr(value, "dtype", None)
    return dtype is not None and (jnp.issubdtype(dtype, jax.dtypes.prng_key) or dtype == jnp.uint32)


def check_key(rng: Any) -> None:
    """Checks that noise is drawn from a key."""
    if not is_key(rng):
        raise ArgumentError(f"rng must be a key such as jax.random.key(0), got {in_one_line(rng)}")


def has_mean(value: Any) -> bool:
    """Whether a value has a mean, as a posterior does; that of an array is a method."""
    return hasattr(value, "mean") and not callable(value.mean)


def check_has(name: str, value: Any, method: str, example: str) -> None:
    """Checks that a value is an object, not a class, and has a method."""
    if isinstance(value, type):
        raise ArgumentError(
            f"{name} must be an object such as {example}, got the class {value.__name__}"
        )
    if not hasattr(value, method):
        raise ArgumentError(
            f"{name} must have a method {method}, as {example} has; got a {_kind(value)}"
        )


def known_value(value: Any) -> np.ndarray | None:
    """Returns a value that can be read now; None if it is traced or lies on another process."""
    if isinstance(value, jax.core.Tracer):
        return None
    if isinstance(value, Array) and not value.is_fully_addressable:
        return None
    return np.asarray(value)


def is_off(weight: Any) -> bool:
    """Returns whether a weight is 0; one that JAX traces may have any value, and counts as on."""
    value = known_value(weight)
    return value is not None and not value.any()


def known_names(name: Any, known: Iterable[str], what: str = "expected one of") -> str:
    """Says after an unknown name which one is the most similar, if one is, and which there are."""
    known = list(known)
    near = difflib.get_close_matches(str(name), known, n=1)
    listed = f"{what} {', '.join(known) or 'none'}"
    return f"did you mean {near[0]!r}? {listed[0].upper()}{listed[1:]}" if near else listed


def in_one_line(value: Any) -> str:
    """Writes a value for a message."""
    return " ".join(repr(value).split())


def _whole(name: str, value: Any) -> int:
    """Returns a whole number, which True and False are not."""
    try:
        if not isinstance(value, bool):
            return operator.index(value)
    except TypeError:
        pass
    raise ArgumentError(f"{name} must be a whole number, got {in_one_line(value)}")


def _kind(value: Any) -> str:
    return type(value).__name__


def _first(values: np.ndarray, fits: np.ndarray) -> str:
    """Writes the first of the values that do not fit, and its position."""
    if not values.ndim:
        return str(values)
    place = tuple(int(i) for i in np.argwhere(~fits)[0])
    return f"{values[place]!s} at {list(place)}"


def _holds(assertion: Callable[..., None], *arguments: Any) -> bool:
    """Whether an assertion of Chex holds."""
    try:
        assertion(*arguments)
    except AssertionError:
        return False
    return True
