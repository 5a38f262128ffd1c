"""`train.decoder_from`: new encoders for the decoder of another run (GAPS 5.2.1 and 6.2)."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import ml_collections

from sfvae_jax import data, objectives
from sfvae_jax.errors import UsageError
from sfvae_jax.models import DECODER_PARTS
from sfvae_jax.models.options import option_group
from sfvae_jax.runs.checkpoints.proof import Layout, layout_of
from sfvae_jax.runs.checkpoints.restoring import first_difference, last_step, read_params
from sfvae_jax.runs.files.config_file import differences, flatten, plain, with_missing_keys
from sfvae_jax.runs.workdir import Workdir
from sfvae_jax.runtime.files import read_json
from sfvae_jax.training.frozen_decoder import decoder_of
from sfvae_jax.training.state import TrainState, with_average

# The settings that, besides its parameters, make a decoder what it is.
_SHARED = (
    "data.elements",
    "data.layer_types",
    "data.scale",
    "data.tokens",
    "likelihood.",
    "model.activation",
    "model.latent_scale",
    "model.latent_size",
    "model.name",
    "model.output_activation",
    "model.value_activation",
)
# The values of keys that earlier versions did not have.
_BEFORE = {"model.output_activation": option_group()["output_activation"].default}


def with_decoder_from(config: ml_collections.ConfigDict, state: TrainState) -> TrainState:
    """Puts the decoder from the last checkpoint of `train.decoder_from` into a fresh state.

    Args:
        config: resolved, of the new run.
        state: from `create_state`.

    Raises:
        UsageError: if there is no such decoder, or it does not fit the config's model.
    """
    _check_normalisation(config, state)
    source = check_source(config)
    networks = state.params["params"]
    wanted = layout_of(decoder_of(networks))
    found = read_params(
        source.checkpoints, _is_of_decoder, lambda kept: _check_arrays(source, kept, wanted)
    )
    found = jax.tree.map(jnp.asarray, found)
    state = dataclasses.replace(state, params={"params": networks | found})
    return with_average(state) if config.train.ema_decay else state


def _is_of_decoder(name: str) -> bool:
    return name.split(".")[0] in DECODER_PARTS


def _check_normalisation(config: ml_collections.ConfigDict, state: TrainState) -> None:
    if state.batch_stats:
        raise UsageError(
            f"train.decoder_from: model {config.model.name!r} uses BatchNorm, whose moments belong"
            " to the codes of the decoder's own encoder; choose a model without BatchNorm"
        )
    name = config.objective.name
    if objectives.OBJECTIVES[name].normalizes_decoder:
        raise UsageError(
            f"train.decoder_from: objective {name!r} normalises the decoder while it trains it;"
            " choose another objective.name"
        )


def check_source(config: ml_collections.ConfigDict) -> Workdir:
    """Returns the workdir `train.decoder_from`, after a look at its settings.

    Args:
        config: resolved, of the new run.

    Raises:
        UsageError: if it has no decoder, or that of a model with other settings.
    """
    source = Workdir(config.train.decoder_from, "train.decoder_from")
    if not source.config.exists():
        raise UsageError(f"train.decoder_from: {source.name} holds no run; give another workdir")
    if last_step(source.checkpoints) is None:
        raise UsageError(
            f"train.decoder_from: {source.name} holds no checkpoint yet; train it first"
        )
    kept = with_missing_keys(flatten(read_json(source.config)), _BEFORE)
    asked = flatten(plain(config))
    name = kept.get("objective.name")
    if not isinstance(name, str) or not isinstance(kept.get("data.name"), str):
        raise UsageError(f"train.decoder_from: {source.config} is not the config.json of a run")
    # The config.json of an earlier version lacks the keys of sequences.
    differing = differences(kept, asked, lambda key: key.startswith(_SHARED) and key in kept)
    differing += _other_sequences(kept["data.name"], asked["data.name"])
    info = objectives.OBJECTIVES.get(name)
    if info is not None and info.normalizes_decoder:
        differing.append(f"objective {name!r} of that run normalises it")
    elif info is not None and not (info.density and info.prior == "fixed"):
        differing.append(
            f"objective {name!r} of that run does not train p(x|z) under a standard normal prior"
        )
    if differing:
        raise _another_decoder(source, "; ".join(differing))
    return source


def _other_sequences(kept: str, asked: str) -> list[str]:
    """Says in words how the names of two data sets of sequences differ, apart from the file."""
    sources = [data.source_of(name) for name in (kept, asked)]
    if sources[0].stem == sources[1].stem or not any(source.kind for source in sources):
        return []
    return [f"data.name is {kept!r} in that run and {asked!r} in this one"]


def _check_arrays(source: Workdir, kept: Layout, asked: Layout) -> None:
    difference = first_difference(kept, asked)
    if difference is not None:
        name, found, wanted = difference
        raise _another_decoder(source, f"{name} is {found} in that run and {wanted} in this one")


def _another_decoder(source: Workdir, difference: str) -> UsageError:
    return UsageError(
        f"train.decoder_from: the decoder of {source.name} does not fit this model: {difference}."
        " Choose another run, or give this model the settings of that run"
    )
