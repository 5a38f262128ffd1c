"""Estimators of the ELBO's gradient: objectives with options, by names such as sampling:16."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from sfvae_jax.errors import UsageError, unknown_name
from sfvae_jax.objectives import OBJECTIVES
from sfvae_jax.objectives.spec import NOISY_OPTIONS, ObjectiveInfo
from sfvae_jax.options import COUNT, COUNT_OR_0, FLAG, IN_0_1, NOT_NEGATIVE, Rule, shown
from sfvae_jax.posteriors import POSTERIORS

# The options that an estimator may set, if its objective reads them.
_RULES = {
    "num_samples": COUNT,
    "num_probes": COUNT_OR_0,
    "antithetic": FLAG,
    "gamma": IN_0_1,
    "log_det_weight": NOT_NEGATIVE,
    "bend_weight": NOT_NEGATIVE,
}
# Their defaults. Without a value, gamma and log_det_weight follow training and have none.
_DEFAULTS = {"num_samples": 1, "num_probes": 0, "antithetic": False, "bend_weight": 0.0}


class Estimator(NamedTuple):
    """An objective whose gradient is measured.

    Attributes:
        objective: its name in `OBJECTIVES`.
        options: the names and values of the options that differ from their defaults.
        name: its name within names of measures, a word of letters, digits and underscores.
    """

    objective: str
    options: tuple[tuple[str, Any], ...]
    name: str

    @property
    def info(self) -> ObjectiveInfo:
        """The spec of the objective."""
        return OBJECTIVES[self.objective]

    @property
    def label(self) -> str:
        """Its name and options in a picture, such as "sampling, num_samples=16"."""
        return ", ".join([self.objective, *(f"{name}={value}" for name, value in self.options)])

    @property
    def deterministic(self) -> bool:
        """Whether it draws no noise; options that are on, such as probes, draw some."""
        draws = any(dict(self.options).get(option) for option in NOISY_OPTIONS)
        return self.info.deterministic and not draws


def estimator_named(text: str) -> Estimator:
    """Returns the estimator with a name such as "sampling:16" or "sampling_free:gamma=1".

    Options have the form "option=value" and commas between them. A number alone is `num_probes`, or
    `num_samples` if the objective takes no probes.

    Raises:
        UsageError: if there is no such objective or option, the objective has no learned posterior
            or another prior, or a value breaks its rule.
    """
    objective, _, given = text.partition(":")
    known = _objectives()
    if objective in OBJECTIVES and objective not in known:
        raise UsageError(
            f"{shown(text)}: {objective!r} is no estimator; these need a posterior of each example"
            f" that is learned, and the fixed prior N(0, I): {', '.join(known)}"
        )
    if objective not in known:
        raise unknown_name("estimator", objective, known)
    settings = [_setting(text, known[objective], part) for part in given.split(",") if given]
    if len(dict(settings)) < len(settings):
        raise UsageError(f"{shown(text)} sets an option twice")
    values = dict(settings)
    if values.get("antithetic") and values.get("num_samples", 1) % 2:
        raise UsageError(
            f"{shown(text)}: antithetic pairs need an even num_samples, such as num_samples=2"
        )
    return Estimator(objective, tuple(sorted(settings)), re.sub(r"\W+", "_", text))


def estimators_named(texts: Sequence[str]) -> tuple[Estimator, ...]:
    """Returns the estimators of several texts.

    Raises:
        UsageError: if one of them names none, or two are the same or have the same name within
            measures.
    """
    found = tuple(map(estimator_named, texts))
    names = [estimator.name for estimator in found]
    seen: dict[Any, str] = {}
    for text, estimator in zip(texts, found, strict=True):
        if names.count(estimator.name) > 1:
            raise UsageError(
                f"{shown(text)} is given twice, or differs from another only in punctuation"
            )
        other = seen.setdefault((estimator.objective, _changed(estimator)), text)
        if other is not text:
            raise UsageError(f"{shown(text)} is the same as {shown(other)}; leave one out")
    return found


def _changed(estimator: Estimator) -> frozenset[tuple[str, Any]]:
    """The options that an estimator sets to other values than their defaults."""
    own = {name: option.default for name, option in estimator.info.own_options.items()}
    defaults = _DEFAULTS | own
    return frozenset(
        (name, value)
        for name, value in estimator.options
        if name not in defaults or value != defaults[name]
    )


def _objectives() -> dict[str, ObjectiveInfo]:
    """The objectives of single examples with p(x|z), a learned q(z|x) and the prior N(0, I)."""
    return {
        name: info
        for name, info in OBJECTIVES.items()
        if not info.batch_statistic
        and info.density
        and info.prior == "fixed"
        and info.takes_posterior(POSTERIORS["diagonal"])
    }


def _setting(text: str, info: ObjectiveInfo, part: str) -> tuple[str, Any]:
    """Returns the option and the value that a part of an estimator's text sets."""
    rules = _rules(info)
    key, is_named, given = part.partition("=")
    if not is_named:
        key, given = "num_probes" if "num_probes" in rules else "num_samples", part
    if key not in rules:
        takes = ", ".join(rules) or "none"
        raise UsageError(
            f"{shown(text)}: {info.name!r} has no option {key!r}; its options: {takes}"
        )
    try:
        value = json.loads(given.strip().lower())
    except ValueError:
        value = given
    if not rules[key].holds(value):
        raise UsageError(f"{shown(text)}: {key} must be {rules[key].expected}, got {shown(value)}")
    return key, value


def _rules(info: ObjectiveInfo) -> dict[str, Rule]:
    own = {name: option.rule for name, option in info.own_options.items()}
    return {name: rule for name, rule in _RULES.items() if name in info.options} | own
