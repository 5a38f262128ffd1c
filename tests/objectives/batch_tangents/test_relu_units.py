"""Tangents of ReLU layers for a batch, against NumPy's products in float64."""

import functools
import itertools
import math
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sfvae_jax import likelihoods, objectives, posteriors
from sfvae_jax.objectives.batch_tangents import differing_units, relu_units
from sfvae_jax.objectives.numerics.decoders import KnownTangents
from sfvae_jax.objectives.numerics.tangents import tangents

SIZES = (3, 9, 8, 7, 5)  # latents, three hidden layers, data
B = 8
USUAL = np.random.default_rng(3).random(24) < 0.6
ALL_PARTS, THREE_PARTS = differing_units._PARTS, (1 / 8, 1 / 3, math.inf)  # three compile faster


def _layers(rng, sizes=SIZES):
    pairs = itertools.pairwise(sizes)
    return [
        (jnp.array(rng.normal(size=pair)), jnp.array(rng.normal(size=pair[1]))) for pair in pairs
    ]


def _decoder(layers, activation=None):
    def hidden(z):
        for kernel, bias in layers[:-1]:
            z = jax.nn.relu(z @ kernel + bias)
        return z

    return objectives.DenseOutput(
        hidden, *layers[-1], batch_size=B, activation=activation, layers=layers[:-1]
    )


def _rows(kernels, active):
    """M W of one example."""
    rows, start = np.asarray(kernels[0]), 0
    for kernel in kernels[1:]:
        end = start + rows.shape[1]
        rows, start = rows * active[start:end] @ np.asarray(kernel), end
    return rows


def _gradient(kernels, active, cotangent):
    """The gradient of sum(cotangent * M W) in each kernel: products from the left and the right."""
    ends = np.cumsum([kernel.shape[1] for kernel in kernels[:-1]])
    masks = np.split(active.astype(float), ends)[: len(kernels) - 1]
    left = [np.eye(len(kernels[0]))]
    for kernel, mask in zip(kernels, masks, strict=False):
        left.append(left[-1] @ kernel * mask)
    right, gradients = np.asarray(cotangent), []
    for number in reversed(range(len(kernels))):
        gradients.append(left[number].T @ right)
        right = right @ kernels[number].T * (masks[number - 1] if number else 1.0)
    return gradients[::-1]


def _active(differing, rng):
    """Units of 8 examples, of which each differs from the usual ones in the given number."""
    active = np.tile(USUAL, (B, 1))
    for example, number in zip(active, differing, strict=True):
        example[rng.permutation(24)[:number]] ^= True
    return active


@functools.partial(jax.jit, static_argnums=(0, 1))
def _value_and_gradient(parts, products, kernels, active, cotangent):
    with mock.patch.object(differing_units, "_PARTS", parts):
        value, pull = jax.vjp(lambda own: relu_units._of_batch(products, own, active), kernels)
        return value, pull(cotangent)[0]


@pytest.mark.parametrize(
    "differing",
    [
        (0, 1, 2, 3, 0, 0, 1, 2),  # at most an eighth of all units
        (0, 2, 4, 6, 9, 1, 10, 0),  # in several loops
        (24, 0, 0, 1, 1, 0, 0, 0),  # one example has no unit in common with the others
        (12, 12, 12, 12, 12, 12, 12, 12),  # too many
    ],
)
@pytest.mark.parametrize("products", [False, True])
def test_value_and_gradient_of_a_batch_are_those_of_its_examples(differing, products, float64):
    rng = np.random.default_rng(0)
    few = sum(differing) < 48
    _check_value_and_gradient(products, _active(differing, rng), rng, few=few, parts=ALL_PARTS)


@pytest.mark.parametrize("sizes", [(3, 24, 5), (3, 4, 20, 5), (2, 16, 4, 4, 6)])
@pytest.mark.parametrize("products", [False, True])
def test_layers_of_any_number_and_width(sizes, products, float64):
    rng = np.random.default_rng(5)
    active = _active((0, 2, 3, 6, 9, 1, 8, 5), rng)
    _check_value_and_gradient(products, active, rng, sizes)


@pytest.mark.parametrize("products", [False, True])
def test_examples_may_differ_in_all_of_one_layer_alone(products, float64):
    active = np.tile(USUAL, (B, 1))
    starts = np.cumsum([0, *SIZES[1:-1]])
    for example, (start, end) in enumerate(itertools.pairwise(starts)):
        active[example, start:end] ^= True
    _check_value_and_gradient(products, active, np.random.default_rng(4))


