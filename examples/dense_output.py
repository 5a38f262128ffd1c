"""A decoder whose dense layers an objective can see: python examples/dense_output.py"""

import time

import jax
import jax.numpy as jnp

from sfvae_jax import likelihoods, objectives, posteriors
from sfvae_jax.data.image_sources.mnist_5k import open_mnist_5k


def make_decoder(layers, is_visible):
    *inner, (kernel, bias) = layers

    def hidden(z):  # [m] -> [h]
        for w, b in inner:
            z = jax.nn.relu(z @ w + b)
        return z

    if is_visible:
        return objectives.DenseOutput(hidden, kernel, bias, layers=inner)
    return lambda z: hidden(z) @ kernel + bias  # the same function of z


def loss(layers, is_visible, x, means):
    q = posteriors.DiagonalGaussian(means, jnp.full_like(means, 0.1))
    rng, p = jax.random.key(0), likelihoods.Gaussian(0.1)
    return objectives.batch_loss("sampling_free", rng, make_decoder(layers, is_visible), x, q, p)[0]


init = jax.nn.initializers.he_normal()
shapes = [(200, 256), (256, 512), (512, 784)]
layers = [(init(jax.random.key(0), shape), jnp.zeros(shape[1])) for shape in shapes]
x = open_mnist_5k()["train"][:100].reshape(100, 784) / jnp.float32(255)
means = x @ init(jax.random.key(1), (784, 200))
step = jax.jit(jax.value_and_grad(loss), static_argnums=1)
for is_visible in 6 * [False, True]:  # processor time, in turns; the first turn compiles
    begin = time.process_time()
    jax.block_until_ready(step(layers, is_visible, x, means))
    print(f"{is_visible=}: {time.process_time() - begin:.2f} s")
