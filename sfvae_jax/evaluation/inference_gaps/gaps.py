"""From bounds of log p(x) image by image to the gaps between them (GAPS Table 1), with errors.

GAPS is Cremer, Li and Duvenaud, "Inference Suboptimality in Variational Autoencoders".
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from sfvae_jax.evaluation.standard_errors import means_with_errors, standard_error
from sfvae_jax.evaluation.trained_model import Doubtful, NotApplicable

Value = float | NotApplicable

# What is measured of each part of the data and has a standard error over the images; to these come
# `optimal_FAMILY_bound` of every family.
BOUNDS = (
    "log_evidence",
    "ais_bound",
    "iwae_bound",
    "lower_bound",
    "linearized_full_covariance_bound",
    "linearized_diagonal_bound",
)
GAPS = (
    "approximation_gap",
    "amortization_gap",
    "inference_gap",
    "linearized_gain",
    "linearized_covariance_gain",
)


@dataclasses.dataclass(frozen=True)
class PartBounds:
    """Bounds of log p(x) of the same N images, in nats, float64 [N] each.

    Attributes:
        ais: by annealed importance sampling.
        iwae: of the model's posterior with many samples; None where it has no density.
        lower: the ELBO L[q] of the model's posterior; None for the same reason.
        optimal: L[q*] by family; empty where none was optimised.
        linearized: L[q] of the posteriors that the linearised decoder implies, by family.
        own_family: of the model's posterior.
    """

    ais: np.ndarray
    iwae: np.ndarray | None
    lower: np.ndarray | None
    optimal: Mapping[str, np.ndarray]
    linearized: Mapping[str, np.ndarray]
    own_family: str


def log_evidence(bounds: PartBounds) -> np.ndarray:
    """log p^(x) [N]: of the AIS and the IWAE bound the one with the larger mean (GAPS 3.3).

    Both are lower bounds in expectation. The larger of the two noisy estimates image by image would
    be biased upwards; of the two means over the images it hardly is.
    """
    if bounds.iwae is None or bounds.ais.mean() >= bounds.iwae.mean():
        return bounds.ais
    return bounds.iwae


def gaps(bounds: PartBounds) -> dict[str, np.ndarray | NotApplicable]:
    """The gaps of GAPS Table 1 image by image, [N] each, in nats.

    approximation  log p^(x) - L[q*], q* in the model's own family
    amortization   L[q*] - L[q]
    inference      log p^(x) - L[q], the sum of both
    linearized_gain  L[q_lin] - L[q]: what the posterior of the linearised decoder, with its full
                     covariance around the encoder's own mean, is better by
    linearized_covariance_gain  L[q_lin] - L[q_lin, factorised]: the part of it that comes from
                     correlations alone, to be held against a factorised model's approximation gap
    """
    evidence, missing = log_evidence(bounds), NotApplicable("the encoder gives no density q(z|x)")
    full, factorised = (bounds.linearized[key] for key in ("full_covariance", "diagonal"))
    found: dict[str, np.ndarray | NotApplicable] = dict.fromkeys(GAPS, missing)
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
    parts: Mapping[str, PartBounds], reasons: Mapping[str, Sequence[str]]
) -> dict[str, Value]:
    """Of encoder and decoder, in nats, each with its standard error (GAPS 6.6.1).

    Doubtful where AIS is, whose `doubts` the reasons are, by part.

    encoder_overfitting  AIS less IWAE bound on test images: what the encoder does not know of them
    decoder_overfitting  AIS bound on training images less that on test images
    """
    found: dict[str, Value] = {}
    if "test" in parts:
        test = parts["test"]
        missing = NotApplicable("the encoder gives no density q(z|x)")
        gap = None if test.iwae is None else test.ais - test.iwae
        found["encoder_overfitting"] = missing if gap is None else float(np.mean(gap))
        error = missing if gap is None else standard_error(gap)
        found["encoder_overfitting_standard_error"] = error
    if {"train", "test"} <= set(parts):
        train, test = parts["train"].ais, parts["test"].ais
        found["decoder_overfitting"] = float(np.mean(train) - np.mean(test))
        errors = [standard_error(train), standard_error(test)]
        single = any(isinstance(error, NotApplicable) for error in errors)
        error = errors[0] if single else float(np.hypot(*errors))  # other images: independent
        found["decoder_overfitting_standard_error"] = error
    for name, of_parts in (("encoder", ("test",)), ("decoder", ("train", "test"))):
        against = [reason for part in of_parts for reason in reasons.get(part, ())]
        if against:
            _mark(found, (f"{name}_overfitting",), unmixed(list(dict.fromkeys(against))))
    return found


def measures(bounds: PartBounds) -> dict[str, Value]:
    """Means over the images, and `..._standard_error` of each, by the names of BOUNDS and GAPS."""
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
    """What tells whether annealed importance sampling can be trusted.

    Attributes:
        sandwich: upper less lower bound of simulated images [S], in nats; None if not measured.
        effective_sample_size: of the chains' weights [N].
        acceptance_rate: of the proposals, over chains and temperatures [N].
        num_chains: C.
    """

    sandwich: np.ndarray | None
    effective_sample_size: np.ndarray
    acceptance_rate: np.ndarray
    num_chains: int


_LEAST_ACCEPTANCE = 0.3
_LEAST_EFFECTIVE = 1.5  # of chains; at 1 a single weight outweighs all others
_MOST_IMAGES = 0.1  # share of the images for which these may be worse
_CERTAIN = 2.0  # standard errors
_LEAST_LEAD = 0.1  # nats; with many images a smaller one would be certain, too
_HOLD_FACTORISED = ("full_covariance", "planar", "iaf", "auxiliary_flow")


def doubts(bounds: PartBounds, mixing: Mixing, max_sandwich: float) -> list[str]:
    """Why the AIS bound is not to be trusted; empty if nothing speaks against it.

    Without simulated images only gross failures show: that the bound is far below log p(x) on all
    chains alike, none of the other signs would tell.
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
    """By how much the one is ahead of the other on average, if it certainly is; or nothing."""
    if ahead is None or behind is None:
        return ""
    lead, error = float(np.mean(ahead - behind)), standard_error(ahead - behind)
    error = 0.0 if isinstance(error, NotApplicable) else error
    if lead <= max(_LEAST_LEAD, _CERTAIN * error):
        return ""
    return f"{lead:.2f} ± {error:.2f}"


