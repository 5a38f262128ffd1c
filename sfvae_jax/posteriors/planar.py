"""A diagonal Gaussian pushed through planar flows."""

from __future__ import annotations

import dataclasses
import math
from typing import NoReturn

import jax
import jax.numpy as jnp
from jax import Array

from sfvae_jax.objectives.numerics.checks import ArgumentError, check_shape, check_vector, shape_of
from sfvae_jax.objectives.numerics.precision import rounded_like, wide
from sfvae_jax.posteriors.diagonal import DiagonalGaussian

# Keeps 1 + u'w h' away from 0 where softplus underflows.
_MARGIN = 1e-5


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class PlanarFlow:
    """z_K = f_K(... f_1(z_0)), z_0 ~ N(mean, diag(stddev^2)), f_k(z) = z + u_k tanh(w_k'z + b_k).

    (FLOW Eqs. 26 to 29.) Every f_k is invertible: u_k is moved along w_k so that w_k'u_k > -1
    (Rezende and Mohamed, 2015, Appendix A.1), which the arguments need not fulfil.

    Attributes:
        mean: of the base, [m].
        stddev: of the base, positive, a scalar or [m].
        u: [K, m].
        w: [K, m].
        b: [K].
    """

    mean: Array
    stddev: Array | float
    u: Array
    w: Array
    b: Array

    def sample_and_log_prob(self, rng: Array) -> tuple[Array, Array]:
        """A reparameterised sample z_K [m] and log q(z_K|x) in nats, a scalar."""
        q = wide(self)
        z, log_q = DiagonalGaussian(q.mean, q.stddev).sample_and_log_prob(rng)
        z, log_det = q.forward(z)
        return rounded_like(z, *jax.tree.leaves(self)), log_q - log_det

    def sample_and_path_log_prob(self, rng: Array) -> NoReturn:
        """Refused: a planar flow has no inverse in closed form.

        Raises:
            NotImplementedError: always.
        """
        del rng
        raise NotImplementedError(
            "sticking-the-landing needs the density of a given z, and a planar flow has no inverse"
            " in closed form; use sampling_elbo, or a diagonal, full_covariance, IAF or auxiliary"
            " flow posterior"
        )

    def center(self) -> Array:
        """The latent [m] that stands for the whole: where the base's mean goes."""
        return self.forward(self.mean)[0]

    def forward(self, z: Array) -> tuple[Array, Array]:
        """z_0 [m] to z_K [m], and log |det d z_K / d z_0| in nats, a scalar."""
        self._check(z)
        given, z, q = z, wide(z), wide(self)
        log_det = jnp.zeros((), z.dtype)
        for u, w, b in zip(q.u, q.w, q.b, strict=True):
            direction, slope = _invertible(u, w)
            h = jnp.tanh(w @ z + b)
            z = z + direction * h
            log_det += jnp.log1p(slope * (1.0 - jnp.square(h)))
        return rounded_like(z, given, *jax.tree.leaves(self)), log_det

    def _check(self, z: Array) -> None:
        check_vector("mean", self.mean)
        check_shape("z", z, self.mean.shape, ", as the mean has")
        number = shape_of("b", self.b)
        if len(number) != 1:
            raise ArgumentError(f"b must have shape [K], got shape {number}")
        for name in ("u", "w"):
            expected = (*number, *self.mean.shape)
            check_shape(name, getattr(self, name), expected, ", one row for each element of b")


def init_planar(
    rng: Array, latent_size: int, *, num_flows: int = 2, scale: Array | float = 1.0
) -> dict[str, Array]:
    """u, w and b of planar flows that begin as the identity, with w in random directions.

    w'z is near 1 for latents of the given scale, and u is where `PlanarFlow` moves it to 0. At
    u = w = 0 every gradient of u, w and b would vanish. (FLOW, and Rezende and Mohamed, 2015, print
    no initial values.)

    Args:
        rng: key of the directions.
        latent_size: m.
        num_flows: K.
        scale: standard deviation of the latents, positive, a scalar or [m].

    Returns:
        {"u": [K, m], "w": [K, m], "b": [K]}, as `PlanarFlow` takes them.
    """
    scale = scale * jnp.ones(latent_size)
    w = jax.random.normal(rng, (num_flows, latent_size), scale.dtype)
    w = 1.0 / (math.sqrt(latent_size) * scale[None, :]) * w
    # u is moved to where w'u = softplus(w'u) - 1, which is 0 for w'u = log(e - 1).
    u = math.log(math.e - 1.0) * w / jnp.sum(jnp.square(w), axis=1, keepdims=True)
    return {"u": u, "w": w, "b": jnp.zeros(num_flows, scale.dtype)}


def _invertible(u: Array, w: Array) -> tuple[Array, Array]:
    """u moved along w so that w'u = softplus(w'u) - 1 > -1, and that w'u."""
    product, square = w @ u, w @ w
    target = jax.nn.softplus(product) - 1.0 + _MARGIN
    # A w of next to no length gives nothing to move along, and its map cannot fold.
    long = square > 1e-12
    shift = jnp.where(long, (target - product) / jnp.where(long, square, 1.0), 0.0)
    return u + shift * w, jnp.where(long, target, product)
