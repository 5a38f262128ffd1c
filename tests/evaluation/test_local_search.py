"""When a search stops and what it keeps: objectives whose values are known beforehand."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from sfvae_jax.evaluation.local_search import NONE_YET, advance, begin

EVERY = 4
SETTINGS = {"learning_rate": 0.1, "check_every": EVERY, "patience": 3}


def _windows(values, num_windows, params=(0.0,), **settings):
    """Searches of one number with slope 1, whose value in window w is values[w]; all along."""
    values = jnp.array(values)

    def value(params, step):
        return values[step // EVERY] + params[0] - jax.lax.stop_gradient(params[0])

    go_on = jax.jit(lambda search: advance(search, value, **{**SETTINGS, **settings}))
    found = [begin(tuple(map(jnp.asarray, params)), 0.1)]
    for _ in range(num_windows):
        found.append(go_on(found[-1]))
    return found


def test_patience_counts_checks_in_a_row():
    """Better, worse, worse, better, then three that are no better; an equal one is none."""
    found = _windows([1.0, 0.5, 0.9, 2.0, 2.0, 1.5, 1.9, 9.0], 8)[1:]
    assert [int(search.stale) for search in found] == [0, 1, 2, 0, 1, 2, 3, 3]
    assert [bool(search.running) for search in found] == [True] * 6 + [False] * 2
    assert [bool(search.converged) for search in found] == [False] * 6 + [True] * 2
    assert [int(search.steps) for search in found] == [4, 8, 12, 16, 20, 24, 28, 28]
    assert found[-1].best_value == 2.0


def test_the_best_parameters_are_those_at_the_end_of_the_best_window():
    found = _windows([1.0, 0.5, 2.0, 1.0, 1.0], 5)
    assert found[-1].best[0] == found[3].params[0] != found[-1].params[0]
    # Adam's steps up a slope of 1 are the learning rate.
    np.testing.assert_allclose(found[3].params[0], 3 * EVERY * 0.1, rtol=1e-4)


def test_what_has_stopped_does_not_change_while_others_go_on():
    def value(params, step, target):
        return -jnp.square(params - target)

    @jax.jit
    def go_on(searches, targets):
        def one(search, target):
            return advance(search, lambda p, s: value(p, s, target), **SETTINGS)

        return jax.vmap(one)(searches, targets)

    # The first starts at its optimum, where nothing improves after the first window.
    targets = jnp.array([0.0, 50.0])
    searches = jax.vmap(lambda start: begin(start, 0.1))(jnp.zeros(2))
    history = []
    for _ in range(10):
        searches = go_on(searches, targets)
        history.append(jax.device_get(searches))
    stopped = next(i for i, search in enumerate(history) if not search.running[0])
    assert stopped == 3
    for search in history[stopped:]:
        for now, then in zip(
            jax.tree.leaves(search), jax.tree.leaves(history[stopped]), strict=True
        ):
            np.testing.assert_array_equal(now[0], then[0])
    assert history[-1].steps.tolist() == [16, 40]
    assert history[-1].params[1] > history[stopped].params[1]


@pytest.mark.parametrize("broken", [np.nan, -np.inf, np.inf])
def test_a_broken_value_stops_and_keeps_the_best(broken):
    found = _windows([1.0, broken, 2.0], 3)
    last = found[-1]
    assert not last.running
    assert not last.converged
    assert (last.best[0], last.best_value) == (found[1].params[0], 1.0)
    assert last.steps == 8


def test_a_value_that_breaks_at_once_leaves_the_start():
    last = _windows([np.nan], 1, params=(0.25,))[-1]
    assert (last.best[0], last.best_value, bool(last.running)) == (0.25, NONE_YET, False)


def test_parameters_that_break_in_the_last_step_are_not_kept():
    """The value there was still finite, its gradient was not."""

    def value(params, step):
        zero = params - jax.lax.stop_gradient(params)  # where the slope of sqrt is infinite
        return params + jnp.sqrt(jnp.where(step == 2 * EVERY - 1, zero, 1.0))

    go_on = jax.jit(functools.partial(advance, value=value, **SETTINGS))
    first = go_on(begin(jnp.asarray(1.0), 0.1))
    second = go_on(first)
    assert not np.isfinite(second.params)
    assert second.best == first.params
    assert (bool(second.running), bool(second.converged)) == (False, False)


def test_a_large_value_keeps_its_digits():
    """100 values near -15,000, where float32 has steps of 0.001; their plain sum has 0.125."""
    noise = np.random.default_rng(0).normal(size=100)
    values = (-15_000 + noise).astype(np.float32)
    search = advance(
        begin(jnp.zeros(()), 0.1),
        lambda params, step: jnp.array(values)[step] + 0.0 * params,
        learning_rate=0.1,
        check_every=100,
        patience=1,
    )
    assert abs(float(search.best_value) - values.astype(float).mean()) < 0.001


def test_the_steps_are_adams():
    """Against optax in a plain loop, noise and all."""

    def value(params, step):
        return -jnp.sum(jnp.square(params - jnp.array([1.0, -2.0])) * (1.0 + step))

    search = begin(jnp.zeros(2), 0.1)
    for _ in range(2):
        search = advance(search, value, **SETTINGS)
    params, adam = jnp.zeros(2), optax.adam(0.1)
    moments = adam.init(params)
    for step in range(2 * EVERY):
        gradient = jax.grad(lambda p: -value(p, step))(params)
        change, moments = adam.update(gradient, moments)
        params = params + change
    np.testing.assert_allclose(search.params, params, rtol=1e-5)
