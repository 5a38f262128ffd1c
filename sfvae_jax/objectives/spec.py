"""The description of an objective, and what training gives to it.

Each objective has an `ObjectiveInfo` beside its function; `table.py` names them all. Training,
configurations, evaluations and the documentation ask these specs, so that a new objective needs
nothing else.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol, runtime_checkable

from jax import Array

from sfvae_jax.objectives.elbo import Elbo

# Options of the group `objective` with which a deterministic objective draws noise, if they are on.
NOISY_OPTIONS = ("num_probes", "bend_weight")


class Likelihood(Protocol):
    """A distribution p(x|z), such as those of `sfvae_jax.likelihoods`."""

    def log_prob(self, x: Array, parameters: Any) -> Array:
        """log p(x|z) in nats, a scalar, from the decoder's output for z."""


class InformationLikelihood(Likelihood, Protocol):
    """A likelihood that knows the curvature of its log density."""

    def information(self, x: Array, parameters: Any, tangent: Any) -> Array:
        """Minus the second derivative of log p(x|z) along a tangent of the parameters, a scalar.

        The direction is a straight line of parameters in which log p(x|z) is concave. Where these
        are not the decoder's, the tangent is converted to them.
        """


class Posterior(Protocol):
    """A distribution q(z|x), such as those of `sfvae_jax.posteriors`."""

    def sample_and_log_prob(self, rng: Array) -> tuple[Array, Array]:
        """A reparameterised sample z [m] and log q(z|x) in nats, a scalar."""


@runtime_checkable
class ClosedFormPosterior(Posterior, Protocol):
    """A posterior whose KL divergence to a Gaussian prior has a closed form."""

    def expected_log_prior(self, prior_stddev: Array | float = 1.0) -> Array:
        """E_q log N(z; 0, diag(prior_stddev^2)) in nats, a scalar."""

    def entropy(self) -> Array:
        """-E_q log q(z|x) in nats, a scalar."""


class GaussianPosterior(ClosedFormPosterior, Protocol):
    """A Gaussian posterior N(mean, L L')."""

    @property
    def mean(self) -> Array:
        """The mean, [m]."""

    def deviation(self, noise: Array) -> Array:
        """L e [m] in at least 32 bits, where noise [m] is e: z = mean + L e for e ~ N(0, I)."""


class PathPosterior(Protocol):
    """A posterior whose samples can be mapped back to their noise."""

    def sample_and_path_log_prob(self, rng: Array) -> tuple[Array, Array]:
        """A sample z [m] and log q(z|x), in which only z carries a gradient, not q's parameters."""


class PosteriorTraits(Protocol):
    """What an objective may ask about a family of posteriors; their specs have the answers."""

    @property
    def has_density(self) -> bool:
        """Whether q(z|x) is a distribution, not a single code."""

    @property
    def has_inverse(self) -> bool:
        """Whether z can be mapped back to the noise, as path derivatives require."""

    @property
    def kl_per_dimension(self) -> bool:
        """Whether its KL divergence has a closed form for each latent dimension."""

    @property
    def gaussian(self) -> bool:
        """Whether it is a Gaussian with a `mean` and the linear map `deviation` of its noise."""

    @property
    def fixed_variance(self) -> bool:
        """Whether its variance is given by an option, not learned."""


class LikelihoodTraits(Protocol):
    """What an objective may ask about a likelihood; its spec has the answers."""

    @property
    def squared_error(self) -> bool:
        """Whether -log p(x|z) is a squared error with a fixed variance, up to constants."""

    @property
    def of_sequences(self) -> bool:
        """Whether its examples are sequences."""

    @property
    def has_information(self) -> bool:
        """Whether it has `information`, the curvature of its log density along a tangent."""


def has_density(posterior: PosteriorTraits) -> bool:
    """Accepts every posterior that is a distribution."""
    return posterior.has_density


def has_inverse(posterior: PosteriorTraits) -> bool:
    """Accepts distributions whose samples can be mapped back to their noise."""
    return posterior.has_density and posterior.has_inverse


def is_factorized(posterior: PosteriorTraits) -> bool:
    """Accepts Gaussians with independent dimensions."""
    return posterior.kl_per_dimension


def is_gaussian(posterior: PosteriorTraits) -> bool:
    """Accepts Gaussians, with independent or correlated dimensions."""
    return posterior.gaussian


def is_gaussian_or_factorized(posterior: PosteriorTraits) -> bool:
    """Accepts Gaussians, and all posteriors with independent dimensions, each with a stddev."""
    return posterior.gaussian or posterior.kl_per_dimension


