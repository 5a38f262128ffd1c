"""The losses of the objectives "sampling_free" and "sampling" in PyTorch."""

from __future__ import annotations

import math
from collections.abc import Callable

import ml_collections
import torch
from torch import Tensor, nn
from torch.func import functional_call, jvp, vmap

from benchmarks.implementations.torch_models import Networks

# (x [B, ...], noise [B, m]) -> loss in nats per example
Loss = Callable[[Tensor, Tensor], Tensor]
# (decoder, z [B, m]) -> J' [B, m, n]
Jacobian = Callable[[nn.Module, Tensor], Tensor]

_LOG_2_PI = math.log(2.0 * math.pi)


def make_loss(config: ml_collections.ConfigDict, networks: Networks, jacobian: Jacobian) -> Loss:
    """Returns the loss of a resolved config for given noise; the sampling-free one ignores it.

    Args:
        config: a resolved config.
        networks: the encoder and the decoder.
        jacobian: how tangents are taken: by `jacobian_of_each`, faster if not compiled, or by
            `jacobian_of_batch`.
    """
    variance, gamma = config.likelihood.variance, config.objective.gamma

    def log_likelihood(x: Tensor, mean: Tensor, stddev: Tensor, noise: Tensor) -> Tensor:
        if config.objective.name == "sampling_free":
            tangents = jacobian(networks.decoder, mean)
            return sampling_free(networks.decoder, tangents, x, mean, stddev, variance, gamma)
        return sampling(networks.decoder, x, mean, stddev, noise, variance)

    def loss(x: Tensor, noise: Tensor) -> Tensor:
        mean, log_variance = networks.encoder(x).chunk(2, dim=1)
        stddev = torch.exp(0.5 * log_variance)
        kl = 0.5 * (mean.square() + stddev.square() - 1.0 - log_variance).sum(dim=1)
        return (kl - log_likelihood(x, mean, stddev, noise)).mean()

    return loss


def sampling_free(
    decoder: nn.Module,
    tangents: Tensor,
    x: Tensor,
    mean: Tensor,
    stddev: Tensor,
    variance: float,
    gamma: float,
) -> Tensor:
    """Returns log N(x; f(mean), U U' + c I) per example by an m x m system, [B]; SFVAE 18-21.

    The tangents are J' [B, m, n] at the mean.
    """
    residual = decoder(mean).flatten(1) - x.flatten(1)
    factor = tangents * stddev[:, :, None]  # U' [B, m, n]
    system = torch.bmm(factor, factor.mT) / variance + torch.eye(mean.shape[1], device=x.device)
    triangle = torch.linalg.cholesky(system)
    projection = torch.bmm(factor, residual[:, :, None]) / variance
    solved = torch.linalg.solve_triangular(triangle, projection, upper=False)
    log_det = 2.0 * triangle.diagonal(dim1=1, dim2=2).log().sum(dim=1)
    quadratic = solved.square().sum(dim=(1, 2))
    return _independent(residual, variance) - 0.5 * log_det + 0.5 * gamma * quadratic


def jacobian_of_each(decoder: nn.Module, z: Tensor) -> Tensor:
    """Returns J' [B, m, n] of a decoder at each latent of z [B, m], by `jvp` under `vmap`."""
    params = dict(decoder.named_parameters())
    basis = torch.eye(z.shape[1], device=z.device)

    def decode(z: Tensor) -> Tensor:
        return functional_call(decoder, params, (z[None],)).flatten()

    def columns(z: Tensor) -> Tensor:
        return vmap(lambda direction: jvp(decode, (z,), (direction,))[1])(basis)

    return vmap(columns)(z)


def jacobian_of_batch(decoder: nn.Module, z: Tensor) -> Tensor:
    """Returns the same with a single `vmap`, over directions: what `torch.compile` can compile."""
    basis = torch.eye(z.shape[1], device=z.device)

    def along(direction: Tensor) -> Tensor:
        return jvp(decoder, (z,), (direction.expand(z.shape),))[1].flatten(1)

    return vmap(along, out_dims=1)(basis)


def sampling(
    decoder: nn.Module, x: Tensor, mean: Tensor, stddev: Tensor, noise: Tensor, variance: float
) -> Tensor:
    """Returns log p(x|z) per example at one sample of its posterior, [B]; SFVAE 7-9."""
    residual = decoder(mean + stddev * noise).flatten(1) - x.flatten(1)
    return _independent(residual, variance)


def _independent(residual: Tensor, variance: float) -> Tensor:
    constant = residual.shape[1] * (_LOG_2_PI + math.log(variance))
    return -0.5 * (constant + residual.square().sum(dim=1) / variance)