def test_an_example_takes_the_first_part_that_holds_its_units():
    """Examples that fill each part exactly, in reverse order, and one with a unit too many."""
    sizes, parts = (48, 192), differing_units._PARTS
    held = [differing_units._capacities(sizes, part) for part in reversed(parts)]
    held.append([held[-1][0] + 1, 0])  # the second part from the smallest
    active = [np.arange(size)[None] < np.array(counts)[:, None]
              for size, counts in zip(sizes, zip(*held, strict=True), strict=True)]  # fmt: skip
    units = differing_units.differing(
        [jnp.array(of) for of in active], [jnp.zeros(size, bool) for size in sizes]
    )
    np.testing.assert_array_equal(units.ends, [1, 3, *range(4, len(parts) + 2)])
    last = len(parts) - 1
    np.testing.assert_array_equal(
        units.examples, [last, last - 1, last + 1, *range(last - 2, -1, -1)]
    )
    for numbers, signs, of in zip(units.numbers, units.signs, active, strict=True):
        counts = np.sum(of, axis=1)[np.asarray(units.examples)]
        np.testing.assert_array_equal(np.sum(signs, axis=1), counts)
        np.testing.assert_array_equal(
            np.sort(numbers), np.tile(np.arange(of.shape[1]), (len(of), 1))
        )


