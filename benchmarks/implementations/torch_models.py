"""The networks of `sfvae_jax.models` as PyTorch modules, with weights converted in both directions.

Images are [B, C, H, W], as usual in PyTorch.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import ml_collections
import numpy as np
import torch
from torch import Tensor, nn

from sfvae_jax.models.convolutional import conv

_ACTIVATIONS = {"relu": nn.ReLU, "tanh": nn.Tanh}
_OF_OUTPUTS = {"sigmoid": nn.Sigmoid, "identity": nn.Identity}


class Networks(NamedTuple):
    """Encoder [B, C, H, W] -> [B, 2 m] and decoder [B, m] -> [B, ...], with the images' axes."""

    encoder: nn.Sequential
    decoder: nn.Sequential

    def parameters(self) -> list[Tensor]:
        """Returns the parameters of both, in this order."""
        return [*self.encoder.parameters(), *self.decoder.parameters()]


def build(config: ml_collections.ConfigDict, data_shape: tuple[int, ...]) -> Networks:
    """Builds the networks of the model "mlp" or "conv", with PyTorch's initial weights.

    Args:
        config: a resolved config.
        data_shape: the shape of one example, [H, W, C].
    """
    return {"mlp": _mlp, "conv": _conv}[config.model.name](config.model, data_shape)


def _mlp(settings: ml_collections.ConfigDict, data_shape: tuple[int, ...]) -> Networks:
    size, hidden = math.prod(data_shape), tuple(settings.hidden_sizes)
    activation = _ACTIVATIONS[settings.activation]

    def layers(sizes: tuple[int, ...]) -> list[nn.Module]:
        pairs = itertools.pairwise(sizes)
        return [layer for pair in pairs for layer in (nn.Linear(*pair), activation())][:-1]

    encoder = nn.Sequential(nn.Flatten(), *layers((size, *hidden, 2 * settings.latent_size)))
    sizes = (settings.latent_size, *hidden[::-1], size)
    activate = _OF_OUTPUTS[settings.output_activation]()
    return Networks(encoder, nn.Sequential(*layers(sizes), activate))


def _conv(settings: ml_collections.ConfigDict, data_shape: tuple[int, ...]) -> Networks:
    *inner, last = tuple(settings.channels) or conv.CHANNELS
    size = settings.kernel_size or conv.KERNEL_SIZE
    activation = _ACTIVATIONS[settings.activation]
    halving = {"kernel_size": size, "stride": 2, "padding": (size - 2) // 2}
    encoder, channels = [], data_shape[-1]
    for following in inner:
        encoder += [nn.Conv2d(channels, following, **halving), activation()]
        channels = following
    encoder += [nn.Conv2d(channels, last, size), activation(), nn.Flatten()]
    decoder = [nn.Linear(settings.latent_size, last), nn.Unflatten(1, (last, 1, 1)), activation()]
    decoder += [nn.ConvTranspose2d(last, channels, size)]
    for following in (*inner[-2::-1], data_shape[-1]):
        decoder += [activation(), nn.ConvTranspose2d(channels, following, **halving)]
        channels = following
    head = nn.Linear(last, 2 * settings.latent_size)
    return Networks(nn.Sequential(*encoder, head), nn.Sequential(*decoder))


def load_params(networks: Networks, params: Any) -> None:
    """Copies the weights of the library's model into the networks."""
    with torch.no_grad():
        for layer, place in _layers(networks):
            weights = params["params"][place[0]][place[1]]
            kernel = _to_torch(layer, np.asarray(weights["kernel"]))
            layer.weight.copy_(torch.tensor(np.ascontiguousarray(kernel)))
            layer.bias.copy_(torch.tensor(np.asarray(weights["bias"])))


def as_params(networks: Networks, values: list[Tensor]) -> Any:
    """Arranges values in the order of `networks.parameters()` as the library's parameters."""
    by_place: dict[str, dict[str, Any]] = {"encoder": {}, "decoder": {}}
    pairs = zip(values[::2], values[1::2], strict=True)
    for (layer, (network, name)), (kernel, bias) in zip(_layers(networks), pairs, strict=True):
        arrays = {"kernel": _from_torch(layer, kernel.numpy()), "bias": bias.numpy()}
        by_place[network][name] = arrays
    return {"params": by_place}


def _layers(networks: Networks) -> Iterator[tuple[nn.Module, tuple[str, str]]]:
    """Yields each layer with weights and its place among the library's parameters."""
    for network, modules in networks._asdict().items():
        counts = {"Dense": 0, "Convolution": 0}
        for layer in modules:
            if any(True for _ in layer.parameters()):
                kind = "Dense" if isinstance(layer, nn.Linear) else "Convolution"
                yield layer, (network, f"{kind}_{counts[kind]}")
                counts[kind] += 1


def _to_torch(layer: nn.Module, kernel: np.ndarray) -> np.ndarray:
    if isinstance(layer, nn.Linear):
        return kernel.T
    if isinstance(layer, nn.Conv2d):
        return kernel.transpose(3, 2, 0, 1)  # [k, k, C, F] -> [F, C, k, k]
    return kernel[::-1, ::-1].transpose(2, 3, 0, 1)  # -> [C, F, k, k], flipped


def _from_torch(layer: nn.Module, kernel: np.ndarray) -> np.ndarray:
    if isinstance(layer, nn.Linear):
        return kernel.T
    if isinstance(layer, nn.Conv2d):
        return kernel.transpose(2, 3, 1, 0)
    return kernel.transpose(2, 3, 0, 1)[::-1, ::-1]
