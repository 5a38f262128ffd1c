"""The loss of a batch under any objective of the table, which is called by its name.

`batch_loss` applies an objective to a user's own model. Training has configurations and devices of
its own, and shares `reduction.loss_and_metrics`, where values of examples become a loss.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from sfvae_jax.objectives.batch_tangents.known_tangents import known_tangents, with_known
from sfvae_jax.objectives.numerics.batch import example_keys
from sfvae_jax.objectives.numerics.checks import (
    ArgumentError,
    check_at_least_one,
    check_count,
    check_examples,
    check_flag,
    check_has,
    check_in_0_1,
    check_key,
    check_not_negative,
    check_number,
    check_positive,
    check_scalar,
    has_mean,
    in_one_line,
    is_off,
    known_names,
    shape_of,
)
from sfvae_jax.objectives.numerics.probes import LANCZOS_STEPS
from sfvae_jax.objectives.reduction import Metrics, loss_and_metrics
from sfvae_jax.objectives.spec import (
    Batch,
    ClosedFormPosterior,
    Example,
    Likelihood,
    ObjectiveInfo,
    Value,
    Weights,
    fixed_variance,
)
from sfvae_jax.objectives.table import OBJECTIVES
from sfvae_jax.objectives.weights import WEIGHTS


def batch_loss(
    name: str,
    rng: Array,
    decode: Callable[[Array], Any],
    x: Array,
    posterior: Any,
    likelihood: Likelihood | None = None,
    *,
    decoder_params: Any = None,
    posterior_variance: float = 1.0,
    num_samples: int = 1,
    antithetic: bool = False,
    gamma: Array | float = 0.5,
    log_det_weight: float | str = 1.0,
    beta: Array | float | None = None,
    entropy_weight: Array | float = 1.0,
    free_bits: Array | float = 0.0,
    free_bits_groups: tuple[int, ...] = (),
    free_bits_of_batch: bool = False,
    tau: float = 0.2,
    penalty_weight: Array | float | None = None,
    num_probes: int = 0,
    lanczos_steps: int = LANCZOS_STEPS,
    bend_weight: Array | float = 0.0,
    tangent_decode: Callable[[Array], Array] | None = None,
    decode_given: Callable[[Array], Callable[[Array], Any]] | None = None,
    axis_name: str | None = None,
    **own_options: Any,
) -> tuple[Array, Metrics]:
    """The loss of a batch under the objective of this name in `OBJECTIVES`; it is minimised.

    It is minus the batch's mean of a bound in nats, or the mean of a deterministic autoencoder's
    loss in squared units of x, and has the meaning and the defaults that the options of a config's
    group `objective` have. `decode` is any function of one latent: it may hold parameters of any
    network library, in which the loss can be differentiated. `gamma`, `free_bits` and all weights
    may change with the step.

    Args:
        name: the objective, such as "sampling_free".
        rng: key of the step; example i draws from `fold_in(rng, i)`.
        decode: maps one latent [m] to the likelihood's parameters, for squared errors and a
            Gaussian to an array shaped like one example. For "rae_sn" its kernels must already be
            normalised, see `spectral_normalize`.
        x: the batch, [B, ...].
        posterior: q(z|x) of each example, a pytree whose arrays have a leading axis [B], such as
            `posteriors.DiagonalGaussian(means, stddevs)` with arrays [B, m]. Objectives of codes or
            of one constant variance only take its `mean`.
        likelihood: p(x|z), such as `likelihoods.Gaussian(variance)`. Squared errors and
            "bilbo_baggins" need none.
        decoder_params: the decoder's own parameters, a pytree, for "rae_l2".
        posterior_variance: the one variance of "constant_variance", "bilbo", "bilbo_baggins",
            "linearized_bilbo" and "cv_vae".
        num_samples: number of samples per example, of sampled bounds.
        antithetic: whether these samples come in pairs, as in `sampling_elbo`.
        gamma: as in `sampling_free_elbo`.
        log_det_weight: as in `sampling_free_elbo`, or "gamma" to follow gamma.
        beta: weight of the KL divergence or of the codes' squared norm; None takes the objective's
            `default_beta`.
        entropy_weight: as in `weighted_value`.
        free_bits: floor under the KL divergence of each group of dimensions, in nats; 0 for none.
            They exclude `entropy_weight`.
        free_bits_groups: sizes of these groups; empty makes each dimension a group.
        free_bits_of_batch: whether the floor is under the batch's mean divergence.
        tau: as in `bilbo_baggins`.
        penalty_weight: weight of the penalty of "rae_l2" and "rae_gp", or of the discrepancy of
            "wae_mmd"; None takes the objective's `default_penalty_weight`.
        num_probes: number of random directions in place of all tangents of the decoder, as in
            `linearized_elbo`, `sampling_free_elbo` and, for "rae_gp",
            `hutchinson_gradient_penalty`; 0 takes all.
        lanczos_steps: as in `sampling_free_elbo`, with probes.
        bend_weight: weight of `bend_penalty`, from one draw of the posterior; 0 for none.
        tangent_decode: as in `sampling_free_elbo`.
        decode_given: maps one example to the decoder that scores it, for decoders of sequences that
            are fed x; None if `decode` scores every x.
        axis_name: axis over which the batch is shared by several devices. Loss and metrics of the
            whole batch are then their means over the devices.
        **own_options: the options that an objective from a plugin adds to its group.

    Returns:
        The loss, a scalar, and by name the means of its unweighted terms.

    Raises:
        ArgumentError: if there is no such objective, it does not take this posterior, likelihood or
            option, an option is known to break the rule that a config has for it, a `stddev` of the
            posterior is known not to be positive, rng is no key, the batch is empty, x is known to
            leave [0, 1] where the likelihood is of such pixels, the axis is one of `jax.shard_map`
            with `check_vma`, or the shapes do not fit.
    """
    info = _info(name)
    values = {
        "num_samples": num_samples,
        "antithetic": antithetic,
        "gamma": gamma,
        "log_det_weight": log_det_weight,
        "beta": beta,
        "entropy_weight": entropy_weight,
        "free_bits": free_bits,
        "free_bits_groups": free_bits_groups,
        "free_bits_of_batch": free_bits_of_batch,
        "tau": tau,
        "penalty_weight": penalty_weight,
        "num_probes": num_probes,
        "lanczos_steps": lanczos_steps,
        "bend_weight": bend_weight,
        "posterior_variance": posterior_variance,
    }
    _check_options(info, values)
    _check_values(values)
    traits = _check_likelihood(info, likelihood)
    check_key(rng)
    check_examples(x, likelihood)
    _check_posterior(info, posterior, x)
    closed_form = isinstance(posterior, ClosedFormPosterior)
    if info.of_example and not closed_form and not is_off(free_bits):
        raise ArgumentError(
            "free_bits requires a KL divergence in closed form, which a"
            f" {type(posterior).__name__} does not have; anneal beta instead"
        )
    beta = info.default_beta if beta is None else beta
    if penalty_weight is None:
        penalty_weight = info.default_penalty_weight or 0.0
    options: Any = types.SimpleNamespace(
        **{**values, "beta": beta, "penalty_weight": penalty_weight},
        **_own_options(info, own_options),
    )
    weights = Weights(
        gamma=jnp.asarray(gamma, jnp.float32),
        beta=jnp.asarray(1.0 if beta is None else beta, jnp.float32),
        entropy=jnp.asarray(entropy_weight, jnp.float32),
    )
    decoder_of = decode_given if decode_given is not None else lambda x: decode
    value: Value
    if info.of_batch is not None:
        value = info.of_batch(
            Batch(
                rng=rng,
                x=x,
                means=posterior.mean,
                posterior_variance=posterior_variance,
                decode=decode,
                decode_given=decoder_of,
                tangent_decode=tangent_decode,
                likelihood=likelihood,
                squared_error=traits.squared_error,
                options=options,
                axis_name=axis_name,
            )
        )
    else:
        of_one = info.of_example
        assert of_one is not None

        known = None
        if decode_given is None and has_mean(posterior):
            given = info, options, decode, tangent_decode, likelihood
            known = known_tangents(*given, lambda: posterior.mean, len(x))

        def of_example(key: Array, x: Array, posterior: Any, known: Any) -> Value:
            return of_one(
                Example(
                    rng=key,
                    x=x,
                    posterior=posterior,
                    posterior_variance=posterior_variance,
                    decode=with_known(decoder_of(x), known),
                    tangent_decode=tangent_decode,
                    decoder_params=decoder_params,
                    likelihood=likelihood,
                    squared_error=traits.squared_error,
                    of_sequences=traits.of_sequences,
                    options=options,
                    weights=weights,
                )
            )

        keys = example_keys(rng, len(x), axis_name)
        value = jax.vmap(of_example)(keys, x, posterior, known)
    return loss_and_metrics(value, info, options, weights, traits.of_sequences, axis_name)


class _Posteriors(NamedTuple):
    """A family of posteriors, as `ObjectiveInfo.takes_posterior` asks about it."""

    has_density: bool = True
    has_inverse: bool = True
    kl_per_dimension: bool = True
    gaussian: bool = True
    fixed_variance: bool = False


class _Likelihood(NamedTuple):
    """A likelihood, as `ObjectiveInfo.takes_likelihood` asks about it."""

    squared_error: bool
    of_sequences: bool = False
    has_information: bool = False


_CURVED = _Likelihood(squared_error=False, has_information=True)
_INDEPENDENT, _CORRELATED = _Posteriors(), _Posteriors(kl_per_dimension=False)
_DIAGONAL = "posteriors.DiagonalGaussian(means, stddevs)"


def _info(name: str) -> ObjectiveInfo:
    if not isinstance(name, str) or name not in OBJECTIVES:
        raise ArgumentError(f"unknown objective {name!r}; {known_names(name, OBJECTIVES)}")
    return OBJECTIVES[name]


def _reads(info: ObjectiveInfo, option: str) -> bool:
    """Whether an objective has a place for an option."""
    if option == "beta":
        return info.default_beta is not None
    if option == "penalty_weight":
        return info.default_penalty_weight is not None
    if option == "entropy_weight":
        return info.parts
    if option.startswith("free_bits"):
        return info.parts and info.closed_form_kl
    if option == "posterior_variance":
        return info.takes_posterior(_Posteriors(fixed_variance=True)) and not _takes_learned(info)
    return option in info.options


def _options_of(info: ObjectiveInfo) -> list[str]:
    """Returns the names of the options of an objective, for messages."""
    shared = [name for name in batch_loss.__kwdefaults__ or {} if _reads(info, name)]
    return [*shared, *info.own_options]


def _takes_learned(info: ObjectiveInfo) -> bool:
    """Whether an objective uses the deviations of the posterior, not only its mean."""
    return info.takes_posterior(_INDEPENDENT)


def _traits(posterior: Any) -> _Posteriors:
    """What the methods of a posterior say about its family."""
    return _Posteriors(
        kl_per_dimension=hasattr(posterior, "kl_per_dimension"),
        gaussian=hasattr(posterior, "deviation"),
    )


def _check_options(info: ObjectiveInfo, values: Mapping[str, Any]) -> None:
    """Checks that no option is given that the objective does not read, or another rules out."""
    defaults = batch_loss.__kwdefaults__ or {}
    given = [
        option
        for option, value in values.items()
        if value is not defaults[option]
        and not (isinstance(value, (int, float, str, tuple)) and value == defaults[option])
    ]
    for option in given:
        if not _reads(info, option):
            readers = ", ".join(name for name, other in OBJECTIVES.items() if _reads(other, option))
            raise ArgumentError(
                f"{option} only applies to {readers}; leave it out for {info.name!r}"
            )
    if "free_bits" in given and "entropy_weight" in given:
        raise ArgumentError("free_bits and entropy_weight exclude each other; leave out one")
    if "lanczos_steps" in given and not values["num_probes"]:
        raise ArgumentError("lanczos_steps requires num_probes, such as 1; leave it out")


def _check_values(values: Mapping[str, Any]) -> None:
    """Checks the values of options, as far as they are known, by the rules of a config."""
    check_at_least_one("num_samples", values["num_samples"])
    check_at_least_one("lanczos_steps", values["lanczos_steps"])
    check_count("num_probes", values["num_probes"])
    for name in ("antithetic", "free_bits_of_batch"):
        check_flag(name, values[name])
    for name in ("gamma", "tau", "posterior_variance"):
        check_number(name, values[name])
    check_in_0_1("gamma", values["gamma"])
    check_positive("tau", values["tau"])
    for name in WEIGHTS:
        weight = values[name]
        left_out = weight is None and name in ("beta", "penalty_weight")
        if left_out or (name == "log_det_weight" and isinstance(weight, str) and weight == "gamma"):
            continue
        check_number(name, weight)
        check_scalar(name, weight)
        check_not_negative(name, weight)
    groups = values["free_bits_groups"]
    if not isinstance(groups, (tuple, list)):
        raise ArgumentError(
            f"free_bits_groups must be sizes such as (2, 3), or (), got {in_one_line(groups)}"
        )
    for size in groups:
        check_at_least_one("each of free_bits_groups", size)


def _own_options(info: ObjectiveInfo, given: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the values of the options that an objective adds, by default or as given."""
    for name, value in given.items():
        if name not in info.own_options:
            there_are = known_names(name, _options_of(info), "its options:")
            raise ArgumentError(f"objective {info.name!r} has no option {name!r}; {there_are}")
        rule = info.own_options[name].rule
        if not isinstance(value, Array) and not rule.holds(value):
            raise ArgumentError(f"{name} must be {rule.expected}, got {value!r}")
    return {name: option.default for name, option in info.own_options.items()} | dict(given)


