"""A flow of the latent and an auxiliary variable, as in GAPS.

GAPS is Cremer, Li and Duvenaud, "Inference Suboptimality in Variational Autoencoders".
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from sfvae_jax.objectives.numerics.checks import ArgumentError, check_shape, check_vector
from sfvae_jax.objectives.numerics.precision import rounded_like, wide
from sfvae_jax.posteriors.diagonal import DiagonalGaussian
from sfvae_jax.posteriors.flows.networks import Network, apply_network, init_network
from sfvae_jax.posteriors.path import invertible_log_scale, with_gradient_of, zero_with_gradient
from sfvae_jax.posteriors.spec import Declare, PosteriorSpec, Settings, mean_and_stddev

_LARGEST_LOG_VARIANCE = 20.0
_MAPS = ("log_scale_v", "shift_v", "log_scale_z", "shift_z")

# The distribution of v_0: a Gaussian q(v_0|z_0) given by a network, or N(0, I).
AUXILIARY_STARTS = ("conditional", "standard_normal")


def init_auxiliary_flow(
    rng: Array,
    latent_size: int,
    *,
    num_flows: int = 2,
    hidden_sizes: Sequence[int] = (100, 100),
    context_size: int = 0,
    reverse_sizes: Sequence[int] | None = None,
    auxiliary_start: str = "conditional",
) -> dict[str, Any]:
    """Initialises the networks of an `AuxiliaryFlow`; the defaults are those of GAPS Table 8.

    GAPS Section 6.2 uses reverse_sizes (50, 50) and the auxiliary start "standard_normal".

    Args:
        rng: key of the initialisation.
        latent_size: m, the size of z and of v.
        num_flows: T.
        hidden_sizes: hidden layers of every network.
        context_size: size of the encoder's context h, an input of q(v_0|z_0) and r(v|z); 0 for
            none, as in Table 8.
        reverse_sizes: hidden layers of the network of r(v|z); None: hidden_sizes.
        auxiliary_start: the distribution of v_0, one of `AUXILIARY_STARTS`.

    Returns:
        {"initial": q(v_0|z_0), "reverse": r(v_T|z_T), "flows": T times four networks}; a standard
        normal start has no "initial".

    Raises:
        ArgumentError: if the auxiliary start is unknown.
    """
    if auxiliary_start not in AUXILIARY_STARTS:
        raise ArgumentError(
            f"auxiliary_start must be one of {', '.join(AUXILIARY_STARTS)}, got {auxiliary_start!r}"
        )
    initial_key, reverse_key, *flow_keys = jax.random.split(rng, 2 + num_flows)
    to_gaussian = (latent_size, *hidden_sizes, 2 * latent_size)
    to_reverse = (latent_size, *(reverse_sizes or hidden_sizes), 2 * latent_size)
    to_latent = (latent_size, *hidden_sizes, latent_size)
    networks = {
        "reverse": init_network(reverse_key, to_reverse, context_size),
        "flows": tuple(
            {
                name: init_network(part, to_latent)
                for name, part in zip(_MAPS, jax.random.split(key, len(_MAPS)), strict=True)
            }
            for key in flow_keys
        ),
    }
    if auxiliary_start == "conditional":
        networks["initial"] = init_network(initial_key, to_gaussian, context_size)
    return networks


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class AuxiliaryFlow:
    """q(z, v|x) from z_0 ~ N(mean, diag(stddev^2)), v_0 ~ q(v_0|z_0) and T alternating steps.

    v <- v * sigma_1(z) + mu_1(z),   then   z <- z * sigma_2(v) + mu_2(v)   (GAPS Eqs. 12, 13)

    With the reverse model r(v|x, z) the bound of log p(x) is
    E[log p(x, z) + log r(v|x, z) - log q(z, v|x)] (GAPS Eqs. 7 and 14): where another posterior
    returns log q(z|x), this one returns log q(z, v|x) - log r(v|x, z). Its expectation is at least
    that of log q(z|x), so the bound remains a bound. sigma = 2 sigmoid(.) is positive, and 1 where
    its network gives 0.

    Attributes:
        mean: mean of z_0, [m].
        stddev: standard deviation of z_0, positive, a scalar or [m].
        context: h from the encoder, [c], or None.
        networks: as `init_auxiliary_flow` returns them; all examples may share them, or each has
            its own.
    """

    mean: Array
    stddev: Array | float
    context: Array | None
    networks: dict[str, Any]

    def sample_and_log_prob(self, rng: Array) -> tuple[Array, Array]:
        """A reparameterised sample z [m] and log q(z, v|x) - log r(v|x, z) in nats, a scalar."""
        q = wide(self)
        (z, v), log_q = q._sample(rng)
        return self._rounded(z), log_q - q.reverse(z).log_prob(v)

    def sample_and_path_log_prob(self, rng: Array) -> tuple[Array, Array]:
        """Returns the values of `sample_and_log_prob`; the parameters of q(z, v|x) get no gradient.

        Gradients flow through z, v and the parameters of r. The noise that led to z and v is known,
        so the inverse is not computed but only differentiated. Only first derivatives are right.
        """
        q = wide(self)
        (z, v), log_q = q._sample(rng)
        fixed = jax.lax.stop_gradient(q)
        way = [fixed._start(rng)[0]]
        for maps, variable in fixed._half_steps()[:-1]:
            way.append(_push(maps, variable, way[-1])[0])
        moved, log_det = {"z": z, "v": v}, jnp.zeros((), z.dtype)
        for (maps, variable), before in zip(fixed._half_steps()[::-1], way[::-1], strict=True):
            moved = _pull(maps, variable, moved, before)
            log_det += _push(maps, variable, moved)[1]
        start = fixed._base.log_prob(moved["z"]) + fixed.initial(moved["z"]).log_prob(moved["v"])
        log_q = with_gradient_of(start - log_det, log_q)
        return self._rounded(z), log_q - q.reverse(z).log_prob(v)

    def center(self) -> Array:
        """The latent [m] that stands for the whole posterior: the flow of both means."""
        return self.forward(self.mean, self.initial(self.mean).mean)[0]

    def joint_log_prob(self, z: Array, v: Array) -> Array:
        """log q(z, v|x) in nats, a scalar, of any z and v [m], through the inverse."""
        q = wide(self)
        z, v, log_det = q.inverse(*wide((z, v)))
        return q._base.log_prob(z) + q.initial(z).log_prob(v) + log_det

    def initial(self, z: Array) -> DiagonalGaussian:
        """q(v_0|z_0); it is N(0, I) where the networks have no "initial"."""
        if "initial" not in self.networks:
            return DiagonalGaussian(jnp.zeros_like(z), jnp.ones_like(z))
        return self._gaussian(self.networks["initial"], z)

    def reverse(self, z: Array) -> DiagonalGaussian:
        """r(v|x, z)."""
        return self._gaussian(self.networks["reverse"], z)

    def forward(self, z: Array, v: Array) -> tuple[Array, Array, Array]:
        """Maps (z_0, v_0) to (z_T, v_T); also returns log |det| in nats (GAPS Section 6.3)."""
        q, pair = self._checked(z, v)
        log_det = jnp.zeros((), pair["z"].dtype)
        for maps, variable in q._half_steps():
            pair, change = _push(maps, variable, pair)
            log_det += change
        return self._rounded(pair["z"], z), self._rounded(pair["v"], v), log_det

    def inverse(self, z: Array, v: Array) -> tuple[Array, Array, Array]:
        """Maps (z_T, v_T) to (z_0, v_0); also returns log |det| of that map in nats."""
        q, pair = self._checked(z, v)
        log_det = jnp.zeros((), pair["z"].dtype)
        for maps, variable in q._half_steps()[::-1]:
            log_scale, shift = _affine(maps, variable, pair)
            scale = jnp.exp(-invertible_log_scale(log_scale))
            pair = {**pair, variable: (pair[variable] - shift) * scale}
            log_det -= jnp.sum(log_scale)
        return self._rounded(pair["z"], z), self._rounded(pair["v"], v), log_det

    def _checked(self, z: Array, v: Array) -> tuple[AuxiliaryFlow, dict[str, Array]]:
        """Checks z and v, and returns the same posterior and both of them in at least 32 bits."""
        check_vector("mean", self.mean)
        check_shape("z", z, self.mean.shape, ", as the mean has")
        check_shape("v", v, self.mean.shape, ", as the mean has")
        return wide(self), wide({"z": z, "v": v})

    def _rounded(self, value: Array, *given: Array) -> Array:
        return rounded_like(value, *given, *jax.tree.leaves(self))

    @property
    def _base(self) -> DiagonalGaussian:
        return DiagonalGaussian(self.mean, self.stddev)

    def _half_steps(self) -> list[tuple[dict[str, Network], str]]:
        """The half steps in their order: the networks, and the variable that they move."""
        return [(maps, variable) for maps in self.networks["flows"] for variable in ("v", "z")]

    def _start(self, rng: Array) -> tuple[dict[str, Array], Array]:
        """z_0 and v_0 [m], and log q(z_0, v_0|x)."""
        z_rng, v_rng = jax.random.split(rng)
        z, log_q_z = self._base.sample_and_log_prob(z_rng)
        v, log_q_v = self.initial(z).sample_and_log_prob(v_rng)
        return {"z": z, "v": v}, log_q_z + log_q_v

    def _sample(self, rng: Array) -> tuple[tuple[Array, Array], Array]:
        """(z, v) [m] each and log q(z, v|x)."""
        start, log_q = self._start(rng)
        z, v, log_det = self.forward(start["z"], start["v"])
        return (z, v), log_q - log_det

    def _gaussian(self, network: Network, z: Array) -> DiagonalGaussian:
        mean, raw = jnp.split(apply_network(network, z, 2 * z.size, self.context), 2)
        # A log variance that grows linearly with z would leave the range of floats.
        log_variance = _LARGEST_LOG_VARIANCE * jnp.tanh(raw / _LARGEST_LOG_VARIANCE)
        return DiagonalGaussian(mean, jnp.exp(0.5 * log_variance))


def _affine(maps: dict[str, Network], variable: str, pair: dict[str, Array]) -> tuple[Array, Array]:
    """log sigma and mu [m] for one variable, given the other."""
    other = pair["z" if variable == "v" else "v"]
    raw = apply_network(maps[f"log_scale_{variable}"], other, other.size)
    log_scale = jnp.log(2.0) + jax.nn.log_sigmoid(raw)
    return log_scale, apply_network(maps[f"shift_{variable}"], other, other.size)


def _push(
    maps: dict[str, Network], variable: str, pair: dict[str, Array]
) -> tuple[dict[str, Array], Array]:
    """Moves one variable; also returns the log determinant of the half step."""
    log_scale, shift = _affine(maps, variable, pair)
    return {**pair, variable: pair[variable] * jnp.exp(log_scale) + shift}, jnp.sum(log_scale)


def _pull(
    maps: dict[str, Network], variable: str, moved: dict[str, Array], before: dict[str, Array]
) -> dict[str, Array]:
    """Returns the known inverse `before` of `moved`, with the gradient of the inverse map."""
    log_scale, _ = _affine(maps, variable, moved)
    pushed = _push(maps, variable, {**moved, variable: before[variable]})[0][variable]
    change = zero_with_gradient(moved[variable] - pushed)
    scale = jnp.exp(-invertible_log_scale(jax.lax.stop_gradient(log_scale)))
    return {**moved, variable: before[variable] + scale * change}


def _build(settings: Settings, raw: Array, declare: Declare) -> AuxiliaryFlow:
    """Shares the networks among all examples; the encoder's last outputs are the context."""
    mean, stddev, context = mean_and_stddev(settings, raw)

    def initialize(rng: Array) -> dict[str, Any]:
        return init_auxiliary_flow(
            rng,
            settings.latent_size,
            num_flows=settings.num_flows,
            hidden_sizes=settings.hidden_sizes,
            context_size=settings.context_size,
            reverse_sizes=settings.reverse_sizes,
            auxiliary_start=settings.auxiliary_start,
        )

    networks = declare("networks", initialize)
    return AuxiliaryFlow(mean, stddev, context if settings.context_size else None, networks)


AUXILIARY_FLOW = PosteriorSpec(
    name="auxiliary_flow",
    summary="affine flows of the latent and an auxiliary variable",
    num_outputs=lambda settings: 2 * settings.latent_size + settings.context_size,
    build=_build,
    exact_density=False,
    shares_networks=True,
    options=(
        "stddev",
        "num_flows",
        "hidden_sizes",
        "context_size",
        "reverse_sizes",
        "auxiliary_start",
    ),
)
