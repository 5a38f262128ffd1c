"""Measures as a person reads them: their names, their units, and numbers with fitting digits."""

from __future__ import annotations

import re

DEVIATION = "_deviation"  # what the measure of a measure's deviation over trials ends with
# What the name of a standard error of another measure ends with.
_ERRORS = ("standard_error", "carlo_error")
_ACRONYMS = re.compile(r"\b(ais|elbo|fid|gmm|iwae|kl|nll|prd)\b")
# Words of the names of measures in nats.
_NATS = re.compile(
    r"(^|_)(bound|elbo|kl_divergence|marginal_likelihood|nll|gap|gain|log_evidence|log_density"
    r"|overfitting|constant_variance_penalty|sandwich|ais_monte_carlo_error)(_|$)"
)
# Measures that lie between 0 and 1, or near 1, and small errors.
_OF_ONE = ("classifier_accuracy", "prd_", "variance_", "valid_", "unique_", "novel_")
_OF_ONE += ("exact_match", "token_accuracy", "value_error")
# Bounds of one part of the data, whose differences matter.
_OF_PARTS = ("_train", "_valid", "_test", "_standard_error", "_overfitting")


def title(measure: str) -> str:
    """A measure's name as a person writes it."""
    share, _, source = measure.partition("_")
    if share in ("valid", "unique", "novel"):
        return f"{share} samples of the {title(source)}"
    return _ACRONYMS.sub(lambda found: found[0].upper(), measure.replace("_", " "))


def with_unit(measure: str) -> str:
    """The title of a measure as an axis has it, with "(nats)" where it is in nats."""
    return f"{title(measure)} (nats)" if _NATS.search(measure) else title(measure)


def is_error(measure: str) -> bool:
    """Whether it is the standard error or deviation of another measure."""
    return measure.endswith((*_ERRORS, DEVIATION))


def number(measure: str, value: float, deviation: float | None) -> str:
    """A measure's mean ± deviation, with the digits that its kind is told apart by."""
    if measure.endswith("_fraction"):
        shown = f"{100 * value:.1f}%"
        return shown if deviation is None else f"{shown} ± {100 * deviation:.1f}%"
    of_parts = measure.endswith(_OF_PARTS) or measure.startswith("simulated_")
    two = of_parts or measure.startswith(("search_", "nll_"))
    digits = 3 if measure.startswith(_OF_ONE) else 2 if two else 1
    shown = f"{value:.{digits}f}"
    return shown if deviation is None else f"{shown} ± {deviation:.{digits}f}"
