"""What users add to the library without editing it.

A plugin is a Python file or module that a config names, `config.plugins = ("my_parts.py",)`. It
describes what it adds by the same specs as the library's own parts, and registers them:

    from sfvae_jax import plugins

    plugins.register(
        plugins.LikelihoodSpec(name="laplace", ...),
        plugins.ObjectiveInfo(name="renyi", ...),
    )

docs/extending.md has the contract of each spec. This package has all names that a plugin needs.
"""

from __future__ import annotations

from sfvae_jax.data import DataSource
from sfvae_jax.data.sequences.kind import SequenceKind
from sfvae_jax.data.source import ArraySplit, SourceSplit
from sfvae_jax.errors import UsageError
from sfvae_jax.evaluation import Evaluation, Measure, NotApplicable, TrainedModel
from sfvae_jax.likelihoods import LikelihoodSpec
from sfvae_jax.models import ModelSpec
from sfvae_jax.objectives import Batch, Elbo, Example, Loss, ObjectiveInfo
from sfvae_jax.objectives.spec import (
    has_density,
    has_fixed_variance,
    has_inverse,
    is_any,
    is_code,
    is_factorized,
    is_gaussian,
    is_linearizable,
    is_squared_error,
)
from sfvae_jax.options import (
    BELOW_1,
    COUNT,
    COUNT_OR_0,
    FLAG,
    IN_0_1,
    NOT_NEGATIVE,
    POSITIVE,
    SIZES,
    TEXT,
    Option,
    Rule,
    numbers_in,
    one_of,
    optional,
    whole,
)
from sfvae_jax.plugins.importing import (
    Plugin,
    check_source,
    digest_of,
    identified,
    import_plugins,
    imported,
    is_file,
    isolated,
    option_groups,
    register,
    tables,
)
from sfvae_jax.plugins.rooms import ROOMS, Room
from sfvae_jax.posteriors import PosteriorSpec
from sfvae_jax.training.updates.optimizers import OptimizerSpec

__all__ = [
    "BELOW_1",
    "COUNT",
    "COUNT_OR_0",
    "FLAG",
    "IN_0_1",
    "NOT_NEGATIVE",
    "POSITIVE",
    "ROOMS",
    "SIZES",
    "TEXT",
    "ArraySplit",
    "Batch",
    "DataSource",
    "Elbo",
    "Evaluation",
    "Example",
    "LikelihoodSpec",
    "Loss",
    "Measure",
    "ModelSpec",
    "NotApplicable",
    "ObjectiveInfo",
    "OptimizerSpec",
    "Option",
    "Plugin",
    "PosteriorSpec",
    "Room",
    "Rule",
    "SequenceKind",
    "SourceSplit",
    "TrainedModel",
    "UsageError",
    "check_source",
    "digest_of",
    "has_density",
    "has_fixed_variance",
    "has_inverse",
    "identified",
    "import_plugins",
    "imported",
    "is_any",
    "is_code",
    "is_factorized",
    "is_file",
    "is_gaussian",
    "is_linearizable",
    "is_squared_error",
    "isolated",
    "numbers_in",
    "one_of",
    "option_groups",
    "optional",
    "register",
    "tables",
    "whole",
]
