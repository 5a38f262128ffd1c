"""A VAE in plain JAX, trained on digits: python examples/plain_jax.py [OBJECTIVE]"""

import sys

import jax
import jax.numpy as jnp
import optax

from sfvae_jax import likelihoods, objectives, posteriors
from sfvae_jax.data.image_sources.mnist_5k import open_mnist_5k

objective = sys.argv[1] if sys.argv[1:] else "sampling_free"
images = open_mnist_5k()["train"][:].reshape(5000, 784) / jnp.float32(255)


def loss(params, rng, x):  # x [B, 784]
    a, b, c, d = params  # two kernels of the encoder, two of the decoder
    mean, log_stddev = jnp.split(jnp.tanh(x @ a) @ b, 2, axis=1)  # [B, 8]
    q = posteriors.DiagonalGaussian(mean, jnp.exp(log_stddev))
    decode = lambda z: jnp.tanh(z @ c) @ d  # [8] -> [784]
    return objectives.batch_loss(objective, rng, decode, x, q, likelihoods.Gaussian(0.1))


@jax.jit
def update(params, state, rng, x):
    (value, _), gradient = jax.value_and_grad(loss, has_aux=True)(params, rng, x)
    changes, state = optimizer.update(gradient, state)
    return optax.apply_updates(params, changes), state, value


shapes = [(784, 64), (64, 2 * 8), (8, 64), (64, 784)]
keys = jax.random.split(jax.random.key(0), 4)
params = list(map(jax.nn.initializers.lecun_normal(), keys, shapes))
optimizer = optax.adam(3e-3)
state = optimizer.init(params)
for step, rng in enumerate(jax.random.split(jax.random.key(2), 300)):
    params, state, value = update(params, state, rng, jax.random.choice(rng, images, (64,)))
    if step % 50 == 0:
        print(f"step {step}  loss {value:.2f}")
