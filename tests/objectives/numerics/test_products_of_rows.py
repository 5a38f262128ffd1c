"""Products of rows and their derivatives, against JAX's own product."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads
from shared_kernels import CHECKS, check_explicit_mesh

from sfvae_jax.objectives import ArgumentError
from sfvae_jax.objectives.numerics.rows import product_of_rows

H, K = 3, 5


def _arrays(keys):
    return jax.random.normal(next(keys), (H,)), jax.random.normal(next(keys), (H, K))


def test_values_and_derivatives_of_both_orders(keys, float64):
    """Also reverse over forward, as for a Jacobian, and forward over reverse."""
    (x, kernel), tangents = _arrays(keys), _arrays(keys)

    def results(multiply):
        def loss(x, kernel):
            return jnp.sum(jnp.sin(multiply(x, kernel)))

        def slope(x, kernel):
            return jnp.square(jax.jvp(loss, (x, kernel), tangents)[1])

        gradient = jax.grad(loss, (0, 1))
        backward = jax.grad(slope, (0, 1))(x, kernel)
        forward = jax.jvp(gradient, (x, kernel), tangents)[1]
        return multiply(x, kernel), gradient(x, kernel), backward, forward

    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12),
        jax.jit(lambda: results(product_of_rows))(),
        jax.jit(lambda: results(jnp.matmul))(),
    )


def test_derivatives_by_differences(keys, float64):
    check_grads(jax.jit(product_of_rows), _arrays(keys), order=3)


@pytest.mark.parametrize("axes", [(0, None), (1, None), (None, 1), (1, 0)])
def test_mapped_arguments_of_values_and_derivatives(keys, axes):
    arguments = [
        a if axis is None else jnp.stack([a, 2 * a, -a], axis)
        for a, axis in zip(_arrays(keys), axes, strict=True)
    ]

    def results(multiply):
        def loss(x, kernel):
            return jnp.sum(jnp.sin(multiply(x, kernel)))

        def everything(x, kernel):
            return jax.value_and_grad(loss, (0, 1))(x, kernel), jax.hessian(loss, 1)(x, kernel)

        return jax.jit(jax.vmap(everything, axes))(*arguments)

    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5),
        results(product_of_rows),
        results(jnp.matmul),
    )


def test_a_jacobians_gradient_sums_examples_and_directions_at_once(keys):
    """Without a batch axis, a transposed operand, or a sum over two axes."""
    x, kernel = _arrays(keys)
    batch = jnp.stack([x, x + 1.0, x - 1.0, 2.0 * x])
    directions = jnp.eye(H)[:2]

    def loss(kernel):
        def tangent(x, direction):
            return jax.jvp(lambda x: product_of_rows(jnp.sin(x), kernel), (x,), (direction,))[1]

        tangents = jax.vmap(jax.vmap(tangent, (None, 0)), (0, None))(batch, directions)
        return jnp.mean(jnp.square(tangents))

    text = jax.jit(jax.grad(loss)).lower(kernel).as_text()
    assert "stablehlo.transpose" not in text
    products = [line for line in text.splitlines() if "dot_general" in line]
    assert len(products) == 2  # the tangents and their gradient
    assert not any("batching_dims" in line for line in products)
    dims = [re.search(r"contracting_dims = \[(.*?)\] x \[(.*?)\]", line) for line in products]
    assert [found.groups() for found in dims] == [("1", "0"), ("0", "0")]
    assert f"tensor<{4 * 2}x{H}xf32>" in products[1]


def test_the_gradient_of_a_vector_reads_the_kernel_as_it_is(keys):
    x, kernel = _arrays(keys)
    gradient = jax.grad(lambda x: jnp.sum(jnp.sin(product_of_rows(x, kernel))))
    text = jax.jit(jax.vmap(gradient)).lower(x[None]).as_text()
    products = [line for line in text.splitlines() if "dot_general" in line]
    assert "contracting_dims = [1] x [1]" in products[-1]
    assert "stablehlo.transpose" not in text


def test_dtypes_are_promoted():
    x, kernel = jnp.ones(H, jnp.bfloat16), jnp.ones((H, K))
    assert product_of_rows(x, kernel).dtype == jnp.float32
    assert product_of_rows(x, kernel.astype(jnp.bfloat16)).dtype == jnp.bfloat16


def test_weak_types_do_not_widen_a_kernel():
    weak = jnp.broadcast_to(2.0, (H,))
    kernel = jnp.ones((H, K), jnp.bfloat16)
    assert weak.weak_type
    assert product_of_rows(weak, kernel).dtype == jnp.matmul(weak, kernel).dtype == jnp.bfloat16


def test_shapes_fit_or_are_refused(keys):
    _, kernel = _arrays(keys)
    expected = (
        r"input of a dense layer must have shape \(3,\), one entry for each row of its kernel"
    )
    with pytest.raises(ArgumentError, match=expected):
        jax.eval_shape(product_of_rows, kernel[0], kernel)
    for other in (kernel[:, 0], kernel[:, :, None]):
        with pytest.raises(ArgumentError, match="the kernel of a dense layer must have shape"):
            jax.eval_shape(product_of_rows, kernel[:, 0], other)


def test_a_batch_may_be_empty(keys):
    _, kernel = _arrays(keys)
    empty = jax.eval_shape(jax.vmap(product_of_rows, (0, None)), jnp.zeros((0, H)), kernel)
    assert empty.shape == (0, K)


def test_the_precision_is_that_of_the_call(keys):
    """Also in the gradient, and although products are lowered later."""
    x, kernel = _arrays(keys)
    gradient = jax.grad(lambda x, kernel: jnp.sum(product_of_rows(x, kernel) ** 2), (0, 1))
    with jax.default_matmul_precision("highest"):
        traced = jax.jit(gradient).trace(x, kernel)
    products = [line for line in traced.lower().as_text().splitlines() if "dot_general" in line]
    assert len(products) == 3
    assert all("precision = [HIGHEST, HIGHEST]" in line for line in products)


@pytest.mark.parametrize("check", [*CHECKS, check_explicit_mesh])
def test_devices_share_a_batch(keys, check):
    x, kernel = _arrays(keys)
    batch = jnp.stack([x, x + 1.0, x - 1.0, 2.0 * x])
    check(jax.vmap(product_of_rows, (0, None)), batch, kernel)
