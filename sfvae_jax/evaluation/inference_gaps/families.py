"""Families of posteriors that can be optimised for one image alone, without an encoder (GAPS).

GAPS is Cremer, Li and Duvenaud, "Inference Suboptimality in Variational Autoencoders".
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from sfvae_jax import objectives, posteriors
from sfvae_jax.evaluation.inference_gaps.settings import LocalOptimization
from sfvae_jax.evaluation.trained_model import TrainedModel
from sfvae_jax.posteriors.flows.networks import Network


def log_stddev(posterior: Any) -> Any:
    """Returns unconstrained parameters: the posterior with log stddev in place of stddev."""
    return dataclasses.replace(posterior, stddev=jnp.log(posterior.stddev))


def exp_stddev(params: Any) -> Any:
    """Inverts `log_stddev`."""
    return dataclasses.replace(params, stddev=jnp.exp(params.stddev))


def _flow_sizes(trained: TrainedModel, images: np.ndarray) -> Mapping[str, Any]:
    """Returns the sizes of the model's own flow, as settings."""
    del images
    return trained.posterior_flows


@dataclasses.dataclass(frozen=True)
class Family:
    """What it takes to optimise a posterior of this family for one image alone.

    Attributes:
        label: its name in tables and pictures.
        posterior: its class.
        start: maps (drawn, base, settings) to a posterior that has the density of the base, a
            diagonal Gaussian, so that the search ends no lower than there. GAPS Section 6.4 starts
            at the prior; its flows start as Xavier's kernels make them, not at the identity.
        draw: maps (rng, m, settings) to what is drawn once for all images, such as a flow's
            networks.
        aside: maps (drawn, start) to the posterior at which the search begins, where the start
            itself has no slope.
        to_params: maps a posterior to unconstrained parameters, a pytree.
        build: inverts `to_params`.
        elbo: the estimator whose gradient the search follows, `objectives.sampling_elbo` or
            `objectives.sticking_the_landing_elbo`. The second has no noise where the posterior
            equals the true one.
        has_networks: whether it has networks, whose parameters have their own learning rate.
        holds_factorised: whether it contains all diagonal Gaussians.
        settings_of: maps (trained, images) to the settings that a model of this family has itself.
    """

    label: str
    posterior: type
    start: Callable[[Any, posteriors.DiagonalGaussian, LocalOptimization], Any]
    draw: Callable[[Array, int, LocalOptimization], Any] = lambda rng, m, settings: rng
    aside: Callable[[Any, Any], Any] = lambda drawn, start: start
    to_params: Callable[[Any], Any] = log_stddev
    build: Callable[[Any], Any] = exp_stddev
    elbo: Callable[..., objectives.Elbo] = objectives.sampling_elbo
    has_networks: bool = False
    holds_factorised: bool = False
    settings_of: Callable[[TrainedModel, np.ndarray], Mapping[str, Any]] = _flow_sizes


def _base(drawn: Any, base: posteriors.DiagonalGaussian, settings: LocalOptimization) -> Any:
    del drawn, settings
    return base


def _constant(drawn: Any, base: posteriors.DiagonalGaussian, settings: LocalOptimization) -> Any:
    del drawn
    return dataclasses.replace(base, stddev=jnp.full_like(base.stddev, settings.constant_stddev))


def _constant_stddev(trained: TrainedModel, images: np.ndarray) -> Mapping[str, Any]:
    """Returns the standard deviation that the model has for all images and latents."""
    stddev = trained.map_images(
        lambda params, x, key: trained.encode(params, x).stddev,
        images[:1],
        key="standard deviation",
    )
    return {"constant_stddev": float(stddev[0, 0])}


def _fixed_stddev(params: Any) -> Any:
    return exp_stddev(dataclasses.replace(params, stddev=jax.lax.stop_gradient(params.stddev)))


def _full(drawn: Any, base: posteriors.DiagonalGaussian, settings: LocalOptimization) -> Any:
    del drawn, settings
    return posteriors.FullCovarianceGaussian(base.mean, jnp.diag(base.stddev))


def _log_diagonal(posterior: Any) -> Any:
    below, diagonal = jnp.tril(posterior.scale_tril, -1), jnp.diagonal(posterior.scale_tril)
    return dataclasses.replace(posterior, scale_tril=below + jnp.diag(jnp.log(diagonal)))


def _exp_diagonal(params: Any) -> Any:
    below, diagonal = jnp.tril(params.scale_tril, -1), jnp.diagonal(params.scale_tril)
    return dataclasses.replace(params, scale_tril=below + jnp.diag(jnp.exp(diagonal)))


