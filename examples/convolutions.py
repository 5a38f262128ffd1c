"""Transposed convolutions with fast tangents on a CPU: python examples/convolutions.py"""

import time

import jax
import jax.numpy as jnp
from flax import linen as nn

from sfvae_jax import likelihoods, models, objectives, posteriors


class Upsample(nn.Module):  # in place of nn.ConvTranspose(features, (4, 4), (2, 2))
    features: int

    @nn.compact
    def __call__(self, x):  # one image, [H, W, C] -> [2 H, 2 W, features]
        shape = (4, 4, x.shape[-1], self.features)
        kernel = self.param("kernel", nn.initializers.lecun_normal(), shape)
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        return models.convolve_transposed(x, kernel, stride=2) + bias.reshape(1, 1, -1)


def loss(params, decoder, x, means):
    q = posteriors.DiagonalGaussian(means, jnp.full_like(means, 0.1))
    decode = lambda z: decoder.apply(params, z)
    p = likelihoods.Gaussian(0.1)
    return objectives.batch_loss("sampling_free", jax.random.key(0), decode, x, q, p)[0]


step = jax.jit(jax.value_and_grad(loss), static_argnums=1)
x, means = jnp.ones((16, 32, 32, 3)), jnp.ones((16, 16))
native = lambda features: nn.ConvTranspose(features, (4, 4), (2, 2))
image, act = lambda h: h.reshape(4, 4, 64), nn.relu
make_decoder = lambda up: nn.Sequential((nn.Dense(1024), image, up(32), act, up(32), act, up(3)))
decoders = [make_decoder(up) for up in (native, Upsample)]
params = decoders[0].init(jax.random.key(0), means[0])  # both have the same
for decoder in 6 * decoders:  # processor time, in turns; the first turn compiles
    begin = time.process_time()
    jax.block_until_ready(step(params, decoder, x, means))
    print(f"{type(decoder.layers[-1]).__name__}: {time.process_time() - begin:.2f} s")
