"""Families of posteriors whose parameters one image owns, without an encoder (GAPS)."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from sfvae_jax import objectives, posteriors
from sfvae_jax.evaluation.inference_gaps.search_settings import LocalOptimization
from sfvae_jax.posteriors.networks import Network


def log_stddev(posterior: Any) -> Any:
    """The posterior with log stddev in the place of stddev: nothing of it is bounded."""
    return dataclasses.replace(posterior, stddev=jnp.log(posterior.stddev))


def exp_stddev(params: Any) -> Any:
    """The way back from `log_stddev`."""
    return dataclasses.replace(params, stddev=jnp.exp(params.stddev))


@dataclasses.dataclass(frozen=True)
class Family:
    """What it takes to optimise a posterior of this family for one image alone.

    Attributes:
        posterior: its class.
        start: (drawn, base, options) -> a posterior. It is the base itself, a diagonal Gaussian,
            under other names: what is found from there is no worse. GAPS Section 6.4 starts at
            the prior; its flows start as Xavier's kernels make them, and not at the identity.
        draw: (rng, m, options) -> what is drawn once for all images, such as a flow's networks.
        aside: (drawn, start) -> the posterior that the search sets out from, near the start, where
            that has no slope.
        to_params: a posterior -> unconstrained parameters, a pytree.
        build: the way back.
        elbo: the estimator whose gradient is followed, `objectives.sampling_elbo` or
            `objectives.sticking_the_landing_elbo`. The second has no noise left where the family
            holds the true posterior.
        networks: whether it has some, whose parameters have a learning rate of their own.
    """

    posterior: type
    start: Callable[[Any, posteriors.DiagonalGaussian, LocalOptimization], Any]
    draw: Callable[[Array, int, LocalOptimization], Any] = lambda rng, m, options: rng
    aside: Callable[[Any, Any], Any] = lambda drawn, start: start
    to_params: Callable[[Any], Any] = log_stddev
    build: Callable[[Any], Any] = exp_stddev
    elbo: Callable[..., objectives.Elbo] = objectives.sampling_elbo
    networks: bool = False


def _base(drawn: Any, base: posteriors.DiagonalGaussian, options: LocalOptimization) -> Any:
    del drawn, options
    return base


def _constant(drawn: Any, base: posteriors.DiagonalGaussian, options: LocalOptimization) -> Any:
    del drawn
    return dataclasses.replace(base, stddev=jnp.full_like(base.stddev, options.constant_stddev))


def _fixed_stddev(params: Any) -> Any:
    return exp_stddev(dataclasses.replace(params, stddev=jax.lax.stop_gradient(params.stddev)))


def _full(drawn: Any, base: posteriors.DiagonalGaussian, options: LocalOptimization) -> Any:
    del drawn, options
    return posteriors.FullCovarianceGaussian(base.mean, jnp.diag(base.stddev))


def _log_diagonal(posterior: Any) -> Any:
    below, diagonal = jnp.tril(posterior.scale_tril, -1), jnp.diagonal(posterior.scale_tril)
    return dataclasses.replace(posterior, scale_tril=below + jnp.diag(jnp.log(diagonal)))


def _exp_diagonal(params: Any) -> Any:
    below, diagonal = jnp.tril(params.scale_tril, -1), jnp.diagonal(params.scale_tril)
    return dataclasses.replace(params, scale_tril=below + jnp.diag(jnp.exp(diagonal)))


def _planar(rng: Array, base: posteriors.DiagonalGaussian, options: LocalOptimization) -> Any:
    """Directions w through the base's mean: a flow bends where the base is."""
    flow = posteriors.init_planar(
        rng, base.mean.size, num_flows=options.num_flows, scale=base.stddev
    )
    flow["b"] = -(flow["w"] @ base.mean)
    return posteriors.PlanarFlow(base.mean, base.stddev, **flow)


def _draw_iaf(rng: Array, m: int, options: LocalOptimization) -> Any:
    sizes = {"num_flows": options.num_flows, "hidden_sizes": options.hidden_sizes}
    return posteriors.init_iaf(rng, m, **sizes)


def _iaf(drawn: Any, base: posteriors.DiagonalGaussian, options: LocalOptimization) -> Any:
    """Networks that give 0; the base is wider by what their gates take away."""
    del options
    networks = _with_outputs(0.0, drawn)
    zeros, ones = jnp.zeros_like(base.mean), jnp.ones_like(base.stddev)
    gates = posteriors.InverseAutoregressiveFlow(zeros, ones, None, networks).forward(ones)[0]
    return posteriors.InverseAutoregressiveFlow(
        base.mean / gates, base.stddev / gates, None, networks
    )


def _draw_auxiliary_flow(rng: Array, m: int, options: LocalOptimization) -> Any:
    return posteriors.init_auxiliary_flow(
        rng,
        m,
        num_flows=options.num_flows,
        hidden_sizes=options.hidden_sizes,
        reverse_sizes=options.reverse_sizes,
        auxiliary_start=options.auxiliary_start,
    )


def _auxiliary_flow(
    drawn: Any, base: posteriors.DiagonalGaussian, options: LocalOptimization
) -> Any:
    """Networks that give 0: every scale is 1, every shift 0, and v is N(0, I) there and back."""
    del options
    return posteriors.AuxiliaryFlow(base.mean, base.stddev, None, _with_outputs(0.0, drawn))


def _beside_auxiliary_flow(drawn: Any, start: posteriors.AuxiliaryFlow) -> posteriors.AuxiliaryFlow:
    """Networks that give a tenth of what Xavier's kernels would.

    Around the best Gaussian nothing is gained to first order by what v does to z, nor by what z
    does to v: only where both do something is there a slope.
    """
    return dataclasses.replace(start, networks=_with_outputs(0.1, drawn))


def _with_outputs(factor: float, networks: Any) -> Any:
    """The networks with their last kernels times a factor; all biases are 0."""

    def scale(network: Network) -> Network:
        *hidden, last = network
        return (*hidden, {**last, "kernel": factor * last["kernel"]})

    return jax.tree.map(scale, networks, is_leaf=_is_network)


def _is_network(node: Any) -> bool:
    return isinstance(node, tuple) and "kernel" in node[0]


FAMILIES: dict[str, Family] = {
    "constant": Family(posteriors.DiagonalGaussian, _constant, build=_fixed_stddev),
    "diagonal": Family(
        posteriors.DiagonalGaussian, _base, elbo=objectives.sticking_the_landing_elbo
    ),
    "full_covariance": Family(
        posteriors.FullCovarianceGaussian,
        _full,
        to_params=_log_diagonal,
        build=_exp_diagonal,
        elbo=objectives.sticking_the_landing_elbo,
    ),
    "planar": Family(posteriors.PlanarFlow, _planar),
    "iaf": Family(posteriors.InverseAutoregressiveFlow, _iaf, _draw_iaf, networks=True),
    # With 10 samples and 10 latents the path derivative takes a quarter to a half more time a step
    # and was a nat ahead after 2,000 steps; an IAF's takes three times as long.
    "auxiliary_flow": Family(
        posteriors.AuxiliaryFlow,
        _auxiliary_flow,
        _draw_auxiliary_flow,
        _beside_auxiliary_flow,
        elbo=objectives.sticking_the_landing_elbo,
        networks=True,
    ),
}
