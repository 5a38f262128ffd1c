"""Fully connected networks with skip connections, for images of any size.

--config.plugins=examples/plugins/residual_model.py --config.model.name=residual
--config.model.width=64 --config.model.num_blocks=3
"""

import math

import flax.linen as nn

from sfvae_jax import plugins


class Residual(nn.Module):
    """Dense layers h + W' relu(W h) of one width, between a first and a last layer."""

    width: int
    num_blocks: int
    num_outputs: int

    @nn.compact
    def __call__(self, x, axes=None):
        del axes  # for BatchNorm, which this has not
        h = nn.Dense(self.width)(x.ravel())
        for _ in range(self.num_blocks):
            h = h + nn.Dense(self.width)(nn.relu(nn.Dense(self.width)(h)))
        return nn.Dense(self.num_outputs)(nn.relu(h))


def networks(settings, shape, num_outputs, multiple):
    size = (settings.width, settings.num_blocks)
    return Residual(*size, num_outputs), Residual(*size, multiple * math.prod(shape))


plugins.register(
    plugins.ModelSpec(
        name="residual",
        summary="fully connected layers with skip connections",
        networks=networks,
        sizes="images of any size",
        own_options={
            "width": plugins.Option(256, plugins.COUNT, "Width of residual"),
            "num_blocks": plugins.Option(2, plugins.COUNT, "Number of blocks in residual"),
        },
    )
)
