"""The configuration: its groups and their defaults, and the rules that join several groups."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Sequence
from typing import Any

import ml_collections

from sfvae_jax import (
    data,
    evaluation,
    left_open,
    likelihoods,
    models,
    objectives,
    options,
    plugins,
    posteriors,
)
from sfvae_jax.errors import UsageError, unknown_name
from sfvae_jax.likelihoods.options import DEFAULT as DEFAULT_LIKELIHOOD
from sfvae_jax.likelihoods.options import check_likelihood
from sfvae_jax.models.options import check_model, check_output_activation
from sfvae_jax.options import Option, Rule
from sfvae_jax.plugins.options import DIGESTS, PLUGINS
from sfvae_jax.posteriors.options import check_posterior
from sfvae_jax.training.losses.options import check_objective
from sfvae_jax.training.losses.posterior_rules import check_with_posterior
from sfvae_jax.training.options import check_train
from sfvae_jax.training.schedules import make_schedules, settled_after


def _is_json(value: Any) -> bool:
    try:
        json.dumps(value.to_dict())
    except (AttributeError, TypeError, ValueError, RecursionError):
        return False
    return True


# The rules that join several options of one group; each is in the package of that group.
_CHECKS: dict[str, Callable[[ml_collections.ConfigDict], None]] = {
    "data": data.check_data,
    "model": check_model,
    "likelihood": check_likelihood,
    "objective": check_objective,
    "train": check_train,
}

_PUBLISHED = Rule(_is_json, "a group of plain numbers and texts")


def groups(names: Sequence[str] | None = ()) -> options.Group:
    """Returns the options of all groups, including those that plugins add.

    Args:
        names: the plugins, which are imported; None: those that this process has imported.

    Raises:
        UsageError: if a plugin cannot be imported.
    """
    rooms = plugins.option_groups(names)
    return {
        "preset": Option(
            "", options.TEXT, "Variant of the config file; empty for the paper's own setting"
        ),
        "seed": Option(
            0,
            options.whole(0, 2**32 - 1),
            "Decides the initialisation, the order of batches and the noise",
        ),
        "data": rooms["data"],
        "model": rooms["model"],
        "posterior": rooms["posterior"],
        "likelihood": rooms["likelihood"],
        "objective": rooms["objective"],
        "train": rooms["train"],
        "evaluations": rooms["evaluations"],
        "plugins": PLUGINS,
        "plugin_digests": DIGESTS,
        "published": Option(
            ml_collections.ConfigDict(),
            _PUBLISHED,
            "Figures that the paper published, with the setting that they belong to",
        ),
    }


def base_config(
    preset: str = "", presets: Sequence[str] = (), plugins: Sequence[str] = ()
) -> ml_collections.ConfigDict:
    """Returns all groups with their defaults; a config file changes what its experiment needs.

    Args:
        preset: the requested variant of the config file; "" for the paper's setting.
        presets: the variants that the config file has.
        plugins: files and modules to import; a config file may as well set `config.plugins`.

    Raises:
        UsageError: if it has no variant of that name, or a plugin cannot be imported.
    """
    if preset and preset not in presets:
        if ":" in preset:
            raise UsageError(
                f"expected one preset after the config file, got {preset!r}; give what another one"
                " changes as --config.KEY=VALUE"
            )
        raise unknown_name("preset", preset, presets)
    config = options.defaults(groups(plugins))
    config.preset, config.plugins = preset, tuple(plugins)
    return config


def add_plugins(config: ml_collections.ConfigDict) -> None:
    """Imports the plugins that a configuration names, and adds their options where they lack.

    Raises:
        UsageError: if `plugins` is no tuple of names, or one of them cannot be imported.
    """
    names = config.get("plugins", ())
    options.check_value("plugins", names, PLUGINS.rule)
    if names:
        with config.unlocked():
            options.complete(groups(names), groups(), config)


def resolve(config: ml_collections.ConfigDict) -> ml_collections.ConfigDict:
    """Returns the configuration with everything filled in that follows from the rest.

    A resolved configuration is returned as it is. The plugins that it names are imported first. If
    a config file has left keys to the data, the data are looked at.

    Raises:
        UsageError: if the configuration breaks a rule; nothing has been loaded or written.
    """
    if config.get("plugins"):
        config = copy.deepcopy(config)  # which keeps open keys open
        add_plugins(config)
    if left_open.open_keys(config):
        _check_options(config)
        config = left_open.choose_open(config)
    validate(config)
    config = config.copy_and_resolve_references()
    objective = config.objective
    with config.unlocked():
        _make_plain(config)
        config.plugins, config.plugin_digests = plugins.identified(config.plugins)
        # Kept with the run, so that a changed file cannot change the meaning of an index.
        config.data.update(data.filled_in(config.data))
        config.posterior.name = _posterior_name(config)
        info = objectives.OBJECTIVES[objective.name]
        if objective.beta is None:
            objective.beta = 1.0 if info.default_beta is None else info.default_beta
        if objective.penalty_weight is None:
            objective.penalty_weight = info.default_penalty_weight or 0.0
    return config


def validate(config: ml_collections.ConfigDict) -> None:
    """Checks that a configuration can be run, before anything is loaded or written.

    The options of all evaluations are checked, including those of evaluations that are not named.

    Raises:
        UsageError: with the key, its value and what was expected.
    """
    _check_options(config)
    for name, check in _CHECKS.items():
        check(config[name])
    _check_objective_fits(config)
    likelihood = likelihoods.LIKELIHOODS[config.likelihood.name]
    posterior = _posterior_name(config)
    check_posterior(config.posterior, posterior, likelihood)
    check_with_posterior(config.objective, posterior, config.model.latent_size)
    _check_batch_size(config)
    _check_pixels(config)
    check_output_activation(config.model, likelihood, config.data.scale)
    make_schedules(config.objective, config.train.steps)
    _check_microbatch(config)
    _check_language(config)
    _check_values(config)
    check_average(config)
    evaluation.check_kind(config.evaluations, data.language(config.data) is not None)


def _check_options(config: ml_collections.ConfigDict) -> None:
    """Checks the keys, and the rules of single options."""
    names = config.get("plugins", ())
    options.check_value("plugins", names, PLUGINS.rule)
    known = groups(names)
    options.check_keys(known, config)
    options.check({name: group for name, group in known.items() if name != "evaluations"}, config)
    evaluation.check_options(config.evaluations)
    plugins.check_source(config.data.name, names)


def unfulfilled(config: ml_collections.ConfigDict) -> list[str]:
    """Returns a sentence for each request of a resolved config that its run does not fulfil.

    Training ends before some; some evaluations cannot apply to its model.
    """
    num_steps, objective = config.train.steps, config.objective
    steps = [step for step in config.evaluations.steps if step > num_steps]
    found = []
    if steps:
        found.append(
            f"evaluations.steps {', '.join(map(str, steps))}: not measured, because training ends"
            f" at train.steps {num_steps}"
        )
    boundaries = [step for step in objective.gamma_boundaries if step >= num_steps]
    if boundaries and objective.gamma_schedule == "piecewise":
        found.append(
            f"objective.gamma_boundaries {', '.join(map(str, boundaries))}: not reached,"
            f" because training ends at train.steps {num_steps}"
        )
    patience, every = config.train.stop_patience, config.train.validate_every
    counted = patience
    if patience:
        schedules = make_schedules(objective, num_steps)
        counted = (num_steps - settled_after(schedules, num_steps, every)) // every
    if counted < patience:
        when = "after the annealed weights have their last values (objective.gamma_steps,"
        when += " beta_steps and entropy_steps say when; 0: at train.steps)"
        when = when if counted < num_steps // every else f"in train.steps {num_steps}"
        found.append(
            f"train.stop_patience {patience}: not reached, because only {counted} validations come"
            f" {when}"
        )
    without_values = evaluation.inapplicable(
        config.evaluations,
        objectives.OBJECTIVES[objective.name],
        posteriors.POSTERIORS[config.posterior.name],
        likelihoods.LIKELIHOODS[config.likelihood.name],
    )
    found += [
        f"evaluations.names {name!r}: its measures will be null, because {reason}"
        for name, reason in without_values.items()
    ]
    return found


def _make_plain(group: ml_collections.ConfigDict) -> None:
    """Turns lists into tuples and NumPy's numbers into Python's, as config.json keeps them."""
    for name, value in group.items():
        if name == "published":
            continue
        if isinstance(value, ml_collections.ConfigDict):
            _make_plain(value)
        elif not options.is_plain(value):
            del group[name]  # else the new tuple would be converted to the type of the list
            group[name] = options.plain(value)


def _check_objective_fits(config: ml_collections.ConfigDict) -> None:
    """Checks that the objective takes the posterior and the likelihood."""
    info = objectives.OBJECTIVES[config.objective.name]
    accepted = {
        "posterior": info.posteriors_in(posteriors.POSTERIORS),
        "likelihood": info.likelihoods_in(likelihoods.LIKELIHOODS),
    }
    for group, known in accepted.items():
        name = config[group].name
        if name not in known and not (group == "posterior" and name == ""):
            raise UsageError(
                f"{group}.name: objective {config.objective.name!r} does not take {group}"
                f" {name!r}; it takes: {', '.join(known)}"
            )


def _posterior_name(config: ml_collections.ConfigDict) -> str:
    return config.posterior.name or objectives.OBJECTIVES[config.objective.name].default_posterior


def _check_batch_size(config: ml_collections.ConfigDict) -> None:
    """Checks that the batch is large enough for an objective that is a statistic of the batch."""
    name, batch_size = config.objective.name, config.train.batch_size
    smallest = objectives.OBJECTIVES[name].smallest_batch
    if 0 < batch_size < smallest:
        raise UsageError(
            f"train.batch_size must be {smallest} or more, or 0, for objective {name!r}; got"
            f" {batch_size}"
        )


def _check_microbatch(config: ml_collections.ConfigDict) -> None:
    """Checks that only a mean over examples is computed in chunks."""
    objective = config.objective
    of_batch = objectives.OBJECTIVES[objective.name].batch_statistic
    if config.train.microbatch and (of_batch or objective.free_bits_of_batch):
        what = "objective.free_bits_of_batch" if not of_batch else f"objective {objective.name!r}"
        raise UsageError(
            f"train.microbatch {config.train.microbatch}: {what} is a statistic of the whole"
            " batch, which cannot be divided into chunks; give 0"
        )


def _check_pixels(config: ml_collections.ConfigDict) -> None:
    """Checks that a likelihood of pixels in [0, 1] is given such pixels."""
    name, scale = config.likelihood.name, config.data.scale
    if likelihoods.LIKELIHOODS[name].in_unit_interval and scale != 1.0:
        raise UsageError(
            f"likelihood {name!r} requires pixels in [0, 1]; data.scale must be 1, got {scale}"
        )


def _check_language(config: ml_collections.ConfigDict) -> None:
    """Checks that model and likelihood take the kind of examples that the data are."""
    source, language = config.data.name, data.language(config.data)
    model, likelihood = config.model.name, config.likelihood.name
    of_sequences = language is not None
    fitting = [spec.name for spec in models.MODELS.values() if spec.of_sequences == of_sequences]
    if model not in fitting:
        raise UsageError(
            f"data {source!r} are {'sequences' if of_sequences else 'images'}, whose model.name is"
            f" one of {', '.join(fitting)}; got {model!r}"
        )
    if language is None:
        if likelihoods.LIKELIHOODS[likelihood].of_sequences:
            raise UsageError(
                f"likelihood {likelihood!r} requires sequences, but data {source!r} are images;"
                f" choose a data.name of sequences, or likelihood.name={DEFAULT_LIKELIHOOD}"
            )
        return
    _check_sequences(config, language.has_values)


def _check_sequences(config: ml_collections.ConfigDict, has_values: bool) -> None:
    """Checks that model, likelihood and objective take sequences with or without values."""
    source, model, likelihood = config.data.name, config.model.name, config.likelihood.name
    fitting = [
        spec.name
        for spec in likelihoods.LIKELIHOODS.values()
        if spec.of_sequences and spec.has_values == has_values
    ]
    if likelihood not in fitting:
        raise UsageError(
            f"data {source!r} are sequences {'with' if has_values else 'without'} values, whose"
            f" likelihood.name is {' or '.join(map(repr, fitting))}, got {likelihood!r}"
        )
    if has_values and not models.MODELS[model].takes_values:
        others = [spec.name for spec in models.MODELS.values() if spec.takes_values]
        raise UsageError(
            f"model {model!r} only takes sequences without values, but those of {source!r} have"
            f" values; set model.name={' or '.join(others)}"
        )
    if config.objective.jacobian_dtype != "float32":
        raise UsageError(
            f"objective.jacobian_dtype {config.objective.jacobian_dtype!r} only applies to"
            " decoders of images; give 'float32' for sequences"
        )


def _check_values(config: ml_collections.ConfigDict) -> None:
    """Checks that the decoder can give the values of the data."""
    name, values = config.model.value_activation, data.value_range(config.data) or ()
    low, high = models.VALUE_RANGES[name]
    slack = data.ROUNDING
    outside = [value for value in values if not low - slack <= value <= high + slack]
    if outside:
        others = [
            other
            for other, (least, most) in models.VALUE_RANGES.items()
            if least <= min(values) and max(values) <= most
        ]
        cure = f" or set model.value_activation={' or '.join(others)}" if others else ""
        raise UsageError(
            f"data {config.data.name!r} have the value {outside[0]!r}, and"
            f" model.value_activation {name!r} gives values in [{low:g}, {high:g}]; scale them to"
            f" lie there{cure}"
        )


def check_average(config: ml_collections.ConfigDict) -> None:
    """Checks that there is an average of the parameters, if it is to be measured.

    Raises:
        UsageError: if there is none.
    """
    if config.evaluations.use_ema and not config.train.ema_decay:
        raise UsageError(
            "evaluations.use_ema measures a moving average of the parameters, and this run keeps"
            " none, because train.ema_decay is 0; set evaluations.use_ema=false, or train a new run"
            " with train.ema_decay, such as 0.999"
        )