def _check_value_and_gradient(products, active, rng, sizes=SIZES, few=True, parts=THREE_PARTS):
    assert relu_units._usual(active)[1] == few  # otherwise the layers' own products are taken
    kernels = tuple(kernel for kernel, _ in _layers(rng, sizes))
    expected = np.stack([_rows(kernels, units) for units in active])
    cotangent = rng.normal(size=expected.shape)
    if products:
        cotangent = rng.normal(size=(B, sizes[0], sizes[0]))
    value, gradient = _value_and_gradient(parts, products, kernels, active, cotangent)
    of_rows = cotangent
    if products:
        of_rows = (cotangent + cotangent.swapaxes(1, 2)) @ expected
        expected = expected @ expected.swapaxes(1, 2)
    np.testing.assert_allclose(value, expected, rtol=1e-10, atol=1e-10)
    numpy_kernels = [np.asarray(kernel) for kernel in kernels]
    gradients = [_gradient(numpy_kernels, *pair) for pair in zip(active, of_rows, strict=True)]
    for own, *by_example in zip(gradient, *gradients, strict=True):
        np.testing.assert_allclose(own, np.sum(by_example, axis=0), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("products", [False, True])
def test_second_derivatives_are_those_of_the_layers(products, float64, monkeypatch):
    monkeypatch.setattr(differing_units, "_PARTS", ALL_PARTS if products else THREE_PARTS)
    rng = np.random.default_rng(2)
    kernels = tuple(kernel for kernel, _ in _layers(rng))
    active = jnp.array(_active((0, 2, 4, 6, 9, 1, 10, 0), rng))
    assert relu_units._usual(active)[1]

    def slope(of_batch, kernels):
        gradient = jax.grad(lambda kernels: jnp.sum(of_batch(products, kernels, active) ** 2))
        return sum(jnp.sum(leaf) for leaf in gradient(kernels))

    found, expected = (
        jax.jit(jax.grad(functools.partial(slope, of_batch)))(kernels)
        for of_batch in (relu_units._of_batch, relu_units._by_layers)
    )
    for own, others in zip(found, expected, strict=True):
        np.testing.assert_allclose(own, others, rtol=1e-9, atol=1e-12 * np.max(np.abs(others)))


@pytest.mark.parametrize("activation", [None, jax.nn.sigmoid])
def test_known_tangents_are_the_decoders_own(activation, float64, monkeypatch):
    monkeypatch.setattr(differing_units, "_PARTS", THREE_PARTS)
    rng = np.random.default_rng(1)
    decode = _decoder(_layers(rng), activation)
    means = jnp.array(rng.normal(size=(B, SIZES[0])))
    variance, r = 0.3, jnp.array(rng.normal(size=SIZES[-1]))
    directions = jnp.array(rng.normal(size=(2, SIZES[0])))

    def known(mean, active, products):
        decode_here = KnownTangents(decode, active, products)
        x_hat, own = tangents(decode_here, mean)
        return {
            "x_hat": x_hat,
            "call": decode_here(mean),
            "gram": own.gram(jnp.array(variance)),
            "diagonal": own.gram_diagonal(jnp.array(variance)),
            "project": own.project(r, jnp.array(variance)),
            "push": own.push(directions),
            "others": tangents(decode_here, mean, directions=directions)[1].push(jnp.eye(2)),
        }

    active, products = jax.jit(lambda means: relu_units.tangents_of_batch(decode, means))(means)
    known, jacobian_of = jax.jit(known), jax.jit(jax.jacfwd(decode))
    for i in (0, 5):
        x_hat, jacobian = np.asarray(jax.jit(decode)(means[i])), np.asarray(jacobian_of(means[i]))
        expected = {
            "x_hat": x_hat,
            "call": x_hat,
            "gram": jacobian.T @ jacobian / variance,
            "diagonal": np.sum(jacobian**2, axis=0) / variance,
            "project": jacobian.T @ r / variance,
            "push": directions @ jacobian.T,
            "others": directions @ jacobian.T,
        }
        found = known(means[i], active[i], products[i])
        for name in expected:
            np.testing.assert_allclose(
                found[name], expected[name], rtol=1e-9, atol=1e-9, err_msg=name
            )


M, WIDTH, N, LARGE = 4, 64, 12, 200  # of a case that is worth it


def _large(layers, activation):
    first, second, last, bias, zero = layers

    def hidden(z):
        return jax.nn.relu(jax.nn.relu(z @ first + zero) @ second + zero)

    pairs = [(first, zero), (second, zero)]
    return objectives.DenseOutput(hidden, last, bias, None, LARGE, activation, pairs)


@pytest.mark.parametrize("activation", [None, jax.nn.sigmoid])
def test_the_loss_of_a_batch_is_the_mean_over_its_examples(activation):
    rng = np.random.default_rng(2)
    sizes = (M, WIDTH), (WIDTH, WIDTH), (WIDTH, N), (N,), (WIDTH,)
    layers = [jnp.array(rng.normal(size=size) / 4, jnp.float32) for size in sizes]
    x, means = (jnp.array(rng.normal(size=(LARGE, k)), jnp.float32) for k in (N, M))
    q = posteriors.DiagonalGaussian(means, jnp.full((LARGE, M), 0.5))
    assert relu_units.shares_units(_large(layers, activation), LARGE)

    def together(layers):
        decode = _large(layers, activation)
        key, likelihood = jax.random.key(0), likelihoods.Gaussian(0.5)
        return objectives.batch_loss("sampling_free", key, decode, x, q, likelihood)[0]

    def alone(layers):
        decode = _large(layers, activation)

        def of_one(x, mean, stddev):
            given = lambda z: decode(z)  # noqa: E731  (a decoder of unknown form)
            options = {"observation_variance": 0.5, "gamma": 0.5}
            return objectives.sampling_free_elbo(given, x, mean, stddev, **options).value

        return -jnp.mean(jax.vmap(of_one)(x, q.mean, q.stddev))

    value, gradient = jax.jit(jax.value_and_grad(together))(layers)
    expected, expected_gradient = jax.jit(jax.value_and_grad(alone))(layers)
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    for own, other in zip(gradient, expected_gradient, strict=True):
        np.testing.assert_allclose(own, other, rtol=1e-3, atol=1e-4 * float(jnp.abs(other).max()))


def test_it_is_only_done_where_it_saves_work(monkeypatch):
    sizes = (M, WIDTH), (WIDTH, WIDTH), (WIDTH, N), (N,), (WIDTH,)
    decode = _large([jnp.ones(size, jnp.float32) for size in sizes], jax.nn.sigmoid)
    assert relu_units.shares_units(decode, LARGE)
    assert not relu_units.shares_units(decode, 2)
    assert not relu_units.shares_units(lambda z: z, LARGE)
    few_bits = _large([jnp.ones(size, jnp.bfloat16) for size in sizes], None)
    assert not relu_units.shares_units(few_bits, LARGE)
    with monkeypatch.context() as patched:
        patched.setattr(relu_units, "_MANY", 2 * WIDTH - 1)
        assert not relu_units.shares_units(decode, LARGE)
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert not relu_units.shares_units(decode, LARGE)