def with_caveats(
    found: Mapping[str, Value],
    bounds: PartBounds,
    reasons: Sequence[str],
    searches: Mapping[str, str],
) -> dict[str, Value]:
    """The measures, the doubtful ones marked.

    Args:
        found: as from `measures`.
        bounds: that they are of.
        reasons: as from `doubts`.
        searches: what is wrong with the optimisation of a family, by its name; may be empty.
    """
    marked = dict(found)
    evidence = log_evidence(bounds)
    of_evidence = ("log_evidence", "approximation_gap", "inference_gap")
    if reasons:
        caveat = unmixed(reasons)
        _mark(marked, ("ais_bound",), caveat)
        alone = "log p^(x) rests on the IWAE bound alone, the gaps are at least these"
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
    """What is wrong with an optimisation, in words; empty if every image has settled.

    Args:
        steps: taken for each image, [N].
        converged: whether it settled, [N].
        most: steps that an image can take; one that stopped before and has not settled found
            nothing finite.
    """
    broken = np.mean(~converged & (steps < most))
    unsettled = np.mean(~converged & (steps >= most))
    found = []
    if broken:
        told = "no finite bound was found; lower its learning rate (local)"
        found.append(f"for {broken:.0%} of the images {told}")
    if unsettled:
        found.append(
            f"{unsettled:.0%} of the images were stopped before they settled; raise local.max_steps"
        )
    return ", ".join(found)


def unmixed(reasons: Sequence[str]) -> str:
    """The caveat of what rests on AIS."""
    return f"AIS has not mixed: {'; '.join(reasons)}; give it more temperatures or chains"


def _behind(bounds: PartBounds, family: str) -> str:
    """What an optimum is behind, though its family holds it; or nothing."""
    held = {"the encoder": bounds.lower} if family == bounds.own_family else {}
    if family in _HOLD_FACTORISED:
        held["the factorised optimum"] = bounds.optimal.get("diagonal")
    for name, values in held.items():
        lead = _lead(values, bounds.optimal[family])
        if lead:
            return f"it is {lead} nats behind {name}; lower its learning rate (local)"
    return ""


def _mark(marked: dict[str, Value], names: Sequence[str], caveat: str) -> None:
    """Adds the caveat to those of the measures that there are."""
    for name in names:
        value = marked.get(name)
        if isinstance(value, Doubtful):
            marked[name] = Doubtful(float(value), f"{value.caveat}; {caveat}")
        elif isinstance(value, float):
            marked[name] = Doubtful(value, caveat)
