"""A VAE in Flax NNX, trained on 5,000 digits with any objective of sfvae_jax.

python examples/nnx.py --objective=sampling_free
"""

import argparse

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from sfvae_jax import likelihoods, objectives, posteriors
from sfvae_jax.data.image_sources.mnist_5k import open_mnist_5k


class Network(nnx.Module):
    """A network with one hidden layer."""

    def __init__(self, input_size, hidden_size, output_size, rngs):
        self.hidden = nnx.Linear(input_size, hidden_size, rngs=rngs)
        self.output = nnx.Linear(hidden_size, output_size, rngs=rngs)

    def __call__(self, x):
        """Maps an example or a latent, or a batch of them."""
        return self.output(nnx.tanh(self.hidden(x)))


class Vae(nnx.Module):
    """An encoder and a decoder."""

    def __init__(self, hidden_size, latent_size, rngs):
        self.encoder = Network(784, hidden_size, 2 * latent_size, rngs)
        self.decoder = Network(latent_size, hidden_size, 784, rngs)


def loss(model, objective, rng, x):
    """Returns the loss of a batch x [B, n] and its terms."""
    mean, log_stddev = jnp.split(model.encoder(x), 2, axis=1)
    posterior = posteriors.DiagonalGaussian(mean, jnp.exp(log_stddev))
    definition, params = nnx.split(model.decoder)
    if objectives.OBJECTIVES[objective].normalizes_decoder:
        params, _ = objectives.spectral_normalize(params)
    decode = nnx.merge(definition, params)
    likelihood = likelihoods.Gaussian(0.1)
    return objectives.batch_loss(
        objective, rng, decode, x, posterior, likelihood, decoder_params=params
    )


def train(objective, steps, batch_size=64, hidden_size=64, latent_size=8):
    """Trains a model and returns its losses."""
    images = open_mnist_5k()["train"][:].reshape(5000, 784) / np.float32(255)
    model = Vae(hidden_size, latent_size, nnx.Rngs(0))
    optimizer = nnx.Optimizer(model, optax.adam(3e-3), wrt=nnx.Param)

    @nnx.jit
    def update(model, optimizer, rng, x):
        gradient_of = nnx.value_and_grad(loss, has_aux=True)
        (value, _), gradient = gradient_of(model, objective, rng, x)
        optimizer.update(model, gradient)
        return value

    losses = []
    for step in range(steps):
        rng = jax.random.fold_in(jax.random.key(1), step)
        x = np.random.default_rng(step).choice(images, batch_size)
        value = update(model, optimizer, rng, x)
        losses.append(float(value))
        if step % 50 == 0 or step == steps - 1:
            print(f"step {step}  loss {value:.2f}")
    return losses


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--objective", default="sampling_free", choices=objectives.OBJECTIVES)
    parser.add_argument("--steps", type=int, default=300)
    train(**vars(parser.parse_args()))