def has_fixed_variance(posterior: PosteriorTraits) -> bool:
    """Accepts Gaussians whose variance is given."""
    return posterior.fixed_variance


def is_code(posterior: PosteriorTraits) -> bool:
    """Accepts the single code of a deterministic encoder."""
    return not posterior.has_density


def is_any(likelihood: LikelihoodTraits) -> bool:
    """Accepts every likelihood."""
    del likelihood
    return True


def is_squared_error(likelihood: LikelihoodTraits) -> bool:
    """Accepts a Gaussian of fixed variance."""
    return likelihood.squared_error


def is_squared_error_or_of_sequences(likelihood: LikelihoodTraits) -> bool:
    """Accepts a Gaussian of fixed variance, and all likelihoods of sequences."""
    return likelihood.squared_error or likelihood.of_sequences


def is_linearizable(likelihood: LikelihoodTraits) -> bool:
    """Accepts what a linearised decoder has a log density for, to second order or exactly.

    These are Gaussians of fixed variance, likelihoods of sequences and all with an `information`.
    """
    return is_squared_error_or_of_sequences(likelihood) or likelihood.has_information


def fixed_variance(likelihood: Any) -> Array | float | None:
    """The variance of a Gaussian whose decoder only gives the mean; None for other likelihoods.

    A learned variance is a method. Sequences, which have a `mode`, may have values of a fixed
    variance, but not these alone.
    """
    variance = getattr(likelihood, "variance", None)
    return None if callable(variance) or hasattr(likelihood, "mode") else variance


class Options(Protocol):
    """The options of the group `objective` that objectives read, by their names."""

    num_samples: int
    antithetic: bool
    log_det_weight: float | str
    beta: float
    tau: float
    penalty_weight: float
    num_probes: int
    bend_weight: float
    lanczos_steps: int


class BatchOptions(Options, Protocol):
    """The options of the group `objective` that turn the values of a batch into its loss."""

    free_bits: float
    free_bits_groups: tuple[int, ...]
    free_bits_of_batch: bool


class Weights(NamedTuple):
    """The values that the schedules have at one step."""

    gamma: Array
    beta: Array
    entropy: Array


class Example(NamedTuple):
    """What training gives to an objective of one example.

    Attributes:
        rng: key of the example's noise.
        x: the example.
        posterior: q(z|x), or the code of a deterministic encoder.
        posterior_variance: the variance in every dimension, where an option gives it; positive.
        decode: maps one latent [m] to the parameters of p(x|z) that score this x.
        tangent_decode: the decoder whose Jacobian is taken; None if it is `decode`.
        decoder_params: the decoder's own parameters, a pytree.
        likelihood: p(x|z).
        squared_error: whether -log p(x|z) is a squared error with the likelihood's fixed variance.
        of_sequences: whether x is a sequence, scored in nats where images have a squared error.
        options: the options of the objective.
        weights: the values of the schedules at this step.
    """

    rng: Array
    x: Array
    posterior: Any
    posterior_variance: float
    decode: Callable[[Array], Any]
    tangent_decode: Callable[[Array], Any] | None
    decoder_params: Any
    likelihood: Any
    squared_error: bool
    of_sequences: bool
    options: Options
    weights: Weights


class Batch(NamedTuple):
    """What training gives to an objective of a batch: the share of the batch that a device has.

    Attributes:
        rng: key of the step; example i of the whole batch draws from `fold_in(rng, i)`.
        x: the examples, [B, ...].
        means: means of their posteriors, or their codes, [B, m].
        posterior_variance: the variance in every dimension, where an option gives it; positive.
        decode: maps one latent [m] to the parameters of p(x|z), regardless of x.
        decode_given: maps one example to the decoder whose parameters score it.
        tangent_decode: the decoder whose Jacobian is taken; None if it is `decode`.
        likelihood: p(x|z).
        squared_error: whether -log p(x|z) is a squared error with the likelihood's fixed variance.
        options: the options of the objective.
        axis_name: axis over which the batch is shared; None if one device has all of it.
    """

    rng: Array
    x: Array
    means: Array
    posterior_variance: float
    decode: Callable[[Array], Any]
    decode_given: Callable[[Array], Callable[[Array], Any]]
    tangent_decode: Callable[[Array], Any] | None
    likelihood: Any
    squared_error: bool
    options: Options
    axis_name: str | None


class Loss(NamedTuple):
    """A loss to be minimised, and the terms of it that metrics show.

    Attributes:
        value: the loss of one example, or the mean of a batch; a scalar.
        terms: unweighted terms by name, scalars.
    """

    value: Array
    terms: dict[str, Array]


