"""When a search stops and what it keeps: objectives whose values are known beforehand."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from sfvae_jax.evaluation.inference_gaps.adam_search import (
    NONE_YET,
    _without_outlier,
    advance,
    begin,
)

EVERY = 4
SETTINGS = {"learning_rate": 0.1, "check_every": EVERY, "patience": 3}


def _windows(values, params=0.0, **settings):
    """Returns the states of a search for one number of slope 1, whose windows have these values."""

    def go_on(search, found):
        def value(params, step):
            return found + params - jax.lax.stop_gradient(params)

        return advance(search, value, **{**SETTINGS, **settings})

    go_on, searches = jax.jit(go_on), [begin(jnp.asarray(params))]
    for value in values:
        searches.append(go_on(searches[-1], value))
    return searches[1:]


def test_patience_counts_checks_in_a_row():
    """The windows are better, worse, worse, better, then three not better; one is equal."""
    found = _windows([1.0, 0.5, 0.9, 2.0, 2.0, 1.5, 1.9, 9.0])
    assert [int(search.stale) for search in found] == [0, 1, 2, 0, 1, 2, 3, 3]
    assert [bool(search.running) for search in found] == [True] * 6 + [False] * 2
    assert [bool(search.converged) for search in found] == [False] * 6 + [True] * 2
    assert [int(search.steps) for search in found] == [4, 8, 12, 16, 20, 24, 28, 28]
    assert found[-1].best_value == 2.0


def test_the_best_parameters_are_the_mean_of_half_a_window():
    """On a slope of 1 each step of Adam is the learning rate: 0.1, 0.2, 0.3, 0.4 and so on."""
    found = _windows([1.0, 2.0, 1.0])
    np.testing.assert_allclose([search.best for search in found], [0.35, 0.75, 0.75], rtol=1e-5)
    np.testing.assert_allclose(found[1].params, 0.8, rtol=1e-5)


def test_the_learning_rate_falls_before_the_search_gives_up():
    """It falls at the second and third of three checks without an improvement."""
    found = _windows([1.0, 0.5, 0.9, 2.0, 1.5])
    np.testing.assert_allclose([search.scale for search in found], [1, 1, 0.5, 0.5, 0.5])
    np.testing.assert_allclose(found[3].params, 1.2 + 4 * 0.05, rtol=1e-5)


def test_a_search_that_has_fallen_far_goes_back():
    """From 6 nats below the best it restarts there at half the rate; from 4 nats it does not."""
    near, far = (_windows([1.0, 2.0, 2.0 - fall])[-1] for fall in (4.0, 6.0))
    np.testing.assert_allclose([near.params, far.params], [1.2, 0.75], rtol=1e-5)
    assert (int(near.moments.count), int(far.moments.count)) == (12, 0)
    assert (near.scale, far.scale, bool(far.converged)) == (1.0, 0.5, False)


def test_a_search_that_has_stopped_does_not_change_while_others_go_on():
    def value(params, step, target):
        return -jnp.square(params - target)

    @jax.jit
    def go_on(searches, targets):
        def one(search, target):
            return advance(search, lambda p, s: value(p, s, target), **SETTINGS)

        return jax.vmap(one)(searches, targets)

    # The first starts at its optimum, where nothing improves after the first window.
    targets = jnp.array([0.0, 50.0])
    searches = jax.vmap(begin)(jnp.zeros(2))
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
def test_a_window_that_is_not_finite_is_undone(broken):
    found = _windows([1.0, broken, 2.0, broken, broken, broken])
    assert found[1].params == found[1].best == found[0].best
    np.testing.assert_allclose(found[2].params, 0.35 + 4 * 0.05, rtol=1e-5)
    last = found[-1]
    assert (last.best, last.best_value) == (found[2].best, 2.0)
    assert (bool(last.running), bool(last.converged)) == (False, True)


def test_a_search_without_finite_values_keeps_its_start():
    last = _windows([np.nan] * 4, params=0.25)[-1]
    assert (last.params, last.best, last.best_value) == (0.25, 0.25, NONE_YET)
    assert (int(last.steps), bool(last.running), bool(last.converged)) == (12, False, False)


def test_a_large_value_keeps_its_digits():
    """Near -15,000 float32 has steps of 0.001; a plain sum of 100 such values, of 0.125."""
    noise = np.random.default_rng(0).normal(size=100)
    values = (-15_000 + noise).astype(np.float32)
    settings = {"learning_rate": 0.1, "check_every": 100, "patience": 1}
    search = advance(
        begin(jnp.zeros(())),
        lambda params, step: jnp.array(values)[step] + 0.0 * params,
        **settings,
    )
    assert abs(float(search.best_value) - values.astype(float).mean()) < 0.001


@pytest.mark.parametrize("slope", [1e12, np.inf])
def test_an_outlying_gradient_does_not_stop_the_search(slope):
    """After a gradient of 1e12 plain Adam would hardly move any more."""

    def run(update, init, clip=lambda gradient, moments: gradient):
        params, moments, way = jnp.zeros(()), init(jnp.zeros(())), []
        for step in range(40):
            gradient = jnp.asarray(slope if step == 20 else 1.0)
            change, moments = update(clip(gradient, moments), moments)
            params += 0.1 * change
            way.append(float(params))
        return np.diff(way[19:])

    adam = optax.scale_by_adam()
    if np.isfinite(slope):
        alone = run(jax.jit(adam.update), adam.init)
        assert alone[-1] < 0.01
    ours = run(jax.jit(adam.update), adam.init, jax.jit(_without_outlier))
    assert (ours < 0.2).all()
    assert (ours > 0.06).all()


def test_the_steps_are_those_of_adam():
    """They equal those of Optax in a plain loop, with noise."""

    def value(params, step):
        return -jnp.sum(jnp.square(params - jnp.array([1.0, -2.0])) * (1.0 + 0.1 * step))

    search = begin(jnp.zeros(2))
    for _ in range(2):
        search = advance(search, value, **SETTINGS)
    params, adam = jnp.zeros(2), optax.adam(0.1)
    moments = adam.init(params)
    for step in range(2 * EVERY):
        gradient = jax.grad(lambda p: -value(p, step))(params)
        change, moments = adam.update(gradient, moments)
        params = params + change
    np.testing.assert_allclose(search.params, params, rtol=1e-5)
