"""A VAE in Haiku, trained on 5,000 digits with any objective of sfvae_jax.

pip install dm-haiku && python examples/haiku_decoder.py --objective=sampling_free
"""

import argparse

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import optax

from sfvae_jax import likelihoods, objectives, posteriors
from sfvae_jax.data.image_sources.mnist_5k import open_mnist_5k


def make_network(*sizes):
    """Returns a network as a pair of pure functions, `init` and `apply`."""
    return hk.without_apply_rng(hk.transform(lambda x: hk.nets.MLP(sizes, activation=jnp.tanh)(x)))


def loss(params, networks, objective, rng, x):
    """Returns the loss of a batch x [B, n] and its terms."""
    mean, log_stddev = jnp.split(networks["encoder"].apply(params["encoder"], x), 2, axis=1)
    posterior = posteriors.DiagonalGaussian(mean, jnp.exp(log_stddev))
    decoder = params["decoder"]
    if objectives.OBJECTIVES[objective].normalizes_decoder:
        decoder, _ = objectives.spectral_normalize(decoder)
    decode = lambda z: networks["decoder"].apply(decoder, z)
    likelihood = likelihoods.Gaussian(0.1)
    return objectives.batch_loss(
        objective, rng, decode, x, posterior, likelihood, decoder_params=decoder
    )


def train(objective, steps, batch_size=64, hidden_size=64, latent_size=8):
    """Trains a model and returns its losses."""
    images = open_mnist_5k()["train"][:].reshape(5000, 784) / np.float32(255)
    networks = {
        "encoder": make_network(hidden_size, 2 * latent_size),
        "decoder": make_network(hidden_size, 784),
    }
    params = {
        "encoder": networks["encoder"].init(jax.random.key(0), jnp.zeros(784)),
        "decoder": networks["decoder"].init(jax.random.key(1), jnp.zeros(latent_size)),
    }
    optimizer = optax.adam(3e-3)
    state = optimizer.init(params)

    @jax.jit
    def update(params, state, rng, x):
        gradient_of = jax.value_and_grad(loss, has_aux=True)
        (value, _), gradient = gradient_of(params, networks, objective, rng, x)
        changes, state = optimizer.update(gradient, state, params)
        return optax.apply_updates(params, changes), state, value

    losses = []
    for step in range(steps):
        rng = jax.random.fold_in(jax.random.key(1), step)
        x = np.random.default_rng(step).choice(images, batch_size)
        params, state, value = update(params, state, rng, x)
        losses.append(float(value))
        if step % 50 == 0 or step == steps - 1:
            print(f"step {step}  loss {value:.2f}")
    return losses


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--objective", default="sampling_free", choices=objectives.OBJECTIVES)
    parser.add_argument("--steps", type=int, default=300)
    train(**vars(parser.parse_args()))
