"""Weights on the parts of an ELBO: schedules at literal steps, free bits on literal divergences."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sfvae_jax import objectives

ELBO = objectives.Elbo(jnp.array([-10.0, -2.0]), jnp.array([-3.0, 0.5]), jnp.array([1.0, -4.0]))
KL = (0.1, 0.7, 2.0)
BATCH_KL = ((0.1, 1.0, 0.3), (0.5, 3.0, 0.1), (0.0, 0.2, 0.0), (0.6, 1.8, 0.4))


def _values(schedule, steps):
    """At whole numbers, and traced under jit, which must agree."""
    plain = [float(schedule(step)) for step in steps]
    traced = [float(jax.jit(schedule)(step)) for step in steps]
    np.testing.assert_allclose(traced, plain, rtol=1e-6)
    return plain


def test_constant():
    assert _values(objectives.constant_weight(2.5), (0, 7, 10**9)) == [2.5, 2.5, 2.5]


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [(0.0, 1.0, [0.0, 0.25, 0.5, 1.0, 1.0]), (4.0, 1.0, [4.0, 3.25, 2.5, 1.0, 1.0])],
)
def test_linear(start, end, expected):
    schedule = objectives.linear_weight(start, end, 100)
    np.testing.assert_allclose(_values(schedule, (0, 25, 50, 100, 500)), expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "options", "expected"),
    [
        # Cycles of 25 steps that rise for 12.5 of them: 1/12.5 = 0.08 a step.
        ((0, 1, 100), {}, {0: 0, 1: 0.08, 12: 0.96, 13: 1, 24: 1, 25: 0, 30: 0.4, 99: 1}),
        ((0, 1, 100), {"ramp": 1.0}, {0: 0, 1: 0.04, 24: 0.96, 25: 0, 99: 0.96, 100: 1, 900: 1}),
        ((0.2, 0.6, 100), {"num_cycles": 1}, {0: 0.2, 25: 0.4, 50: 0.6, 99: 0.6, 100: 0.6}),
        # Cycles of 10/3 steps: step 4 is 2/3 of a step into the second, 0.4 of its rise.
        ((0, 1, 10), {"num_cycles": 3}, {0: 0, 1: 0.6, 2: 1, 3: 1, 4: 0.4, 7: 0.2, 9: 1, 10: 1}),
        # As many cycles as steps: always at the start of one, until they are over.
        ((0.5, 2, 4), {"num_cycles": 4}, {0: 0.5, 1: 0.5, 3: 0.5, 4: 2, 5: 2}),
        # Far in, no drift: the last step of the fifth cycle's rise, and the first of the sixth.
        ((0, 1, 10**6), {"num_cycles": 10}, {450_000 - 1: 0.99998, 450_000: 1, 500_000: 0}),
    ],
)
def test_cyclic(arguments, options, expected):
    schedule = objectives.cyclic_weight(*arguments, **options)
    obtained = _values(schedule, expected)
    np.testing.assert_allclose(obtained, list(expected.values()), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(
    ("beta", "entropy_weight", "expected"),
    [
        (1.0, 1.0, [-12.0, -5.5]),
        (0.0, 1.0, [-10.0, -2.0]),
        (2.0, 1.0, [-14.0, -9.0]),
        (1.0, 0.0, [-13.0, -1.5]),
        (2.0, 0.5, [-15.0, -5.0]),
    ],
)
def test_weighted_value(beta, entropy_weight, expected):
    obtained = objectives.weighted_value(ELBO, beta=beta, entropy_weight=entropy_weight)
    np.testing.assert_allclose(obtained, expected, rtol=1e-6)


def test_weights_of_one_are_the_elbo():
    np.testing.assert_array_equal(objectives.weighted_value(ELBO), ELBO.value)


@pytest.mark.parametrize(
    ("minimum", "group_sizes", "expected", "gradient"),
    [
        (0.0, None, 2.8, [1, 1, 1]),
        (0.5, None, 3.2, [0, 1, 1]),
        (3.0, None, 9.0, [0, 0, 0]),
        (0.5, (2, 1), 2.8, [1, 1, 1]),
        (1.0, (2, 1), 3.0, [0, 0, 1]),
        (2.5, (1, 2), 5.2, [0, 1, 1]),
        (3.0, (3,), 3.0, [0, 0, 0]),
    ],
)
def test_free_bits(minimum, group_sizes, expected, gradient):
    value, grad = jax.value_and_grad(
        lambda kl: objectives.free_bits_kl(kl, minimum=minimum, group_sizes=group_sizes)
    )(jnp.array(KL))
    np.testing.assert_allclose(value, expected, rtol=1e-6)
    np.testing.assert_array_equal(grad, gradient)


# The batch means are 0.3, 1.5 and 0.2.
@pytest.mark.parametrize(
    ("minimum", "group_sizes", "expected", "gradient"),
    [
        (0.0, None, 2.0, [1, 1, 1]),
        (0.25, None, 2.05, [1, 1, 0]),
        (0.4, None, 2.3, [0, 1, 0]),
        (0.4, (1, 2), 2.1, [0, 1, 1]),
        (1.9, (2, 1), 3.8, [0, 0, 0]),
    ],
)
def test_batch_free_bits(minimum, group_sizes, expected, gradient):
    value, grad = jax.value_and_grad(
        lambda kl: objectives.batch_free_bits_kl(kl, minimum=minimum, group_sizes=group_sizes)
    )(jnp.array(BATCH_KL))
    np.testing.assert_allclose(value, expected, rtol=1e-6)
    np.testing.assert_allclose(grad, np.tile(np.array(gradient) / 4, (4, 1)), rtol=1e-6)


def test_the_floor_of_a_batch_is_the_gentler():
    """Single examples below the floor cost nothing where their mean is above it."""
    each = jax.vmap(lambda kl: objectives.free_bits_kl(kl, minimum=0.25))(jnp.array(BATCH_KL))
    np.testing.assert_allclose(each, [1.55, 3.75, 0.75, 2.8], rtol=1e-6)
    assert objectives.batch_free_bits_kl(jnp.array(BATCH_KL), minimum=0.25) < jnp.mean(each)


@pytest.mark.parametrize(("minimum", "group_sizes"), [(0.25, None), (0.4, (1, 2))])
def test_two_devices_apply_the_floor_of_one(minimum, group_sizes):
    """Devices see means on different sides of the floor; value and gradient of shared weights."""

    def loss(scale, kl, axis_name):
        return objectives.batch_free_bits_kl(
            scale[None, :] * kl, minimum=minimum, group_sizes=group_sizes, axis_name=axis_name
        )

    def device(scale, kl):
        value, grad = jax.value_and_grad(loss)(scale, kl, "batch")
        return value, jax.lax.pmean(grad, "batch")

    scale, kl = jnp.array([1.0, 1.1, 0.9]), jnp.array(BATCH_KL)
    shares = jnp.stack([kl[:2], kl[2:]])
    shared = jax.pmap(device, "batch", in_axes=(None, 0), devices=jax.local_devices()[:2])
    expected = jax.value_and_grad(loss)(scale, kl, None)
    for row in range(2):
        jax.tree.map(
            lambda a, b, row=row: np.testing.assert_allclose(a[row], b, rtol=1e-6),
            shared(scale, shares),
            expected,
        )


@pytest.mark.parametrize("group_sizes", [(2, 2), (1, 1), (3, 0), (4, -1), ()])
def test_groups_that_do_not_fit_are_refused(group_sizes):
    with pytest.raises(ValueError, match="must be positive and sum to the 3 latents"):
        objectives.free_bits_kl(jnp.array(KL), minimum=0.5, group_sizes=group_sizes)
    with pytest.raises(ValueError, match="must be positive and sum to the 3 latents"):
        objectives.batch_free_bits_kl(jnp.array(BATCH_KL), minimum=0.5, group_sizes=group_sizes)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: objectives.constant_weight(-0.1), "finite and not negative, got -0.1"),
        (lambda: objectives.constant_weight(float("inf")), "finite and not negative, got inf"),
        (lambda: objectives.constant_weight(float("nan")), "finite and not negative, got nan"),
        (lambda: objectives.linear_weight(0.0, -1.0, 10), "finite and not negative, got -1.0"),
        (lambda: objectives.linear_weight(0.0, 1.0, 0), "num_steps must be positive, got 0"),
        (lambda: objectives.cyclic_weight(-1.0, 1.0, 10), "finite and not negative, got -1.0"),
        (lambda: objectives.cyclic_weight(0, 1, 10, ramp=0.0), r"ramp must lie in \(0, 1\]"),
        (lambda: objectives.cyclic_weight(0, 1, 10, ramp=1.5), r"ramp must lie in \(0, 1\]"),
        (
            lambda: objectives.cyclic_weight(0, 1, 10, num_cycles=11),
            "which is 10; got 11",
        ),
        (lambda: objectives.cyclic_weight(0, 1, 10, num_cycles=0), "which is 10; got 0"),
        (lambda: objectives.free_bits_kl(jnp.array(KL), minimum=-0.1), "not be negative, got -0.1"),
        (
            lambda: objectives.batch_free_bits_kl(jnp.array(BATCH_KL), minimum=-1.0),
            "not be negative, got -1.0",
        ),
    ],
)
def test_bad_arguments_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_wrong_ranks_are_refused():
    with pytest.raises(objectives.ArgumentError):
        objectives.free_bits_kl(jnp.array(BATCH_KL), minimum=0.5)
    with pytest.raises(objectives.ArgumentError):
        objectives.batch_free_bits_kl(jnp.array(KL), minimum=0.5)