def _planar(rng: Array, base: posteriors.DiagonalGaussian, settings: LocalOptimization) -> Any:
    """Makes hyperplanes pass through the base's mean, so that the flow bends where the base is."""
    flow = posteriors.init_planar(
        rng, base.mean.size, num_flows=settings.num_flows, scale=base.stddev
    )
    flow["b"] = -(flow["w"] @ base.mean)
    return posteriors.PlanarFlow(base.mean, base.stddev, **flow)


def _draw_iaf(rng: Array, m: int, settings: LocalOptimization) -> Any:
    return posteriors.init_iaf(
        rng, m, num_flows=settings.num_flows, hidden_sizes=settings.hidden_sizes
    )


def _iaf(drawn: Any, base: posteriors.DiagonalGaussian, settings: LocalOptimization) -> Any:
    """Makes networks output 0, and the base wider, to make up for what their gates shrink."""
    del settings
    networks = _with_outputs(0.0, drawn)
    zeros, ones = jnp.zeros_like(base.mean), jnp.ones_like(base.stddev)
    gates = posteriors.InverseAutoregressiveFlow(zeros, ones, None, networks).forward(ones)[0]
    return posteriors.InverseAutoregressiveFlow(
        base.mean / gates, base.stddev / gates, None, networks
    )


def _draw_auxiliary_flow(rng: Array, m: int, settings: LocalOptimization) -> Any:
    return posteriors.init_auxiliary_flow(
        rng,
        m,
        num_flows=settings.num_flows,
        hidden_sizes=settings.hidden_sizes,
        reverse_sizes=settings.reverse_sizes,
        auxiliary_start=settings.auxiliary_start,
    )


def _auxiliary_flow(
    drawn: Any, base: posteriors.DiagonalGaussian, settings: LocalOptimization
) -> Any:
    """Makes networks output 0: scales are 1, shifts 0, and both q(v) and r(v|z) are N(0, I)."""
    del settings
    return posteriors.AuxiliaryFlow(base.mean, base.stddev, None, _with_outputs(0.0, drawn))


def _beside_auxiliary_flow(drawn: Any, start: posteriors.AuxiliaryFlow) -> posteriors.AuxiliaryFlow:
    """Makes the networks output a tenth of what Xavier's kernels would.

    Around the best Gaussian neither the effect of v on z nor that of z on v gains anything to
    first order; there is a slope only where both have an effect.
    """
    return dataclasses.replace(start, networks=_with_outputs(0.1, drawn))


def _with_outputs(factor: float, networks: Any) -> Any:
    """Multiplies the last kernel of each network by a factor; all biases are 0."""

    def scale(network: Network) -> Network:
        *hidden, last = network
        return (*hidden, {**last, "kernel": factor * last["kernel"]})

    return jax.tree.map(scale, networks, is_leaf=_is_network)


def _is_network(node: Any) -> bool:
    return isinstance(node, tuple) and "kernel" in node[0]


# The families by the names that a config accepts; each search follows those listed before it.
FAMILIES: dict[str, Family] = {
    "constant": Family(
        "constant variance",
        posteriors.DiagonalGaussian,
        _constant,
        build=_fixed_stddev,
        settings_of=_constant_stddev,
    ),
    "diagonal": Family(
        "factorised",
        posteriors.DiagonalGaussian,
        _base,
        elbo=objectives.sticking_the_landing_elbo,
    ),
    "full_covariance": Family(
        "full covariance",
        posteriors.FullCovarianceGaussian,
        _full,
        to_params=_log_diagonal,
        build=_exp_diagonal,
        elbo=objectives.sticking_the_landing_elbo,
        holds_factorised=True,
    ),
    "planar": Family("planar flow", posteriors.PlanarFlow, _planar, holds_factorised=True),
    "iaf": Family(
        "IAF",
        posteriors.InverseAutoregressiveFlow,
        _iaf,
        _draw_iaf,
        has_networks=True,
        holds_factorised=True,
    ),
    # With 10 samples and 10 latents a step of the path derivative takes a quarter to a half more
    # time, and was a nat ahead after 2,000 steps; for an IAF it takes three times as long.
    "auxiliary_flow": Family(
        "auxiliary flow",
        posteriors.AuxiliaryFlow,
        _auxiliary_flow,
        _draw_auxiliary_flow,
        _beside_auxiliary_flow,
        elbo=objectives.sticking_the_landing_elbo,
        has_networks=True,
        holds_factorised=True,
    ),
}

# The searches of the families listed after this one start from its optimum.
FACTORISED = "diagonal"
