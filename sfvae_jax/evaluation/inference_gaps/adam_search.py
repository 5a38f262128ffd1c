"""The search for the parameters that are best for one image, and when it stops (GAPS 6.4).

Adam goes uphill in windows of steps. So that it does not go astray, whatever the learning rate, a
gradient far beyond those before it is scaled down, a window that has fallen far or broken is taken
back, and the learning rate is lowered then, as it is before the search is given up.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array

NONE_YET = float(jnp.finfo(jnp.float32).min)
"""The best value before any; not -inf, at which JAX_DEBUG_INFS would end the search."""

_OUTLIER = 5.0  # times the root mean square norm of the gradients before
_SLOWER = 0.5  # the learning rate is multiplied by it where it is too high
_FAR = 5.0  # nats below the best, from where a search goes back
_ADAM = optax.scale_by_adam()


class Search(NamedTuple):
    """How far the search has come.

    Attributes:
        params: where it stands, a pytree.
        moments: of Adam.
        scale: of the learning rate.
        best: the parameters of the best window.
        best_value: the mean of that window; `NONE_YET` before the first.
        stale: checks in a row that have not improved on the best value.
        steps: taken so far.
        running: whether it goes on.
        converged: whether it stopped because nothing improved, and has found something finite.
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
    """The search before its first step."""
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
    """One window of Adam's steps uphill, and the check after it.

    The mean of the window's values is compared with the best so far; where `patience` checks in a
    row have not improved it, the search stops (GAPS Section 6.4, which never lowers the learning
    rate: here it is halved by each check of the second half of them). What is kept of the best
    window is the mean of its parameters over the second half: the noise of the single steps is left
    out. A search that has stopped stays as it is.

    Args:
        search: of one image.
        value: (params, step) -> what is to be maximised, a scalar; the step counts from 0.
        learning_rate: Adam's, at first.
        check_every: steps in the window.
        patience: checks without an improvement.

    Returns:
        The search after these steps.
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
    # Values near 15,000 have three digits after the point; a plain sum of them would have one.
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
    """The gradient, at most five times as long as those before (root mean square); 0 if broken.

    One that is longer by decades may move every parameter by thirty learning rates, all in its own
    direction, and leaves Adam with moments at which nothing moves for thousands of steps.
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
