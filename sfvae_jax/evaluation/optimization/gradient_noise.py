"""How noisy, and how far from that of the ELBO, the gradients of several objectives are."""

from __future__ import annotations

from collections.abc import Callable

import ml_collections
import numpy as np

from sfvae_jax.errors import UsageError
from sfvae_jax.evaluation.measured import Doubtful, Measured, NotApplicable, Value
from sfvae_jax.evaluation.noise import Stream
from sfvae_jax.evaluation.optimization.blocks import (
    gram,
    squared_norm_of_mean,
    with_jackknife_error,
)
from sfvae_jax.evaluation.optimization.estimators import Estimator, estimators_named
from sfvae_jax.evaluation.optimization.gradient_draws import (
    BLOCKS,
    NETWORKS,
    Draws,
    gradient_draws,
)
from sfvae_jax.evaluation.optimization.gradient_picture import draw
from sfvae_jax.evaluation.spec import Evaluation, Measure, with_errors
from sfvae_jax.evaluation.standard_errors import with_error
from sfvae_jax.evaluation.trained_model import TrainedModel, require_bound
from sfvae_jax.objectives.spec import LikelihoodTraits, ObjectiveInfo, PosteriorTraits
from sfvae_jax.options import COUNT, Option, Rule, is_tuple_of, is_whole

_ESTIMATORS = Rule(
    lambda value: is_tuple_of(value, lambda text: isinstance(text, str)) and len(value) > 0,
    "objectives with options, such as ('sampling', 'sampling:16', 'sampling_free')",
)
_DRAWS = Rule(
    lambda value: is_whole(value, 2 * BLOCKS) and value % BLOCKS == 0,
    f"a multiple of {BLOCKS}, {2 * BLOCKS} or more",
)
OPTIONS = {
    "estimators": Option(
        (
            "sampling",
            "sampling:16",
            "sticking_the_landing",
            "control_variate",
            "control_variate:4",
            "sampling_free",
            "linearized",
        ),
        _ESTIMATORS,
        "Objectives whose gradients are measured: NAME, NAME:K for K samples (or K probes, if the"
        " objective takes probes), or NAME:option=value,option=value",
    ),
    "num_draws": Option(100, _DRAWS, "Number of draws of each gradient"),
    "num_images": Option(
        100, COUNT, "Number of examples in the batch whose gradient is taken, from the first"
    ),
    "num_reference_samples": Option(
        16,
        COUNT,
        "Number of samples in each of the num_draws draws of the ELBO's gradient to which the"
        " others are compared",
    ),
}
_LEAST_ERRORS = 3.0  # a squared norm below so many standard errors is hard to tell from 0
_KINDS = ("gradient_variance", "relative_gradient_variance", "gradient_bias")
_OTHER_PRIOR = "the prior is not N(0, I), under which all gradients are taken"
_FEW = "raise evaluations.gradient_noise.num_draws or num_reference_samples"
_NO_NORM = NotApplicable(f"the expected gradient of the ELBO cannot be told from 0; {_FEW}")
_SMALL_NORM = (
    "the squared norm of the ELBO's expected gradient is below"
    f" {_LEAST_ERRORS:g} standard errors; {_FEW}"
)


def evaluate_gradient_noise(trained: TrainedModel, options: ml_collections.ConfigDict) -> Measured:
    """Takes the measures of `gradient_noise` on a batch of the first `num_images` examples.

    With g the gradient of an estimator's loss with respect to a network's parameters, a mean over
    the batch, and g_0 the expected gradient of the (negative) sampled ELBO,

        squared_gradient_NETWORK                     |g_0|^2
        gradient_variance_NETWORK_ESTIMATOR          tr Cov(g), over the noise alone
        relative_gradient_variance_NETWORK_ESTIMATOR tr Cov(g) / |g_0|^2
        gradient_bias_NETWORK_ESTIMATOR              |E g - g_0|^2 / |g_0|^2

    The last two add up to the relative mean squared error of g as an estimate of g_0. All are
    unbiased except for the ratios' denominators, and computed from `BLOCKS` independent blocks of
    draws, whose jackknife gives the standard errors. The weights of `sampling_free` are those of
    training; beta is 1, and there are no free bits.

    Raises:
        NotApplicable: if the model has no bound, another prior than N(0, I), no posterior with
            samples, or its parameters are not those of an encoder and a decoder.
    """
    require_bound(trained)
    if np.any(np.asarray(trained.prior()) != 1.0):
        raise NotApplicable(_OTHER_PRIOR)
    if "decoder" not in trained.params["params"]:
        raise NotApplicable("the model does not keep the parameters of its decoder apart")
    images = trained.images[: options.num_images]
    of_elbo = Estimator("sampling", (("num_samples", options.num_reference_samples),), "reference")
    reference = gradient_draws(
        trained, of_elbo, images, options.num_draws, Stream.REFERENCE_GRADIENTS
    )
    own = {network: gram(reference.means[network]) for network in NETWORKS}
    found: Measured = {}
    for network in NETWORKS:
        found |= with_error(f"squared_gradient_{network}", *_squared_norm(own[network]))
    for estimator in estimators_named(options.estimators):
        try:
            draws = gradient_draws(trained, estimator, images, options.num_draws, Stream.GRADIENTS)
        except NotApplicable as reason:
            found |= dict.fromkeys(_names(estimator), reason)
            continue
        for network in NETWORKS:
            found |= _of_estimator(estimator, network, draws, reference, own[network])
    return found


