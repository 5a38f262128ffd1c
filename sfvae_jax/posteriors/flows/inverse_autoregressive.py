"""A diagonal Gaussian pushed through inverse autoregressive flows."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from sfvae_jax.objectives.numerics import gaussian
from sfvae_jax.objectives.numerics.checks import check_shape, check_vector
from sfvae_jax.objectives.numerics.linear_algebra import matmul, triangular_inverse
from sfvae_jax.objectives.numerics.precision import normal_like, rounded_like, wide
from sfvae_jax.posteriors.diagonal import DiagonalGaussian
from sfvae_jax.posteriors.flows.networks import Network, apply_network, init_network
from sfvae_jax.posteriors.path import invertible_log_scale, with_gradient_of, zero_with_gradient
from sfvae_jax.posteriors.spec import Declare, PosteriorSpec, Settings, mean_and_stddev

# As in Kingma et al., the gate is almost open at first: a new flow is close to the identity.
_GATE_BIAS = 2.0


def init_iaf(
    rng: Array,
    latent_size: int,
    *,
    num_flows: int = 2,
    hidden_sizes: Sequence[int] = (100, 100),
    context_size: int = 0,
) -> tuple[Network, ...]:
    """Initialises the K masked networks of an `InverseAutoregressiveFlow`.

    Args:
        rng: key of the initialisation.
        latent_size: m.
        num_flows: K.
        hidden_sizes: hidden layers of every network.
        context_size: size of the encoder's context h; 0 for none.

    Returns:
        A tuple of K networks from m to 2 m.
    """
    sizes = (latent_size, *hidden_sizes, 2 * latent_size)
    return tuple(init_network(key, sizes, context_size) for key in jax.random.split(rng, num_flows))


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class InverseAutoregressiveFlow:
    """The distribution of z_0 ~ N(mean, diag(stddev^2)) after K gated autoregressive steps.

    z_k = sigma * z_{k-1} + (1 - sigma) * mu,   sigma = sigmoid(s + 2),   (mu, s) = MADE(z_{k-1}, h)
    log q(z_K|x) = log q(z_0|x) - sum_k sum_i log sigma_{k,i}

    (FLOW Eqs. 31 to 33 in the numerically stable form of Kingma et al., 2016.) Output i of MADE
    sees the inputs before i and all of the context h; every second step runs through the
    dimensions in reverse order. The inverse takes m passes through each network.

    Attributes:
        mean: mean of the base z_0, [m].
        stddev: standard deviation of the base, positive, a scalar or [m].
        context: h from the encoder, [c], or None.
        networks: as `init_iaf` returns them; all examples may share them, or each has its own.
    """

    mean: Array
    stddev: Array | float
    context: Array | None
    networks: tuple[Network, ...]

    def sample_and_log_prob(self, rng: Array) -> tuple[Array, Array]:
        """A reparameterised sample z_K [m] and log q(z_K|x) in nats, a scalar."""
        q = wide(self)
        z, log_q = q._base.sample_and_log_prob(rng)
        z, log_det = q.forward(z)
        return rounded_like(z, *jax.tree.leaves(self)), log_q - log_det

    def sample_and_path_log_prob(self, rng: Array) -> tuple[Array, Array]:
        """Returns the values of `sample_and_log_prob`; log q only has a gradient through z.

        The noise that led to z_K is known, so the inverse is not computed but only differentiated,
        with one m x m triangular system for each step. Only first derivatives are right.
        """
        z, log_q = self.sample_and_log_prob(rng)
        fixed = jax.lax.stop_gradient(wide(self))
        noise = normal_like(rng, fixed.mean)
        way = [fixed.mean + fixed.stddev * noise]
        for step in range(len(self.networks) - 1):
            way.append(fixed._step(step, way[-1])[0])
        moved = wide(z)
        log_det = jnp.zeros((), moved.dtype)
        for step, before in reversed(list(enumerate(way))):
            change = zero_with_gradient(moved)
            moved = before + matmul(fixed._inverse_jacobian(step, before), change)
            log_det += fixed._step(step, moved)[1]
        change = zero_with_gradient(moved) / fixed.stddev
        density = gaussian.standard_normal_log_prob(noise + change) - log_det
        return z, with_gradient_of(density, log_q)

    def center(self) -> Array:
        """The latent [m] that stands for the whole posterior: the flow of the base's mean."""
        return self.forward(self.mean)[0]

    def log_prob(self, z: Array) -> Array:
        """log q(z|x) in nats, a scalar, of any z [m], through the inverse."""
        q = wide(self)
        z, log_det = q.inverse(wide(z))
        return q._base.log_prob(z) + log_det

    def forward(self, z: Array) -> tuple[Array, Array]:
        """Maps z_0 [m] to z_K [m]; also returns log |det d z_K / d z_0| in nats, a scalar."""
        q, given, z = self._checked(z), z, wide(z)
        log_det = jnp.zeros((), z.dtype)
        for step in range(len(q.networks)):
            z, step_log_det = q._step(step, z)
            log_det += step_log_det
        return rounded_like(z, given, *jax.tree.leaves(self)), log_det

    def inverse(self, z: Array) -> tuple[Array, Array]:
        """Maps z_K [m] to z_0 [m]; also returns log |det d z_0 / d z_K| in nats, a scalar."""
        q, given, z = self._checked(z), z, wide(z)
        log_det = jnp.zeros((), z.dtype)
        for step in reversed(range(len(q.networks))):
            z = q._invert_step(step, z)
            log_det -= jnp.sum(jax.nn.log_sigmoid(q._gate(step, z)[1]))
        return rounded_like(z, given, *jax.tree.leaves(self)), log_det

    def _checked(self, z: Array) -> InverseAutoregressiveFlow:
        """Checks the size of z, and returns the same posterior in at least 32 bits."""
        check_vector("mean", self.mean)
        check_shape("z", z, self.mean.shape, ", as the mean has")
        return wide(self)

    def _step(self, step: int, z: Array) -> tuple[Array, Array]:
        """Maps z_{k-1} to z_k; also returns the log determinant of the step."""
        mu, s = self._gate(step, z)
        return z * jax.nn.sigmoid(s) + mu * jax.nn.sigmoid(-s), jnp.sum(jax.nn.log_sigmoid(s))

    def _inverse_jacobian(self, step: int, z: Array) -> Array:
        """(d z_k / d z_{k-1})^-1 at z_{k-1}, [m, m], triangular in the order of the step."""
        order = _order(step)
        jacobian = jax.jacfwd(lambda z: self._step(step, z)[0])(z)[order, order]
        log_scale = jax.nn.log_sigmoid(self._gate(step, z)[1])[order]
        diagonal = jnp.diag(jnp.exp(invertible_log_scale(log_scale)))
        return triangular_inverse(jnp.tril(jacobian, -1) + diagonal)[order, order]

    def _invert_step(self, step: int, target: Array) -> Array:
        def refine(guess: Array, _: None) -> tuple[Array, None]:
            # An element is right once all elements before it are right, so m rounds are enough.
            mu, s = self._gate(step, guess)
            return target + (target - mu) * jnp.exp(-invertible_log_scale(s)), None

        return jax.lax.scan(refine, target, None, length=target.size)[0]

    @property
    def _base(self) -> DiagonalGaussian:
        return DiagonalGaussian(self.mean, self.stddev)

    def _gate(self, step: int, z: Array) -> tuple[Array, Array]:
        """mu and s [m] of one step; every second step takes the dimensions in reverse order."""
        network, order = self.networks[step], _order(step)
        out = apply_network(network, z[order], 2 * z.size, self.context, _masks(network))
        mu, s = jnp.split(out, 2)
        return mu[order], s[order] + _GATE_BIAS


