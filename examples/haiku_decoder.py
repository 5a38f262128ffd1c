"""A VAE in Haiku, trained on digits: python examples/haiku_decoder.py [OBJECTIVE]"""

import sys

import haiku as hk
import jax
import jax.numpy as jnp
import optax

from sfvae_jax import likelihoods, objectives, posteriors
from sfvae_jax.data.image_sources.mnist_5k import open_mnist_5k

objective = sys.argv[1] if sys.argv[1:] else "sampling_free"
images = open_mnist_5k()["train"][:].reshape(5000, 784) / jnp.float32(255)
encoder = hk.without_apply_rng(hk.transform(lambda x: hk.nets.MLP([64, 2 * 8])(x)))
decoder = hk.without_apply_rng(hk.transform(lambda z: hk.nets.MLP([64, 784])(z)))


def loss(params, rng, x):  # x [B, 784]
    mean, log_stddev = jnp.split(encoder.apply(params["encoder"], x), 2, axis=1)  # [B, 8]
    q = posteriors.DiagonalGaussian(mean, jnp.exp(log_stddev))
    decode = lambda z: decoder.apply(params["decoder"], z)  # [8] -> [784]
    return objectives.batch_loss(objective, rng, decode, x, q, likelihoods.Gaussian(0.1))


@jax.jit
def update(params, state, rng, x):
    (value, _), gradient = jax.value_and_grad(loss, has_aux=True)(params, rng, x)
    changes, state = optimizer.update(gradient, state)
    return optax.apply_updates(params, changes), state, value


params = {"encoder": encoder.init(jax.random.key(0), images[0])}
params["decoder"] = decoder.init(jax.random.key(1), jnp.zeros(8))
optimizer = optax.adam(3e-3)
state = optimizer.init(params)
for step, rng in enumerate(jax.random.split(jax.random.key(2), 300)):
    params, state, value = update(params, state, rng, jax.random.choice(rng, images, (64,)))
    if step % 50 == 0:
        print(f"step {step}  loss {value:.2f}")
