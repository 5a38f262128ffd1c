"""The flows' small dense networks against NumPy."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np

from sfvae_jax.posteriors.flows.networks import apply_network, init_network


def _random(sizes, context_size=0, seed=0):
    rng = np.random.default_rng(seed)
    layers = [
        {"kernel": rng.normal(size=(size, following)), "bias": rng.normal(size=following)}
        for size, following in itertools.pairwise(sizes)
    ]
    if context_size:
        layers[0]["context"] = rng.normal(size=(context_size, sizes[1]))
    return tuple(layers)


def _elu(x):
    return np.where(x > 0.0, x, np.exp(x) - 1.0)


def test_it_is_numpys_network(float64):
    """Three layers, a context in the first, ELU between them and none after the last."""
    network, rng = _random((3, 5, 4, 2), context_size=2, seed=1), np.random.default_rng(1)
    x, context = rng.normal(size=3), rng.normal(size=2)
    first, second, third = network
    hidden = _elu(x @ first["kernel"] + first["bias"] + context @ first["context"])
    hidden = _elu(hidden @ second["kernel"] + second["bias"])
    expected = hidden @ third["kernel"] + third["bias"]
    assert expected.min() < 0.0  # where an ELU too many would show
    obtained = apply_network(jax.tree.map(jnp.array, network), jnp.array(x), 2, jnp.array(context))
    np.testing.assert_allclose(obtained, expected, rtol=1e-12)


def test_masks_multiply_the_kernels_and_nothing_else(float64):
    network, rng = _random((3, 4, 2), context_size=2), np.random.default_rng(2)
    x, context = rng.normal(size=3), rng.normal(size=2)
    masks = [rng.integers(0, 2, size=layer["kernel"].shape) for layer in network]
    first, second = network
    hidden = _elu(x @ (first["kernel"] * masks[0]) + first["bias"] + context @ first["context"])
    expected = hidden @ (second["kernel"] * masks[1]) + second["bias"]
    network = jax.tree.map(jnp.array, network)
    obtained = apply_network(network, jnp.array(x), 2, jnp.array(context), masks)
    np.testing.assert_allclose(obtained, expected, rtol=1e-12)
    # With every connection cut the input is out of reach, the context and the biases are not.
    cut = [np.zeros_like(mask) for mask in masks]
    obtained = apply_network(network, jnp.array(x), 2, jnp.array(context), cut)
    np.testing.assert_array_equal(obtained, second["bias"])


def test_initialisation():
    """Glorot-uniform kernels, by their bound and their variance within 4 standard errors; zero
    biases; a context in the first layer alone."""
    network = jax.jit(lambda key: init_network(key, (40, 60, 20), 30))(jax.random.key(0))
    assert [sorted(layer) for layer in network] == [
        ["bias", "context", "kernel"],
        ["bias", "kernel"],
    ]
    kernels = [network[0]["kernel"], network[0]["context"], network[1]["kernel"]]
    assert [kernel.shape for kernel in kernels] == [(40, 60), (30, 60), (60, 20)]
    for kernel in kernels:
        bound = np.sqrt(6.0 / sum(kernel.shape))
        assert np.abs(kernel).max() <= bound
        # A uniform's variance is bound^2 / 3, that of its square 4 bound^4 / 45.
        error = np.sqrt(4.0 / 45.0 / kernel.size) * bound**2
        assert abs(np.mean(np.square(kernel)) - bound**2 / 3.0) < 4 * error
    for layer in network:
        np.testing.assert_array_equal(layer["bias"], 0.0)
    assert network[1]["bias"].shape == (20,)


def test_without_a_context_there_are_no_parameters_for_it():
    network = jax.eval_shape(lambda: init_network(jax.random.key(0), (2, 1)))
    assert [sorted(layer) for layer in network] == [["bias", "kernel"]]
