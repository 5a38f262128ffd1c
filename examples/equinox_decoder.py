"""A VAE in Equinox, trained on digits: python examples/equinox_decoder.py [OBJECTIVE]"""

import sys

import equinox as eqx
import jax
import jax.numpy as jnp
import optax

from sfvae_jax import likelihoods, objectives, posteriors
from sfvae_jax.data.image_sources.mnist_5k import open_mnist_5k

objective = sys.argv[1] if sys.argv[1:] else "sampling_free"
images = open_mnist_5k()["train"][:].reshape(5000, 784) / jnp.float32(255)


def loss(model, rng, x):  # x [B, 784]
    encoder, decoder = model  # the decoder is a function, [8] -> [784]
    mean, log_stddev = jnp.split(jax.vmap(encoder)(x), 2, axis=1)  # [B, 8]
    q = posteriors.DiagonalGaussian(mean, jnp.exp(log_stddev))
    return objectives.batch_loss(objective, rng, decoder, x, q, likelihoods.Gaussian(0.1))


@eqx.filter_jit
def update(model, state, rng, x):
    (value, _), gradient = eqx.filter_value_and_grad(loss, has_aux=True)(model, rng, x)
    changes, state = optimizer.update(gradient, state)
    return eqx.apply_updates(model, changes), state, value


encoder = eqx.nn.MLP(784, 2 * 8, width_size=64, depth=1, key=jax.random.key(0))
decoder = eqx.nn.MLP(8, 784, width_size=64, depth=1, key=jax.random.key(1))
model = (encoder, decoder)
optimizer = optax.adam(3e-3)
state = optimizer.init(eqx.filter(model, eqx.is_inexact_array))
for step, rng in enumerate(jax.random.split(jax.random.key(2), 300)):
    model, state, value = update(model, state, rng, jax.random.choice(rng, images, (64,)))
    if step % 50 == 0:
        print(f"step {step}  loss {value:.2f}")