def _check_likelihood(info: ObjectiveInfo, likelihood: Any) -> _Likelihood:
    """Checks that the objective takes a likelihood, and says what it is."""
    if likelihood is None:
        if info.density:
            example = "likelihoods.Gaussian(variance)"
            raise ArgumentError(f"objective {info.name!r} requires a likelihood, such as {example}")
        return _Likelihood(squared_error=True)
    traits = _Likelihood(
        squared_error=fixed_variance(likelihood) is not None,
        of_sequences=hasattr(likelihood, "mode"),
        has_information=hasattr(likelihood, "information"),
    )
    if not info.takes_likelihood(traits):
        curved = ", or any with `information`" if info.takes_likelihood(_CURVED) else ""
        raise ArgumentError(
            f"objective {info.name!r} does not take this likelihood, a {type(likelihood).__name__};"
            f" it takes a Gaussian of fixed variance, likelihoods.Gaussian(variance){curved}"
        )
    return traits


def _check_posterior(info: ObjectiveInfo, posterior: Any, x: Array) -> None:
    """Checks that there is one posterior for each example, with what the objective needs."""
    if not _takes_learned(info):
        if not has_mean(posterior):
            raise ArgumentError(
                f"objective {info.name!r} requires a posterior with a mean, such as {_DIAGONAL} or"
                f" posteriors.Point(codes); got a {type(posterior).__name__}"
            )
    elif not info.takes_posterior(_traits(posterior)):
        takes_correlated = info.takes_posterior(_CORRELATED)
        method = "deviation" if takes_correlated else "kl_per_dimension"
        check_has("posterior", posterior, method, _DIAGONAL)
    stddev = getattr(posterior, "stddev", 1.0)
    if _takes_learned(info) and not callable(stddev):
        check_positive("the posterior's stddev", stddev)
    for leaf in jax.tree.leaves(posterior):
        shape = shape_of("posterior", leaf)
        if shape[:1] != (len(x),):
            raise ArgumentError(
                f"each array of the posterior must have a leading axis of {len(x)}, one entry for"
                f" each example of x, got shape {shape}; jax.vmap over the examples gives that"
            )
