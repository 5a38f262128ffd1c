"""The search for the parameters that are best for one image, and when it stops (GAPS 6.4)."""

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


class Search(NamedTuple):
    """How far the search has come.

    Attributes:
        params: where it stands, a pytree.
        moments: of Adam.
        best: the parameters at the end of the best window.
        best_value: the mean of that window; `NONE_YET` before the first.
        stale: checks in a row that have not improved it.
        steps: taken so far.
        running: whether it goes on.
        converged: whether it stopped because nothing improved, not because of a broken value.
    """

    params: Any
    moments: Any
    best: Any
    best_value: Array
    stale: Array
    steps: Array
    running: Array
    converged: Array


def begin(params: Any, learning_rate: float, running: Array | bool = True) -> Search:
    """The search before its first step."""
    return Search(
        params=params,
        moments=optax.adam(learning_rate).init(params),
        best=params,
        best_value=jnp.asarray(NONE_YET, jnp.result_type(float)),
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
    row have not improved it, the search stops (GAPS Section 6.4). It stops too where the mean or
    the parameters are not finite; the best ones, which are, are kept. A search that has stopped
    stays as it is.

    Args:
        search: of one image.
        value: (params, step) -> what is to be maximised, a scalar; the step counts from 0.
        learning_rate: Adam's.
        check_every: steps in the window.
        patience: checks without an improvement.

    Returns:
        The search after these steps.
    """
    update = optax.adam(learning_rate).update

    def step(place: tuple[Any, Any], count: Array) -> tuple[tuple[Any, Any], Array]:
        params, moments = place
        loss, gradient = jax.value_and_grad(lambda params: -value(params, count))(params)
        change, moments = update(gradient, moments)
        return (optax.apply_updates(params, change), moments), -loss

    counts = search.steps + jnp.arange(check_every)
    (params, moments), values = jax.lax.scan(step, (search.params, search.moments), counts)
    # Values near 15,000 have three digits after the point; a plain sum of them would have one.
    mean = values[0] + jnp.mean(values - values[0])
    finite = functools.reduce(
        jnp.logical_and, [jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves((mean, params))]
    )
    better = finite & (mean > search.best_value)
    stale = jnp.where(better, 0, search.stale + 1)
    moved = Search(
        params=params,
        moments=moments,
        best=_choose(better, params, search.best),
        best_value=jnp.where(better, mean, search.best_value),
        stale=stale,
        steps=search.steps + check_every,
        running=finite & (stale < patience),
        converged=finite & (stale >= patience),
    )
    return _choose(search.running, moved, search)


def _choose(condition: Array, one: Any, other: Any) -> Any:
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), one, other)
