"""Convolutions by two lowerings, against NumPy and each other."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sfvae_jax.models import convolve, convolve_transposed
from sfvae_jax.models.lowering.convolution import Convolution

CASES = [
    (8, 4, 2, "SAME"),
    (8, 5, 2, "SAME"),
    (7, 5, 2, "SAME"),
    (4, 4, 1, "VALID"),
    (6, 4, 1, "SAME"),
    (5, 3, 3, "VALID"),
    (1, 4, 1, "VALID"),
]


_convolve, _convolve_transposed = (
    jax.jit(function, static_argnames=("stride", "padding", "lowering"))
    for function in (convolve, convolve_transposed)
)


def _numpy_convolution(x, kernel, stride, padding):
    """Sums written out; SAME pads to ceil(H / s) outputs, the odd pixel at the end."""
    size, length = kernel.shape[0], x.shape[0]
    if padding == "SAME":
        out = -(-length // stride)
        total = max((out - 1) * stride + size - length, 0)
        low = total // 2
        x = np.pad(x, ((low, total - low), (low, total - low), (0, 0)))
    out = (x.shape[0] - size) // stride + 1
    y = np.zeros((out, out, kernel.shape[-1]))
    for i in range(out):
        for j in range(out):
            window = x[i * stride : i * stride + size, j * stride : j * stride + size]
            y[i, j] = np.tensordot(window, kernel, 3)
    return y


def _numpy_transposed(x, kernel, stride, padding):
    """Every pixel adds its square, turned by 180 degrees; SAME crops to s H."""
    size, length = kernel.shape[0], x.shape[0]
    full = np.zeros((stride * (length - 1) + size,) * 2 + kernel.shape[-1:])
    for i in range(length):
        for j in range(length):
            square = np.tensordot(kernel[::-1, ::-1], x[i, j], (2, 0))
            full[i * stride : i * stride + size, j * stride : j * stride + size] += square
    if padding == "VALID":
        return full
    cut = size - 1 - -(-(size + stride - 2) // 2)
    wanted = stride * length
    full = np.pad(full, ((0, max(wanted + cut - len(full), 0)),) * 2 + ((0, 0),))
    return full[cut : cut + wanted, cut : cut + wanted]


@pytest.mark.parametrize("lowering", ["native", "patches"])
@pytest.mark.parametrize(("length", "size", "stride", "padding"), CASES)
def test_against_sums_written_out(length, size, stride, padding, lowering):
    rng = np.random.default_rng(0)
    x, kernel = rng.normal(size=(length, length, 3)), rng.normal(size=(size, size, 3, 2))
    options = {"stride": stride, "padding": padding, "lowering": lowering}
    arrays = x.astype(np.float32), kernel.astype(np.float32)
    if padding == "SAME" or length >= size:
        found = _convolve(*arrays, **options)
        expected = _numpy_convolution(x, kernel, stride, padding)
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    found = _convolve_transposed(*arrays, **options)
    expected = _numpy_transposed(x, kernel, stride, padding)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("length", "size", "stride", "padding"), CASES[1:5])
@pytest.mark.parametrize("function", [convolve, convolve_transposed])
def test_lowerings_agree_through_jacobian_and_gradient(function, length, size, stride, padding):
    """The gradient of a batch of squared tangents, as the linearised objectives take it."""
    rng = np.random.default_rng(0)
    kernel = rng.normal(size=(size, size, 3, 2)).astype(np.float32)
    x, tangents = rng.normal(size=(2, 4, length, length, 3)).astype(np.float32)

    def total(kernel, x, lowering):
        def pushed(x, t):
            return jax.jvp(
                lambda x: jnp.tanh(
                    function(x, kernel, stride=stride, padding=padding, lowering=lowering)
                ),
                (x,),
                (t,),
            )[1]

        return jnp.mean(jnp.square(jax.vmap(pushed)(x, tangents)))

    both = jax.jit(jax.value_and_grad(total, (0, 1)), static_argnums=2)
    native, patches = (both(kernel, x, lowering) for lowering in ("native", "patches"))
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5), native, patches
    )


def test_the_cpu_takes_patches_unless_told():
    def operations(lowering):
        layer = Convolution(2, 4, 2, lowering=lowering)
        return str(jax.make_jaxpr(lambda x: layer.init(jax.random.key(0), x))(jnp.ones((8, 8, 1))))

    assert "conv_general_dilated" not in operations("auto")
    assert "conv_general_dilated" in operations("native")


def test_one_layout_of_parameters():
    x = jnp.ones((8, 8, 3))
    for transposed in (False, True):
        native, patches = (
            Convolution(2, 5, 2, transposed=transposed, lowering=lowering).init(
                jax.random.key(0), x
            )
            for lowering in ("native", "patches")
        )
        assert native["params"]["kernel"].shape == (5, 5, 3, 2)
        jax.tree.map(np.testing.assert_array_equal, native, patches)


def test_the_first_layer_of_a_decoder_keeps_the_variance(keys):
    """A single pixel of 256 channels to 4 x 4 of 64: 1,024 numbers, known to 4% (a deviation)."""
    layer = Convolution(64, 4, padding="VALID", transposed=True)
    x = jax.random.normal(next(keys), (1, 1, 256))
    y = layer.apply(layer.init(next(keys), x), x)
    np.testing.assert_allclose(jnp.mean(jnp.square(y)), jnp.mean(jnp.square(x)), rtol=0.2)


@pytest.mark.parametrize("transposed", [False, True])
def test_a_layer_keeps_the_variance(keys, transposed):
    """LeCun's kernels keep the mean square of white noise, of transposed layers too.

    Within 15%: 64 input and 64 output channels, edges with fewer terms cut off.
    """
    layer = Convolution(64, 4, 2, transposed=transposed)
    x = jax.random.normal(next(keys), (16, 16, 64))
    y = layer.apply(layer.init(next(keys), x), x)[2:-2, 2:-2]
    np.testing.assert_allclose(jnp.mean(jnp.square(y)), 1.0, rtol=0.15)
