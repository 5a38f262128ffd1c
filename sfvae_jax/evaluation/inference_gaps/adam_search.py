"""A search for one image's best parameters by Adam, and the rule that stops it (GAPS 6.4).

Adam climbs in windows of steps. Three precautions keep it stable at any learning rate: a gradient
much longer than the earlier ones is scaled down; a window that falls far or stops being finite is
undone; and the learning rate is lowered then, and again before the search gives up.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array

# The best value before the first one. JAX_DEBUG_INFS would stop the run at -inf.
NONE_YET = float(jnp.finfo(jnp.float32).min)

_OUTLIER = 5.0  # the longest gradient, in root mean square norms of the earlier ones
_SLOWER = 0.5  # factor that lowers the learning rate
_FAR = 5.0  # a window this many nats below the best is undone
_ADAM = optax.scale_by_adam()


class Search(NamedTuple):
    """The state of one image's search.

    Attributes:
        params: current parameters, a pytree.
        moments: Adam's moments.
        scale: factor of the learning rate.
        best: the parameters of the best window.
        best_value: mean value over that window; `NONE_YET` before the first.
        stale: consecutive checks that have not improved on the best value.
        steps: number of steps so far.
        running: whether the search goes on.
        converged: whether it stopped for lack of improvement, with a finite best value.
    """

    params: Any
    moments: Any
    scale: Array
    best: Any
    best_value: Array
    stale: Array
    steps: Array
    running: Array
    converged: Array


def begin(params: Any, running: Array | bool = True) -> Search:
    """Returns the state before the first step."""
    none_yet = jnp.asarray(NONE_YET, jnp.result_type(float))
    return Search(
        params=params,
        moments=_ADAM.init(params),
        scale=jnp.ones((), none_yet.dtype),
        best=params,
        best_value=none_yet,
        stale=jnp.zeros((), jnp.int32),
        steps=jnp.zeros((), jnp.int32),
        running=jnp.asarray(running),
        converged=jnp.zeros((), bool),
    )


def advance(
    search: Search,
    value: Callable[[Any, Array], Array],
    *,
    learning_rate: float,
    check_every: int,
    patience: int,
) -> Search:
    """Takes one window of Adam's steps uphill and makes the check after it.

    The check compares the mean of the window's values with the best so far; after `patience`
    consecutive checks without an improvement the search stops (GAPS Section 6.4). Unlike GAPS, each
    check in the second half of that patience halves the learning rate. Of the best window the
    search keeps the mean of the parameters over its second half, which averages out the noise of
    single steps. A search that has stopped does not change.

    Args:
        search: the state of one image's search.
        value: maps (params, step) to the scalar to maximise; steps count from 0.
        learning_rate: Adam's initial learning rate.
        check_every: steps in the window.
        patience: checks without an improvement after which the search stops.

    Returns:
        The state after these steps.
    """
    rate, first_kept = learning_rate * search.scale, check_every // 2

    def step(place: tuple[Any, Any, Any], number: Array) -> tuple[tuple[Any, Any, Any], Array]:
        params, moments, total = place
        reached, gradient = jax.value_and_grad(value)(params, search.steps + number)
        change, moments = _ADAM.update(_without_outlier(gradient, moments), moments)
        params = jax.tree.map(lambda leaf, part: leaf + rate * part, params, change)
        kept = jnp.where(number >= first_kept, 1.0, 0.0)
        moved = jax.tree.map(
            lambda sum_, now, then: sum_ + kept * (now - then), total, params, origin
        )
        return (params, moments, moved), reached

    origin = search.params
    start = (origin, search.moments, jax.tree.map(jnp.zeros_like, origin))
    (params, moments, total), values = jax.lax.scan(step, start, jnp.arange(check_every))
    share = 1.0 / (check_every - first_kept)
    mean = jax.tree.map(lambda then, sum_: then + share * sum_, origin, total)
    # In float32, values near 15,000 have three decimals; their plain sum would keep one.
    found = values[0] + jnp.mean(values - values[0])
    finite = _is_finite((params, moments, mean, found))
    better = finite & (found > search.best_value)
    lost = ~finite | (found < search.best_value - _FAR)
    stale = jnp.where(better, 0, search.stale + 1)
    slower = lost | (2 * stale > patience)
    best_value = jnp.where(better, found, search.best_value)
    best = _choose(better, mean, search.best)
    moved = Search(
        params=_choose(lost, best, params),
        moments=_choose(lost, _ADAM.init(params), moments),
        scale=jnp.where(slower, search.scale * _SLOWER, search.scale),
        best=best,
        best_value=best_value,
        stale=stale,
        steps=search.steps + check_every,
        running=stale < patience,
        converged=(stale >= patience) & (best_value > NONE_YET),
    )
    return _choose(search.running, moved, search)


def _without_outlier(gradient: Any, moments: Any) -> Any:
    """Shortens a gradient to five times the root mean square norm of the earlier ones.

    A gradient that is longer by orders of magnitude may move every parameter by thirty learning
    rates in its direction, and Adam's moments would then hold everything still for thousands of
    steps. A gradient that is not finite becomes 0.
    """
    norm = optax.tree.norm(gradient)
    unbiased = 1.0 - 0.999 ** moments.count.astype(norm.dtype)
    mean_square = optax.tree.sum(moments.nu) / jnp.where(moments.count > 0, unbiased, 1.0)
    most = jnp.where(moments.count > 0, _OUTLIER * jnp.sqrt(mean_square), norm)
    factor = jnp.minimum(1.0, most / jnp.where(norm > 0, norm, 1.0))
    usable = jnp.isfinite(norm)
    return jax.tree.map(lambda leaf: jnp.where(usable, factor * leaf, 0.0), gradient)


def _is_finite(tree: Any) -> Array:
    leaves = [jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(tree)]
    return functools.reduce(jnp.logical_and, leaves)


def _choose(condition: Array, one: Any, other: Any) -> Any:
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), one, other)
