"""A VAE in Equinox, trained on 5,000 digits with any objective of sfvae_jax.

pip install equinox && python examples/equinox_decoder.py --objective=sampling_free
"""

import argparse

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax

from sfvae_jax import likelihoods, objectives, posteriors
from sfvae_jax.data.image_sources.mnist_5k import open_mnist_5k


def make_network(rng, input_size, hidden_size, output_size):
    """Returns a network with one hidden layer."""
    return eqx.nn.MLP(input_size, output_size, hidden_size, 1, activation=jnp.tanh, key=rng)


def loss(model, objective, rng, x):
    """Returns the loss of a batch x [B, n] and its terms."""
    mean, log_stddev = jnp.split(jax.vmap(model["encoder"])(x), 2, axis=1)
    posterior = posteriors.DiagonalGaussian(mean, jnp.exp(log_stddev))
    decoder = model["decoder"]
    if objectives.OBJECTIVES[objective].normalizes_decoder:
        decoder, _ = objectives.spectral_normalize(decoder)
    params = eqx.filter(decoder, eqx.is_inexact_array)
    likelihood = likelihoods.Gaussian(0.1)
    return objectives.batch_loss(
        objective, rng, decoder, x, posterior, likelihood, decoder_params=params
    )


def train(objective, steps, batch_size=64, hidden_size=64, latent_size=8):
    """Trains a model and returns its losses."""
    images = open_mnist_5k()["train"][:].reshape(5000, 784) / np.float32(255)
    model = {
        "encoder": make_network(jax.random.key(0), 784, hidden_size, 2 * latent_size),
        "decoder": make_network(jax.random.key(1), latent_size, hidden_size, 784),
    }
    optimizer = optax.adam(3e-3)
    state = optimizer.init(eqx.filter(model, eqx.is_inexact_array))

    @eqx.filter_jit
    def update(model, state, rng, x):
        gradient_of = eqx.filter_value_and_grad(loss, has_aux=True)
        (value, _), gradient = gradient_of(model, objective, rng, x)
        changes, state = optimizer.update(gradient, state)
        return eqx.apply_updates(model, changes), state, value

    losses = []
    for step in range(steps):
        rng = jax.random.fold_in(jax.random.key(1), step)
        x = np.random.default_rng(step).choice(images, batch_size)
        model, state, value = update(model, state, rng, x)
        losses.append(float(value))
        if step % 50 == 0 or step == steps - 1:
            print(f"step {step}  loss {value:.2f}")
    return losses


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--objective", default="sampling_free", choices=objectives.OBJECTIVES)
    parser.add_argument("--steps", type=int, default=300)
    train(**vars(parser.parse_args()))
