"""The gaps between bounds of log p(x) image by image (GAPS Table 1), and what casts doubt on them.

GAPS is Cremer, Li and Duvenaud, "Inference Suboptimality in Variational Autoencoders".
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from sfvae_jax.evaluation.inference_gaps.families import FACTORISED, FAMILIES
from sfvae_jax.evaluation.measured import Doubtful, Measured, NotApplicable, Value
from sfvae_jax.evaluation.standard_errors import means_with_errors, standard_error

# The measures of each split that have a standard error over the images, as has
# `optimal_FAMILY_bound` of every family.
BOUNDS = (
    "log_evidence",
    "ais_bound",
    "iwae_bound",
    "lower_bound",
    "linearized_full_covariance_bound",
    "linearized_diagonal_bound",
)
GAPS = ("approximation_gap", "amortization_gap", "inference_gap")
GAINS = ("linearized_gain", "linearized_covariance_gain")


@dataclasses.dataclass(frozen=True)
class SplitBounds:
    """Bounds of log p(x) for the same N images, in nats, float64 [N] each.

    Attributes:
        ais: the bound by annealed importance sampling.
        iwae: the IWAE bound of the model's posterior; None where that has no density.
        lower: the ELBO L[q] of the model's posterior; None where that has no density.
        optimal: L[q*] by family; empty if none was optimised.
        linearized: L[q] of the posteriors that the linearised decoder implies, by family.
        own_family: the family of the model's posterior.
    """

    ais: np.ndarray
    iwae: np.ndarray | None
    lower: np.ndarray | None
    optimal: Mapping[str, np.ndarray]
    linearized: Mapping[str, np.ndarray]
    own_family: str


def log_evidence(bounds: SplitBounds) -> np.ndarray:
    """Returns log p^(x) [N]: the AIS or the IWAE bound, whichever has the larger mean (GAPS 3.3).

    Both are lower bounds in expectation. To take the larger of the two noisy estimates image by
    image would be biased upwards; to compare their means over the images hardly is.
    """
    if bounds.iwae is None or bounds.ais.mean() >= bounds.iwae.mean():
        return bounds.ais
    return bounds.iwae


def gaps(bounds: SplitBounds) -> dict[str, np.ndarray | NotApplicable]:
    """Computes GAPS and GAINS image by image, [N] each, in nats (GAPS Table 1).

    approximation_gap  log p^(x) - L[q*], q* in the model's own family
    amortization_gap   L[q*] - L[q]
    inference_gap      log p^(x) - L[q], the sum of both
    linearized_gain    L[q_lin] - L[q]: how much better the posterior of the linearised decoder is,
                       which has a full covariance around the encoder's mean
    linearized_covariance_gain  L[q_lin] - L[q_lin, factorised]: how much of that comes from
                       correlations alone; compare it with a factorised model's approximation gap
    """
    evidence, missing = log_evidence(bounds), NotApplicable("the encoder gives no density q(z|x)")
    full, factorised = (bounds.linearized[key] for key in ("full_covariance", "diagonal"))
    found: dict[str, np.ndarray | NotApplicable] = dict.fromkeys((*GAPS, *GAINS), missing)
    found["linearized_covariance_gain"] = full - factorised
    if bounds.lower is None:
        return found
    found |= {"inference_gap": evidence - bounds.lower, "linearized_gain": full - bounds.lower}
    optimal = bounds.optimal.get(bounds.own_family)
    if optimal is None:
        reason = NotApplicable(f"no {bounds.own_family} posterior was optimised")
        found |= {"approximation_gap": reason, "amortization_gap": reason}
    else:
        found |= {
            "approximation_gap": evidence - optimal,
            "amortization_gap": optimal - bounds.lower,
        }
    return found


def overfitting(
    bounds: Mapping[str, SplitBounds], reasons: Mapping[str, Sequence[str]]
) -> Measured:
    """Measures how far encoder and decoder overfit, in nats, with standard errors (GAPS 6.6.1).

    encoder_overfitting  AIS less IWAE bound on test images: what the encoder misses of them
    decoder_overfitting  AIS bound on training images less that on test images

    Args:
        bounds: the bounds of each split's images, by split.
        reasons: by split, the `doubts` about its AIS bound, which make these measures doubtful.
    """
    found: Measured = {}
    if "test" in bounds:
        own = bounds["test"]
        missing = NotApplicable("the encoder gives no density q(z|x)")
        gap = None if own.iwae is None else own.ais - own.iwae
        found["encoder_overfitting"] = missing if gap is None else float(np.mean(gap))
        error = missing if gap is None else standard_error(gap)
        found["encoder_overfitting_standard_error"] = error
    if {"train", "test"} <= set(bounds):
        train, test = bounds["train"].ais, bounds["test"].ais
        found["decoder_overfitting"] = float(np.mean(train) - np.mean(test))
        error_train, error_test = standard_error(train), standard_error(test)
        if isinstance(error_train, NotApplicable) or isinstance(error_test, NotApplicable):
            found["decoder_overfitting_standard_error"] = error_train
        else:  # different images, whose errors are independent
            error = float(np.hypot(error_train, error_test))
            found["decoder_overfitting_standard_error"] = error
    for name, splits in (("encoder", ("test",)), ("decoder", ("train", "test"))):
        against = [reason for split in splits for reason in reasons.get(split, ())]
        if against:
            _mark(found, (f"{name}_overfitting",), unmixed(list(dict.fromkeys(against))))
    return found


def measures(bounds: SplitBounds) -> Measured:
    """Returns means over the images and their standard errors: bounds, gaps and gains."""
    missing = NotApplicable("the encoder gives no density q(z|x)")
    columns: dict[str, np.ndarray | NotApplicable] = {
        "log_evidence": log_evidence(bounds),
        "ais_bound": bounds.ais,
        "iwae_bound": missing if bounds.iwae is None else bounds.iwae,
        "lower_bound": missing if bounds.lower is None else bounds.lower,
        **{f"optimal_{family}_bound": values for family, values in bounds.optimal.items()},
        **{f"linearized_{family}_bound": values for family, values in bounds.linearized.items()},
        **gaps(bounds),
    }
    return means_with_errors(columns)


@dataclasses.dataclass(frozen=True)
class Mixing:
    """How well the chains of annealed importance sampling mixed.

    Attributes:
        sandwich: upper less lower bound of simulated images, in nats, [S]; None if not measured.
        effective_sample_size: effective number of the chains' weights, [N].
        acceptance_rate: mean over chains and temperatures, [N].
        num_chains: C, the number of chains.
    """

    sandwich: np.ndarray | None
    effective_sample_size: np.ndarray
    acceptance_rate: np.ndarray
    num_chains: int


_LEAST_ACCEPTANCE = 0.3
_LEAST_EFFECTIVE = 1.5  # chains; at 1 a single weight outweighs all others
_MOST_IMAGES = 0.1  # fraction of the images for which these two may be worse
_CERTAIN = 2.0  # standard errors
_LEAST_LEAD = 0.1  # nats; with many images even a smaller lead would be certain
_LOWER_RATE = "lower the learning rate in evaluations.inference_gaps.local"


def doubts(bounds: SplitBounds, mixing: Mixing, max_sandwich: float) -> list[str]:
    """Lists the reasons not to trust the AIS bound; empty if there are none.

    Without simulated images only gross failures show: none of the other signs reveals a bound that
    is far below log p(x) in all chains alike.
    """
    found = []
    if mixing.sandwich is not None and np.mean(mixing.sandwich) > max_sandwich:
        found.append(
            f"on images simulated from the model the two bounds are {np.mean(mixing.sandwich):.2f}"
            f" nats apart (at most {max_sandwich:g})"
        )
    others = {"the IWAE bound": bounds.iwae}
    others |= {f"L[q*] of {family}": values for family, values in bounds.optimal.items()}
    leads = {name: _lead(values, bounds.ais) for name, values in others.items()}
    found += [f"{name} is {lead} nats higher" for name, lead in leads.items() if lead]
    rejecting = np.mean(mixing.acceptance_rate < _LEAST_ACCEPTANCE)
    if rejecting > _MOST_IMAGES:
        found.append(f"proposals are hardly accepted for {rejecting:.0%} of the images")
    single = np.mean(mixing.effective_sample_size < _LEAST_EFFECTIVE)
    if mixing.num_chains > 1 and single > _MOST_IMAGES:
        found.append(f"a single chain carries the weight for {single:.0%} of the images")
    return found


def _lead(ahead: np.ndarray | None, behind: np.ndarray | None) -> str:
    """Returns the mean lead and its error as text, or "" unless there certainly is a lead."""
    if ahead is None or behind is None:
        return ""
    lead, error = float(np.mean(ahead - behind)), standard_error(ahead - behind)
    if isinstance(error, NotApplicable):  # a single image, whose lead is what it is
        return f"{lead:.2f}" if lead > _LEAST_LEAD else ""
    return f"{lead:.2f} ± {error:.2f}" if lead > max(_LEAST_LEAD, _CERTAIN * error) else ""


def with_caveats(
    found: Mapping[str, Value],
    bounds: SplitBounds,
    reasons: Sequence[str],
    searches: Mapping[str, str],
) -> Measured:
    """Marks the measures that are doubtful.

    Args:
        found: the measures that `measures` returned.
        bounds: the bounds that they were computed from.
        reasons: the reasons that `doubts` returned.
        searches: by family, what is wrong with its optimisation; empty texts if nothing is.
    """
    marked = dict(found)
    evidence = log_evidence(bounds)
    of_evidence = ("log_evidence", "approximation_gap", "inference_gap")
    if reasons:
        caveat = unmixed(reasons)
        _mark(marked, ("ais_bound",), caveat)
        alone = "log p^(x) rests on the IWAE bound alone, so that the gaps are lower bounds"
        _mark(marked, of_evidence, caveat if evidence is bounds.ais else f"{caveat}; {alone}")
    for family, optimal in bounds.optimal.items():
        lead = _lead(optimal, evidence)
        if lead and evidence is not bounds.ais:
            _mark(marked, of_evidence, f"L[q*] of {family} is {lead} nats higher than log p^(x)")
        own = ("approximation_gap", "amortization_gap") if family == bounds.own_family else ()
        names = (f"optimal_{family}_bound", *own)
        for caveat in (searches.get(family, ""), _behind(bounds, family)):
            if caveat:
                _mark(marked, names, f"{family} optimisation: {caveat}")
    return marked


def search_caveat(steps: np.ndarray, converged: np.ndarray, most: int) -> str:
    """Says what is wrong with an optimisation; empty if the search of every image settled.

    Args:
        steps: steps taken for each image, [N].
        converged: whether its search settled, [N].
        most: the most steps that an image can take. A search that stopped earlier without settling
            found nothing finite.
    """
    broken = np.mean(~converged & (steps < most))
    unsettled = np.mean(~converged & (steps >= most))
    found = []
    if broken:
        found.append(f"for {broken:.0%} of the images no finite bound was found; {_LOWER_RATE}")
    if unsettled:
        found.append(
            f"{unsettled:.0%} of the images were stopped before they settled; raise"
            " evaluations.inference_gaps.local.max_steps"
        )
    return ", ".join(found)


def unmixed(reasons: Sequence[str]) -> str:
    """Returns the caveat of measures that rest on AIS."""
    return f"AIS has not mixed: {'; '.join(reasons)}; use more temperatures or chains"


def _behind(bounds: SplitBounds, family: str) -> str:
    """Says what an optimum is behind although its family contains it; "" if nothing."""
    held = {"the encoder": bounds.lower} if family == bounds.own_family else {}
    if FAMILIES[family].holds_factorised:
        held["the factorised optimum"] = bounds.optimal.get(FACTORISED)
    for name, values in held.items():
        lead = _lead(values, bounds.optimal[family])
        if lead:
            return f"it is {lead} nats behind {name}; {_LOWER_RATE}"
    return ""


def _mark(marked: Measured, names: Sequence[str], caveat: str) -> None:
    """Adds a caveat to the named measures, where they are there and have a value."""
    for name in names:
        value = marked.get(name)
        if isinstance(value, Doubtful):
            marked[name] = Doubtful(float(value), f"{value.caveat}; {caveat}")
        elif isinstance(value, float):
            marked[name] = Doubtful(value, caveat)
