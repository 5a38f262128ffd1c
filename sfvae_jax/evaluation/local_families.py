"""Families of posteriors whose parameters one image owns, without an encoder (GAPS)."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
from jax import Array

from sfvae_jax import objectives, posteriors

if TYPE_CHECKING:
    from sfvae_jax.evaluation.local_optimization import LocalOptimization


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
        start: (rng, prior_stddev [m], options) -> a posterior. Where GAPS Section 6.4 starts: at
            the prior, a flow from a base at the prior.
        to_params: a posterior -> unconstrained parameters, a pytree.
        build: the way back.
        elbo: the estimator whose gradient is followed, `objectives.sampling_elbo` or
            `objectives.sticking_the_landing_elbo`. The second has no noise left where the family
            holds the true posterior.
        networks: whether it has some, whose parameters have a learning rate of their own.
    """

    posterior: type
    start: Callable[[Array, Array, LocalOptimization], Any]
    to_params: Callable[[Any], Any] = log_stddev
    build: Callable[[Any], Any] = exp_stddev
    elbo: Callable[..., objectives.Elbo] = objectives.sampling_elbo
    networks: bool = False


def _prior(rng: Array, prior_stddev: Array, options: LocalOptimization) -> Any:
    del rng, options
    return posteriors.DiagonalGaussian(jnp.zeros_like(prior_stddev), prior_stddev)


def _constant(rng: Array, prior_stddev: Array, options: LocalOptimization) -> Any:
    del rng
    stddev = jnp.full_like(prior_stddev, options.constant_stddev)
    return posteriors.DiagonalGaussian(jnp.zeros_like(prior_stddev), stddev)


def _fixed_stddev(params: Any) -> Any:
    return exp_stddev(dataclasses.replace(params, stddev=jax.lax.stop_gradient(params.stddev)))


def _full_prior(rng: Array, prior_stddev: Array, options: LocalOptimization) -> Any:
    del rng, options
    zeros = jnp.zeros_like(prior_stddev)
    return posteriors.FullCovarianceGaussian(zeros, jnp.diag(prior_stddev))


def _log_diagonal(posterior: Any) -> Any:
    below, diagonal = jnp.tril(posterior.scale_tril, -1), jnp.diagonal(posterior.scale_tril)
    return dataclasses.replace(posterior, scale_tril=below + jnp.diag(jnp.log(diagonal)))


def _exp_diagonal(params: Any) -> Any:
    below, diagonal = jnp.tril(params.scale_tril, -1), jnp.diagonal(params.scale_tril)
    return dataclasses.replace(params, scale_tril=below + jnp.diag(jnp.exp(diagonal)))


def _planar(rng: Array, prior_stddev: Array, options: LocalOptimization) -> Any:
    flow = posteriors.init_planar(
        rng, prior_stddev.size, num_flows=options.num_flows, scale=prior_stddev
    )
    return posteriors.PlanarFlow(jnp.zeros_like(prior_stddev), prior_stddev, **flow)


def _with_networks(initialize: Callable[..., Any], flow: Callable[..., Any]) -> Callable[..., Any]:
    def start(rng: Array, prior_stddev: Array, options: LocalOptimization) -> Any:
        sizes = {"num_flows": options.num_flows, "hidden_sizes": options.hidden_sizes}
        networks = initialize(rng, prior_stddev.size, context_size=0, **sizes)
        return flow(jnp.zeros_like(prior_stddev), prior_stddev, None, networks)

    return start


_iaf = _with_networks(posteriors.init_iaf, posteriors.InverseAutoregressiveFlow)
_auxiliary_flow = _with_networks(posteriors.init_auxiliary_flow, posteriors.AuxiliaryFlow)

FAMILIES: dict[str, Family] = {
    "constant": Family(posteriors.DiagonalGaussian, _constant, build=_fixed_stddev),
    "diagonal": Family(
        posteriors.DiagonalGaussian, _prior, elbo=objectives.sticking_the_landing_elbo
    ),
    "full_covariance": Family(
        posteriors.FullCovarianceGaussian,
        _full_prior,
        _log_diagonal,
        _exp_diagonal,
        objectives.sticking_the_landing_elbo,
    ),
    "planar": Family(posteriors.PlanarFlow, _planar),
    "iaf": Family(posteriors.InverseAutoregressiveFlow, _iaf, networks=True),
    # With 10 samples and 10 latents the path derivative takes a quarter to a half more time a step
    # and was a nat ahead after 2,000 steps; an IAF's takes three times as long.
    "auxiliary_flow": Family(
        posteriors.AuxiliaryFlow,
        _auxiliary_flow,
        elbo=objectives.sticking_the_landing_elbo,
        networks=True,
    ),
}
