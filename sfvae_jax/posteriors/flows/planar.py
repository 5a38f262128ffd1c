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
from sfvae_jax.posteriors.spec import Declare, PosteriorSpec, Settings, mean_and_stddev

# Keeps 1 + u'w h' above 0 where softplus underflows.
_MARGIN = 1e-5


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class PlanarFlow:
    """z_K = f_K(... f_1(z_0)), z_0 ~ N(mean, diag(stddev^2)), f_k(z) = z + u_k tanh(w_k'z + b_k).

    (FLOW Eqs. 26 to 29.) Every f_k is invertible: u_k is moved along w_k so that w_k'u_k > -1
    (Rezende and Mohamed, 2015, Appendix A.1); the attribute u need not satisfy this.

    Attributes:
        mean: mean of the base z_0, [m].
        stddev: standard deviation of the base, positive, a scalar or [m].
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
        """Always raises an error, because a planar flow has no inverse in closed form.

        Raises:
            NotImplementedError: naming the posteriors that have one.
        """
        del rng
        raise NotImplementedError(
            "sticking-the-landing needs the density of a given z, but a planar flow has no inverse"
            " in closed form; use sampling_elbo, or a diagonal, full_covariance, IAF or auxiliary"
            " flow posterior"
        )

    def center(self) -> Array:
        """The latent [m] that stands for the whole posterior: the flow of the base's mean."""
        return self.forward(self.mean)[0]

    def forward(self, z: Array) -> tuple[Array, Array]:
        """Maps z_0 [m] to z_K [m]; also returns log |det d z_K / d z_0| in nats, a scalar."""
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
    """Initialises u, w and b so that the flows begin as the identity, with random directions w.

    For latents of the given scale w'z is of order 1. `PlanarFlow` moves the initial u to 0. At
    u = w = 0 every gradient of u, w and b would vanish. (Neither FLOW nor Rezende and Mohamed,
    2015, print initial values.)

    Args:
        rng: key from which the directions are drawn.
        latent_size: m.
        num_flows: K.
        scale: standard deviation of the latents, positive, a scalar or [m].

    Returns:
        {"u": [K, m], "w": [K, m], "b": [K]}, as `PlanarFlow` takes them.
    """
    scale = scale * jnp.ones(latent_size)
    w = jax.random.normal(rng, (num_flows, latent_size), scale.dtype)
    w = 1.0 / (math.sqrt(latent_size) * scale[None, :]) * w
    # `_invertible` moves u so that w'u becomes softplus(w'u) - 1, which is 0 for w'u = log(e - 1).
    u = math.log(math.e - 1.0) * w / jnp.sum(jnp.square(w), axis=1, keepdims=True)
    return {"u": u, "w": w, "b": jnp.zeros(num_flows, scale.dtype)}


def _invertible(u: Array, w: Array) -> tuple[Array, Array]:
    """Moves u along w so that w'u = softplus(w'u) - 1 > -1; also returns the new w'u."""
    product, square = w @ u, w @ w
    target = jax.nn.softplus(product) - 1.0 + _MARGIN
    # If w is almost 0, u cannot be moved along it, and the map is invertible anyway.
    long = square > 1e-12
    shift = jnp.where(long, (target - product) / jnp.where(long, square, 1.0), 0.0)
    return u + shift * w, jnp.where(long, target, product)


def _num_outputs(settings: Settings) -> int:
    m, amortized = settings.latent_size, settings.amortized_flow
    return 2 * m + (settings.num_flows * (2 * m + 1) if amortized else 0)


def _build(settings: Settings, raw: Array, declare: Declare) -> PlanarFlow:
    """Takes u, w and b from the encoder's outputs, or shares them among all (FLOW Eq. 26)."""
    mean, stddev, rest = mean_and_stddev(settings, raw)
    m, num_flows = settings.latent_size, settings.num_flows
    if not settings.amortized_flow:
        flow = declare("flow", lambda rng: init_planar(rng, m, num_flows=num_flows))
        return PlanarFlow(mean, stddev, **flow)
    u, w, b = jnp.split(rest, [num_flows * m, 2 * num_flows * m])
    shape = (num_flows, m)
    return PlanarFlow(mean, stddev, u.reshape(shape), w.reshape(shape), b)


PLANAR = PosteriorSpec(
    name="planar",
    summary="planar flows of a diagonal Gaussian",
    num_outputs=_num_outputs,
    build=_build,
    has_inverse=False,
    can_share_flow=True,
    options=("stddev", "num_flows"),
)
