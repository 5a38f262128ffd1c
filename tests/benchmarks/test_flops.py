"""Counts of operations against hand counts and XLA's own."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks.measuring.flops import DATA_DECIDE, count_flops
from sfvae_jax.objectives.numerics.linear_algebra import inverse_and_log_det

LAYOUT = ("NHWC", "HWIO", "NHWC")


def _xla_flops(function, *arguments):
    return jax.jit(function).lower(*arguments).cost_analysis()["flops"]


def test_matrix_products_with_their_gradients():
    """A chain of two products, both weights and the input differentiated: three times forward."""

    def chain(x, first, second):
        return (x @ first) @ second

    def products(x, first, second):
        out, pull_back = jax.vjp(chain, x, first, second)
        return pull_back(out)

    arguments = jnp.ones((5, 7)), jnp.ones((7, 11)), jnp.ones((11, 13))
    expected = 3 * 2 * 5 * (7 * 11 + 11 * 13)
    assert count_flops(products, *arguments).value == expected
    assert _xla_flops(products, *arguments) == expected


def test_vmap_of_jvp_counts_a_tangent_for_each_direction():
    first, second = jnp.ones((4, 6)), jnp.ones((6, 5))

    def decode(z):
        return jnp.tanh(z @ first) @ second

    def jacobian(z):
        push = jax.vmap(lambda e: jax.jvp(decode, (z,), (e,)), out_axes=(None, 0))
        return push(jnp.eye(4))

    count = count_flops(jax.vmap(jacobian), jnp.ones((3, 4)))
    values = 3 * (4 * 6 + 6 * 5)
    # The first layer's tangents are the same for all three examples.
    tangents = 4 * (4 * 6 + 3 * 6 * 5)
    assert count.value == 2 * (values + tangents)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("padding", ["SAME", "VALID"])
@pytest.mark.parametrize("transposed", [False, True])
def test_convolutions_count_what_numbers_meet(stride, padding, transposed):
    """Against XLA; and by ones, whose sums are the numbers of products."""
    image, kernel = jnp.ones((2, 6, 5, 3)), jnp.ones((4, 4, 3, 7))
    convolution = jax.lax.conv_transpose if transposed else jax.lax.conv_general_dilated
    function = functools.partial(convolution, dimension_numbers=LAYOUT)

    def apply(image, kernel):
        return function(image, kernel, (stride, stride), padding)

    value = count_flops(apply, image, kernel).value
    assert value == _xla_flops(apply, image, kernel)
    np.testing.assert_allclose(value, 2 * jnp.sum(apply(image, kernel)))


def test_both_gradients_of_a_convolution_count_its_products_once_each():
    image, kernel = jnp.ones((2, 6, 6, 3)), jnp.ones((4, 4, 3, 7))

    def apply(image, kernel):
        return jax.lax.conv_transpose(image, kernel, (2, 2), "SAME", dimension_numbers=LAYOUT)

    def gradients(image, kernel):
        out, pull_back = jax.vjp(apply, image, kernel)
        return pull_back(out)

    forward = count_flops(apply, image, kernel).value
    assert count_flops(gradients, image, kernel).value == 3 * forward


def test_loops_and_branches():
    weights = jnp.ones((8, 8))

    def scanned(x):
        return jax.lax.scan(lambda x, _: (x @ weights, None), x, length=5)[0]

    def branched(x):
        return jax.lax.cond(x[0] > 0, lambda x: x @ weights @ weights, lambda x: x @ weights, x)

    def chosen(x):
        once = lambda x: x @ weights  # noqa: E731
        branches = [once, lambda x: once(once(x)), lambda x: once(once(once(x)))]
        return jax.lax.switch(x[0].astype(int), branches, x)

    def looped(x):
        return jax.lax.while_loop(lambda x: x[0] > 0, lambda x: x @ weights, x)

    def seldom_looped(x):
        return jax.lax.cond(x[0] > 0, lambda x: x @ weights @ weights, looped, x)

    x, one = jnp.ones(8), 2 * 8 * 8
    assert count_flops(scanned, x) == (5 * one, frozenset())
    assert count_flops(branched, x) == (2 * one, frozenset())
    assert count_flops(chosen, x) == (3 * one, {DATA_DECIDE})
    assert count_flops(looped, x) == (one, {DATA_DECIDE})
    assert count_flops(seldom_looped, x) == (2 * one, {DATA_DECIDE})


def test_calls_of_every_kind_are_entered():
    @jax.custom_jvp
    def with_jvp(x):
        return x @ x

    with_jvp.defjvp(lambda primals, tangents: (with_jvp(*primals), tangents[0] @ primals[0]))

    @jax.custom_vjp
    def with_vjp(x):
        return x @ x

    with_vjp.defvjp(lambda x: (x @ x, x), lambda x, g: (g @ x.T,))
    with_batching = jax.custom_batching.sequential_vmap(lambda x: x @ x)
    for function in (with_jvp, with_vjp, with_batching, jax.jit(with_jvp), jax.checkpoint(jnp.dot)):
        arguments = [jnp.ones((3, 3))] * (2 if "dot" in str(function) else 1)
        assert count_flops(function, *arguments).value == 2 * 27
    assert count_flops(jax.vmap(with_batching), jnp.ones((4, 3, 3))).value == 4 * 2 * 27


def test_factorisations():
    matrix = jnp.eye(6)
    assert count_flops(jnp.linalg.cholesky, matrix).value == 6**3 // 3
    triangular = jax.scipy.linalg.solve_triangular
    assert count_flops(triangular, matrix, jnp.ones((6, 5))).value == 6**2 * 5
    # Two factorisations, of which the second is seldom needed, a solve of 6 columns, and a product.
    batch = jnp.broadcast_to(matrix, (4, 6, 6))
    expected = 4 * (2 * 6**3 // 3 + 6**3 + 2 * 6**3)
    assert count_flops(jax.vmap(inverse_and_log_det), batch).value == expected


def test_what_is_not_counted_is_named():
    assert count_flops(jnp.linalg.svd, jnp.eye(3)).notes == {"svd is not counted"}
