"""A VAE in Flax NNX, trained on digits: python examples/nnx.py [OBJECTIVE]"""

import functools
import sys

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from sfvae_jax import likelihoods, objectives, posteriors
from sfvae_jax.data.image_sources.mnist_5k import open_mnist_5k

objective = sys.argv[1] if sys.argv[1:] else "sampling_free"
images = open_mnist_5k()["train"][:].reshape(5000, 784) / jnp.float32(255)


def loss(model, rng, x):  # x [B, 784]
    mean, log_stddev = jnp.split(model.encoder(x), 2, axis=1)  # [B, 8]
    q = posteriors.DiagonalGaussian(mean, jnp.exp(log_stddev))
    return objectives.batch_loss(objective, rng, model.decoder, x, q, likelihoods.Gaussian(0.1))


@nnx.jit
def update(model, optimizer, rng, x):
    (value, _), gradient = nnx.value_and_grad(loss, has_aux=True)(model, rng, x)
    optimizer.update(model, gradient)
    return value


layer = functools.partial(nnx.Linear, rngs=nnx.Rngs(0))
encoder = nnx.Sequential(layer(784, 64), nnx.tanh, layer(64, 2 * 8))
decoder = nnx.Sequential(layer(8, 64), nnx.tanh, layer(64, 784))
model = nnx.Dict(encoder=encoder, decoder=decoder)
optimizer = nnx.Optimizer(model, optax.adam(3e-3), wrt=nnx.Param)
for step, rng in enumerate(jax.random.split(jax.random.key(2), 300)):
    value = update(model, optimizer, rng, jax.random.choice(rng, images, (64,)))
    if step % 50 == 0:
        print(f"step {step}  loss {value:.2f}")