def _of_estimator(
    estimator: Estimator, network: str, draws: Draws, reference: Draws, own: np.ndarray
) -> Measured:
    """Returns the measures of an estimator's gradient with respect to one network.

    Args:
        estimator: the estimator.
        network: the name of the network.
        draws: those of the estimator.
        reference: those of the ELBO.
        own: the products of the reference's means [K, K].
    """
    variances = np.broadcast_to(draws.variances[network], BLOCKS).astype(np.float64)
    apart = gram(draws.means[network] - reference.means[network])
    size, size_error = _squared_norm(own)

    def variance(kept: np.ndarray) -> float:
        return float(np.mean(variances[kept]))

    def bias(kept: np.ndarray) -> float:
        return squared_norm_of_mean(apart[np.ix_(kept, kept)])

    def relative(statistic: Callable[[np.ndarray], float]) -> tuple[Value, Value]:
        if size <= 0.0:
            return _NO_NORM, _NO_NORM
        value, error = with_jackknife_error(
            lambda kept: statistic(kept) / squared_norm_of_mean(own[np.ix_(kept, kept)]), BLOCKS
        )
        is_clear = size >= _LEAST_ERRORS * size_error
        return value if is_clear else Doubtful(value, _SMALL_NORM), error

    pairs = (with_jackknife_error(variance, BLOCKS), relative(variance), relative(bias))
    found: Measured = {}
    for kind, pair in zip(_KINDS, pairs, strict=True):
        found |= with_error(f"{kind}_{network}_{estimator.name}", *pair)
    return found


def _squared_norm(products: np.ndarray) -> tuple[float, float]:
    """Returns |E v|^2 from the products of the blocks' means, and its standard error."""
    return with_jackknife_error(
        lambda kept: squared_norm_of_mean(products[np.ix_(kept, kept)]), len(products)
    )


def _names(estimator: Estimator) -> list[str]:
    """Returns the names of an estimator's measures, in the order of results.json."""
    return [
        f"{kind}_{network}_{estimator.name}{error}"
        for network in NETWORKS
        for kind in _KINDS
        for error in ("", "_standard_error")
    ]


def names(
    options: ml_collections.ConfigDict, evaluations: ml_collections.ConfigDict
) -> tuple[str, ...]:
    """Returns the names of all measures that the options ask for."""
    del evaluations
    norms = [
        f"squared_gradient_{network}{error}"
        for network in NETWORKS
        for error in ("", "_standard_error")
    ]
    of_estimators = map(_names, estimators_named(options.estimators))
    return (*norms, *(name for names in of_estimators for name in names))


def check(options: ml_collections.ConfigDict) -> None:
    """Checks that all estimators exist, with their options.

    Raises:
        UsageError: beginning with the name of the option.
    """
    try:
        estimators_named(options.estimators)
    except UsageError as error:
        raise UsageError(f"estimators: {error}") from error


def _why_not(
    objective: ObjectiveInfo, posterior: PosteriorTraits, likelihood: LikelihoodTraits
) -> str:
    del likelihood
    if not objective.density:
        return "the objective does not train a density p(x|z)"
    if objective.prior != "fixed":
        return _OTHER_PRIOR
    return "" if posterior.has_density else "the posterior is a single code, without samples"


EVALUATION = Evaluation(
    evaluate_gradient_noise,
    with_errors(
        Measure("squared_gradient_NETWORK", digits=2),
        Measure("gradient_variance_NETWORK_ESTIMATOR", digits=3, better="less"),
        Measure("relative_gradient_variance_NETWORK_ESTIMATOR", digits=4, better="less"),
        Measure("gradient_bias_NETWORK_ESTIMATOR", digits=4, better="less"),
    ),
    OPTIONS,
    summary="the variance of each objective's gradient over its noise, and how far its mean is from"
    " the gradient of the ELBO; for encoder and decoder",
    names=names,
    examples="both",
    check=check,
    why_not=_why_not,
    draw=draw,
)
