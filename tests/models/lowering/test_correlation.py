"""Correlations of stride 1 and their derivatives, against XLA's own convolution."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads
from shared_kernels import CHECKS

from sfvae_jax.models.lowering.correlation import correlate

# Images, r, C, F: products before the shifts and after, an image as large as the kernel, and one
# of a single pixel.
SHAPES = [((2, 4, 5), 2, 2, 3), ((2, 4, 5), 2, 3, 2), ((2, 3, 3), 3, 2, 3), ((1, 3, 3), 3, 3, 1)]
FULL = [*SHAPES, ((2, 1, 1), 2, 3, 2), ((2, 1, 1), 3, 2, 3)]
CASES = [(*shape, False) for shape in SHAPES] + [(*shape, True) for shape in FULL]


def _native(x, kernel, *, full):
    pad = kernel.shape[0] - 1 if full else 0
    layout = ("NHWC", "HWIO", "NHWC")
    return jax.lax.conv_general_dilated(
        x, kernel, (1, 1), [(pad, pad)] * 2, dimension_numbers=layout
    )


def _arrays(keys, images, size, channels, features):
    x = jax.random.normal(next(keys), (*images, channels))
    return x, jax.random.normal(next(keys), (size, size, channels, features))


@pytest.mark.parametrize(("images", "size", "channels", "features", "full"), CASES)
def test_values_and_gradients_of_both_orders(keys, float64, images, size, channels, features, full):
    """Also reverse over forward, as for a Jacobian, and forward over reverse."""
    x, kernel = _arrays(keys, images, size, channels, features)
    dx, dkernel = _arrays(keys, images, size, channels, features)

    def results(function):
        def loss(x, kernel):
            return jnp.sum(jnp.sin(function(x, kernel, full=full)))

        def slope(x, kernel):
            return jnp.square(jax.jvp(loss, (x, kernel), (dx, dkernel))[1])

        value, gradient = jax.value_and_grad(loss, (0, 1))(x, kernel)
        backward = jax.grad(slope, (0, 1))(x, kernel)
        forward = jax.jvp(jax.grad(slope, (0, 1)), (x, kernel), (dx, dkernel))[1]
        return function(x, kernel, full=full), value, gradient, backward, forward

    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9),
        jax.jit(lambda: results(correlate))(),
        jax.jit(lambda: results(_native))(),
    )


def test_derivatives_by_differences(keys, float64):
    x, kernel = _arrays(keys, (1, 3, 3), 2, 2, 3)
    check_grads(jax.jit(lambda x, k: correlate(x, k, full=True)), (x, kernel), order=2)


@pytest.mark.parametrize("axes", [(0, None), (2, None), (None, 1), (1, 0)])
@pytest.mark.parametrize("full", [False, True])
def test_mapped_arguments_of_values_and_gradients(keys, axes, full):
    x, kernel = _arrays(keys, (2, 3, 3), 2, 2, 3)
    if axes[0] is not None:
        x = jnp.stack([x, 2 * x], axes[0])
    if axes[1] is not None:
        kernel = jnp.stack([kernel, 3 * kernel], axes[1])

    def results(function):
        def loss(x, kernel):
            return jnp.sum(jnp.sin(function(x, kernel, full=full)))

        return jax.jit(jax.vmap(jax.value_and_grad(loss, (0, 1)), axes))(x, kernel)

    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4),
        results(correlate),
        results(_native),
    )


def test_a_jacobians_gradient_sums_examples_directions_and_pixels_at_once(keys):
    """Without a batch axis and with a single contracted one, as XLA's CPU backend wants it."""
    x, kernel = _arrays(keys, (1, 3, 3), 2, 2, 3)
    x = jnp.stack([x, x + 1, x - 1])
    directions = jnp.stack([x[0], 2 * x[0], 3 * x[0], 4 * x[0]])

    def loss(kernel):
        def tangent(x, direction):
            return jax.jvp(lambda x: correlate(jnp.sin(x), kernel, full=True), (x,), (direction,))

        tangents = jax.vmap(jax.vmap(tangent, (None, 0)), (0, None))(x, directions)[1]
        return jnp.mean(jnp.square(tangents))

    text = jax.jit(jax.grad(loss)).lower(kernel).as_text()
    products = [line for line in text.splitlines() if "dot_general" in line]
    assert products
    assert not any("batching_dims" in line for line in products)
    dims = [re.search(r"contracting_dims = \[(.*?)\] x \[(.*?)\]", line) for line in products]
    assert all(len(dim.split(",")) == 1 for found in dims for dim in found.groups())
    # 3 examples and 4 directions of 4 x 4 pixels, in one sum: the tangents' share of the gradient.
    gradients = [line for line in products if "contracting_dims = [0] x [0]" in line]
    assert any(f"tensor<{3 * 4 * 4 * 4}x" in line for line in gradients)


@pytest.mark.parametrize("check", CHECKS)
def test_devices_share_a_batch(keys, check):
    check(functools.partial(correlate, full=False), *_arrays(keys, (4, 3, 3), 2, 2, 3))
