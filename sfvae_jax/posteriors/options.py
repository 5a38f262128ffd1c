"""The group `posterior` of a configuration, and a check of options that depend on each other."""

from __future__ import annotations

from collections.abc import Mapping

import ml_collections

from sfvae_jax.errors import UsageError
from sfvae_jax.objectives.spec import LikelihoodTraits
from sfvae_jax.options import (
    COUNT_OR_0,
    FLAG,
    POSITIVE,
    SIZES,
    Option,
    Rule,
    check_own_options,
    one_of,
    optional,
    own_options,
    whole,
)
from sfvae_jax.posteriors import AUXILIARY_STARTS, POSTERIORS, STDDEVS, PosteriorSpec

MOST_FLOWS = 1000  # the compiled program grows with each flow


def option_group(specs: Mapping[str, PosteriorSpec] = POSTERIORS) -> dict[str, Option]:
    """Returns the options of the group, with those that the families of a table add."""
    name = Rule(
        lambda name: isinstance(name, str) and (not name or name in specs),
        f"empty or one of {', '.join(map(repr, specs))}",
        tuple(specs),
        "posterior",
    )
    return {
        "name": Option(
            "",
            name,
            "Family of posteriors; empty = the objective's own. "
            + "; ".join(f"{spec.name}, {spec.summary}" for spec in specs.values()),
        ),
        "variance": Option(1.0, POSITIVE, "Variance of a constant posterior"),
        "stddev": Option(
            "exp",
            one_of("stddev", STDDEVS),
            "How an output of the encoder becomes a standard deviation: exp takes it as a log"
            " variance, softplus takes it directly",
        ),
        "num_flows": Option(
            2, whole(1, MOST_FLOWS), "Number of flow steps in planar, iaf and auxiliary_flow"
        ),
        "hidden_sizes": Option(
            (100, 100), SIZES, "Hidden layers of the networks of iaf and auxiliary_flow"
        ),
        "context_size": Option(
            32,
            COUNT_OR_0,
            "Number of outputs of the encoder that the networks of iaf and auxiliary_flow see; 0"
            " = none",
        ),
        "amortized_flow": Option(
            True,
            FLAG,
            "Whether the encoder gives u, w and b of planar for each example; False = all examples"
            " share them (FLOW Eq. 26)",
        ),
        "reverse_sizes": Option(
            None,
            optional(SIZES),
            "Hidden layers of auxiliary_flow's network for r(v|z); None = hidden_sizes",
            of=tuple,
        ),
        "auxiliary_start": Option(
            "conditional",
            one_of("auxiliary start", AUXILIARY_STARTS),
            "Distribution of v_0 in auxiliary_flow: conditional, q(v_0|z_0) by a network; or"
            " standard_normal, N(0, I)",
        ),
        **own_options(specs),
    }


def check_posterior(
    group: ml_collections.ConfigDict, name: str, likelihood: LikelihoodTraits
) -> None:
    """Checks the likelihood, and that options of other families keep their defaults.

    Args:
        group: the group `posterior`.
        name: the family that it names, or that the objective chooses.
        likelihood: the spec of the likelihood, which the family may need.

    Raises:
        UsageError: naming the option and the families that it applies to.
    """
    check_own_options("posterior", group, POSTERIORS, name)
    spec = POSTERIORS[name]
    if spec.requires_information and not likelihood.has_information:
        raise UsageError(
            f"posterior.name {name!r} requires a likelihood with the method information, which"
            " that of likelihood.name does not have; choose another of the two"
        )
    if group.amortized_flow or spec.can_share_flow:
        return
    owners = " or ".join(repr(other.name) for other in POSTERIORS.values() if other.can_share_flow)
    told = (
        f"posterior.amortized_flow=false only applies to posterior {owners}; the posterior is"
        f" {name!r}"
    )
    if spec.shares_networks:
        told += (
            ", whose networks all examples share already; posterior.context_size=0 hides the"
            " encoder from them"
        )
    raise UsageError(told)
