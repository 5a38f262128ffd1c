"""A second VAE that models the codes of the first (Dai and Wipf, 2019; RAE's 2sVAE)."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from sfvae_jax import likelihoods, objectives, posteriors
from sfvae_jax.evaluation.generation.densities.codes import codes_to_fit, overall_scale
from sfvae_jax.evaluation.generation.densities.spec import DensitySpec
from sfvae_jax.evaluation.measured import NotApplicable
from sfvae_jax.evaluation.trained_model import TrainedModel
from sfvae_jax.options import COUNT, POSITIVE, SIZES, Option

OPTIONS = {
    "second_stage_hidden_sizes": Option(
        (256, 256), SIZES, "Hidden layer sizes of the second VAE's encoder and of its decoder"
    ),
    "second_stage_steps": Option(5000, COUNT, "Number of training steps of the second VAE"),
    "second_stage_batch_size": Option(
        256, COUNT, "Number of codes in each training step of the second VAE"
    ),
    "second_stage_learning_rate": Option(1e-3, POSITIVE, "Initial learning rate of the second VAE"),
}


class SecondStageVae(nn.Module):
    """A VAE of codes [m] with latents [m]; a skip connection goes around each of its networks.

    Attributes:
        size: m, the size of the codes and of the latents.
        hidden_sizes: hidden layer sizes of the encoder and of the decoder.
    """

    size: int
    hidden_sizes: Sequence[int]

    def setup(self) -> None:
        """Defines the networks, and the log of the likelihood's single standard deviation."""
        self.encoder_layers = [nn.Dense(size) for size in self.hidden_sizes]
        self.encoder_top = nn.Dense(2 * self.size)
        self.decoder_layers = [nn.Dense(size) for size in self.hidden_sizes]
        self.decoder_top = nn.Dense(self.size)
        self.log_noise = self.param("log_noise", nn.initializers.zeros, ())

    def encode(self, z: Array) -> posteriors.DiagonalGaussian:
        """Returns q(u|z) for one code [m]."""
        mean, log_stddev = jnp.split(self.encoder_top(_skip(z, self.encoder_layers)), 2)
        return posteriors.DiagonalGaussian(mean, jnp.exp(log_stddev))

    def decode(self, u: Array) -> tuple[Array, Array]:
        """Returns the mean [m] and the standard deviation, a scalar, of p(z|u)."""
        return self.decoder_top(_skip(u, self.decoder_layers)), jnp.exp(self.log_noise)

    def elbo(self, rng: Array, z: Array) -> Array:
        """Returns the sampling ELBO of log p(z), a scalar in nats."""
        likelihood = likelihoods.Gaussian(jnp.exp(2.0 * self.log_noise))
        return objectives.sampling_elbo(
            rng, lambda u: self.decode(u)[0], z, self.encode(z), likelihood
        ).value


def _skip(x: Array, layers: Sequence[nn.Dense]) -> Array:
    hidden = x
    for layer in layers:
        hidden = nn.relu(layer(hidden))
    return jnp.concatenate([x, hidden])


@dataclasses.dataclass(frozen=True)
class SecondStageDensity:
    """A trained second VAE: u ~ N(0, I), then z ~ p(z|u), including its noise.

    Attributes:
        model: the network.
        variables: its parameters.
        center: mean of the codes that it was trained on, [m].
        scale: what the centred codes were divided by.
    """

    model: SecondStageVae
    variables: Any
    center: np.ndarray
    scale: float

    def sample(self, rng: np.random.Generator, n: int) -> np.ndarray:
        """Returns n samples [n, m]."""
        u, noise = rng.standard_normal((2, n, self.model.size)).astype(np.float32)
        mean, stddev = _decode(self.model, self.variables, u)
        z = np.asarray(mean) + np.asarray(stddev)[:, None] * noise
        return self.center + self.scale * z.astype(np.float64)


def fit_second_stage(
    seed: int,
    codes: np.ndarray,
    *,
    hidden_sizes: Sequence[int] = (256, 256),
    steps: int = 5000,
    batch_size: int = 256,
    learning_rate: float = 1e-3,
) -> SecondStageDensity:
    """Trains a VAE of codes with a Gaussian likelihood of one learned variance.

    It maximises the sampling ELBO by Adam, whose learning rate falls to 0 along a cosine, on the
    codes centred and divided by one scale for all dimensions. Dai and Wipf have three hidden layers
    of 1,024 units and train far longer.

    Args:
        seed: seed of initialisation, batches and noise.
        codes: codes [N, m].
        hidden_sizes: hidden layer sizes of the encoder and of the decoder.
        steps: training steps.
        batch_size: codes in each step, drawn with replacement.
        learning_rate: initial learning rate.

    Raises:
        ValueError: if there are no codes.
        NotApplicable: if the training diverges.
    """
    codes = np.asarray(codes, np.float64)
    if codes.ndim != 2 or not len(codes):
        raise ValueError(f"expected codes [N, m], got shape {codes.shape}")
    center, scale = codes.mean(axis=0), overall_scale(codes)
    model = SecondStageVae(codes.shape[1], tuple(hidden_sizes))
    scaled = ((codes - center) / scale).astype(np.float32)
    key = jax.random.key(seed)
    variables = jax.device_get(_train(model, learning_rate, steps, batch_size, key, scaled))
    if not all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(variables)):
        raise NotApplicable(
            "the second VAE diverged; lower evaluations.generated.second_stage_learning_rate"
        )
    return SecondStageDensity(model, variables, center, scale)


@functools.partial(jax.jit, static_argnums=0)
def _decode(model: SecondStageVae, variables: Any, u: Array) -> Any:
    return jax.vmap(lambda u: model.apply(variables, u, method="decode"))(u)


@functools.partial(jax.jit, static_argnums=(0, 1, 2, 3))
def _train(
    model: SecondStageVae,
    learning_rate: float,
    steps: int,
    batch_size: int,
    rng: Array,
    codes: Array,
) -> Any:
    optimizer = optax.adam(optax.cosine_decay_schedule(learning_rate, steps))
    init_key, noise_key = jax.random.split(rng)
    variables = model.init(init_key, noise_key, codes[0], method="elbo")

    def loss(variables: Any, key: Array) -> Array:
        index_key, noise_key = jax.random.split(key)
        batch = codes[jax.random.randint(index_key, (batch_size,), 0, len(codes))]
        keys = jax.random.split(noise_key, batch_size)

        def elbo(key: Array, z: Array) -> Any:
            return model.apply(variables, key, z, method="elbo")

        return -jnp.mean(jax.vmap(elbo)(keys, batch))

    def step(carry: tuple[Any, Any], i: Array) -> tuple[tuple[Any, Any], None]:
        variables, state = carry
        gradient = jax.grad(loss)(variables, jax.random.fold_in(noise_key, i))
        updates, state = optimizer.update(gradient, state)
        return (optax.apply_updates(variables, updates), state), None

    carry = (variables, optimizer.init(variables))
    return jax.lax.scan(step, carry, jnp.arange(steps))[0][0]


def _second_stage(trained: TrainedModel, seed: int) -> SecondStageDensity:
    codes, options = codes_to_fit(trained, "second_stage", 1), trained.config.generated
    return fit_second_stage(
        seed,
        codes,
        hidden_sizes=options.second_stage_hidden_sizes,
        steps=options.second_stage_steps,
        batch_size=options.second_stage_batch_size,
        learning_rate=options.second_stage_learning_rate,
    )


SECOND_STAGE = DensitySpec(
    _second_stage,
    "a second VAE trained on the training codes (Dai and Wipf, 2019)",
    stream=5,
    options=OPTIONS,
)