def _order(step: int) -> slice:
    return slice(None, None, -1 if step % 2 else 1)


def _masks(network: Network) -> list[np.ndarray]:
    """0/1 masks that let output i see only the inputs before i (Germain et al., 2015).

    A hidden unit of degree d sees the inputs 1..d. Degrees are spread evenly over 0..m-1. They
    begin at 0, so that output 1 still sees units that carry the context alone, and they end at m-1
    even if there are few units.
    """
    size = network[0]["kernel"].shape[0]
    degrees: np.ndarray = np.arange(1, size + 1)
    masks = []
    for layer in network[:-1]:
        hidden = np.round(np.linspace(0, size - 1, layer["kernel"].shape[1]))
        masks.append(np.asarray(degrees[:, None] <= hidden[None, :], np.float32))
        degrees = hidden
    outputs = np.tile(np.arange(1, size + 1), 2)
    masks.append(np.asarray(degrees[:, None] < outputs[None, :], np.float32))
    return masks


def _build(settings: Settings, raw: Array, declare: Declare) -> InverseAutoregressiveFlow:
    """Shares the networks among all examples; the encoder's last outputs are the context."""
    mean, stddev, context = mean_and_stddev(settings, raw)

    def initialize(rng: Array) -> tuple[Network, ...]:
        return init_iaf(
            rng,
            settings.latent_size,
            num_flows=settings.num_flows,
            hidden_sizes=settings.hidden_sizes,
            context_size=settings.context_size,
        )

    networks = declare("networks", initialize)
    return InverseAutoregressiveFlow(
        mean, stddev, context if settings.context_size else None, networks
    )


IAF = PosteriorSpec(
    name="iaf",
    summary="inverse autoregressive flows of a diagonal Gaussian",
    num_outputs=lambda settings: 2 * settings.latent_size + settings.context_size,
    build=_build,
    shares_networks=True,
    options=("stddev", "num_flows", "hidden_sizes", "context_size"),
)