# An `Elbo` or a bound, which training maximises, or a `Loss`, which it minimises.
Value = Elbo | Array | Loss


@dataclasses.dataclass(frozen=True, kw_only=True)
class ObjectiveInfo:
    """What an objective is, what it requires and how training computes it.

    Attributes:
        name: the value of `objective.name`.
        summary: what it is, in one line.
        function: the name of its function in this package; empty for one from outside.
        source: paper and equations; may be empty.
        takes_posterior: which families of posteriors it accepts.
        takes_likelihood: which likelihoods it accepts.
        default_posterior: name of the posterior that is taken if a config leaves it open.
        of_example: its value for one example; None for a statement about a batch.
        of_batch: its value for a batch; None for a mean over examples.
        deterministic: whether it draws no noise.
        closed_form_kl: whether its KL divergence is exact where the posterior has a closed form.
        parts: whether its value is an `Elbo`, on whose parts beta and annealing act.
        prior: "fixed", N(0, I); "floating", N(0, S^2) with S^2 from the codes; or "none".
        density: whether it trains a density p(x|z), not only a reconstruction.
        bound: whether it is a lower bound of log p(x), in words that begin with yes or no.
        decoder_passes: cost of one example, in passes through the decoder; may be empty.
        has_tangents: whether these include m tangents of the decoder.
        jacobian_at_mean: whether its tangents, if it forms them, are those at the posterior's mean,
            along the basis for independent dimensions.
        of_sequences: the name of the function for sequences and all other likelihoods than a
            Gaussian of fixed variance, if that is another one.
        options: options of the group `objective` that only apply to objectives that name them.
        own_options: options that it adds to the group `objective`, each an `Option` by its name.
        default_beta: `objective.beta` if a config leaves it open; None if beta weights nothing.
        default_penalty_weight: `objective.penalty_weight` if a config leaves it open; None for an
            objective without a penalty.
        term_weights: the weights of a `Loss`'s terms, in the order in which metrics subtract the
            terms from the loss to show the error alone; None if they show no error.
        smallest_batch: the fewest examples that a batch may have.
        normalizes_decoder: whether each kernel of the decoder is divided by its spectral norm.
        advice: what to change in this objective if a later loss is not finite, in words that follow
            "or"; empty if nothing.

    Raises:
        TypeError: unless exactly one of `of_example` and `of_batch` is given.
    """

    name: str
    summary: str
    function: str = ""
    source: str = ""
    takes_posterior: Callable[[PosteriorTraits], bool]
    takes_likelihood: Callable[[LikelihoodTraits], bool]
    default_posterior: str
    bound: str
    decoder_passes: str = ""
    of_example: Callable[[Example], Value] | None = None
    of_batch: Callable[[Batch], Value] | None = None
    deterministic: bool = False
    closed_form_kl: bool = False
    parts: bool = False
    prior: str = "fixed"
    density: bool = True
    has_tangents: bool = False
    jacobian_at_mean: bool = False
    of_sequences: str = ""
    options: tuple[str, ...] = ()
    own_options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    default_beta: float | None = None
    default_penalty_weight: float | None = None
    term_weights: Callable[[Options], Mapping[str, float]] | None = None
    smallest_batch: int = 1
    normalizes_decoder: bool = False
    advice: str = ""

    def __post_init__(self) -> None:
        """Checks that there is exactly one way to compute it."""
        if (self.of_example is None) == (self.of_batch is None):
            raise TypeError(
                f"objective {self.name!r} must have one of of_example and of_batch;"
                f" it has {'neither' if self.of_batch is None else 'both'}"
            )

    @property
    def batch_statistic(self) -> bool:
        """Whether it is a statement about a batch, not about one example."""
        return self.of_batch is not None

    def forms_jacobian(self, options: Options) -> bool:
        """Whether it takes all m tangents of the decoder, not a few probes of them."""
        probes = "num_probes" in self.options and options.num_probes > 0
        return self.has_tangents and not probes

    def posteriors_in(self, table: Mapping[str, PosteriorTraits]) -> tuple[str, ...]:
        """The names of the posteriors in a table that it accepts, its default first."""
        names = [name for name, traits in table.items() if self.takes_posterior(traits)]
        return tuple(sorted(names, key=lambda name: name != self.default_posterior))

    def likelihoods_in(self, table: Mapping[str, LikelihoodTraits]) -> tuple[str, ...]:
        """The names of the likelihoods in a table that it accepts."""
        return tuple(name for name, traits in table.items() if self.takes_likelihood(traits))
