"""The configuration of a run, from its own config.json alone."""

from __future__ import annotations

import ml_collections
import numpy as np

from sfvae_jax import config
from sfvae_jax.errors import UsageError, listed
from sfvae_jax.options import Option, check_value, entry_of, plain, unknown_key
from sfvae_jax.runs.files import config_file
from sfvae_jax.runs.plugin_files import recorded_plugins
from sfvae_jax.runs.workdir import Workdir
from sfvae_jax.runtime.files import read_json


def recorded_config(
    files: Workdir, use_ema: bool | None = None, advice: str = ""
) -> ml_collections.ConfigDict:
    """Returns the configuration that a run was trained with, without published figures.

    Options that an earlier version did not have get the values that they had then.

    Args:
        files: the files of the run.
        use_ema: the value of `evaluations.use_ema`; None: the recorded one.
        advice: what to do if the folder holds no run; the error says it behind what the folder is.

    Raises:
        UsageError: if it holds no run, its config.json cannot be read, or there is no average of
            the parameters to use.
    """
    if not files.config.is_file():
        raise UsageError(f"workdir {files.name} holds no run; {_instead(files)}{advice}")
    content = read_json(files.config)
    names = recorded_plugins(content, files)
    made, known = config.base_config(plugins=names), config.groups(names)
    defaults = config_file.flatten(config_file.plain(made))
    kept = config_file.with_missing_keys(
        config_file.flatten(content | {"plugins": names}), defaults
    )
    for key, value in kept.items():
        entry, value = entry_of(known, key), plain(value)
        try:
            if entry is None:
                raise unknown_key(key, defaults)
            if isinstance(entry, Option) and config_file.decides_training(key):
                check_value(key, value, entry.rule)
            made.update_from_flattened_dict({key: value})
        except UsageError as error:
            raise UsageError(f"{files.name}/config.json: {error}") from error
        except (TypeError, ValueError) as error:
            raise UsageError(f"{files.name}/config.json: {key}: {error}") from error
    made.evaluations.use_ema = made.evaluations.use_ema if use_ema is None else use_ema
    config.check_average(made)
    return made


def recorded_prior(
    files: Workdir, config: ml_collections.ConfigDict, checkpoint: str
) -> np.ndarray | None:
    """Returns the standard deviations [m] of a prior that floats, as an evaluation found them.

    Args:
        files: the files of the run.
        config: its configuration.
        checkpoint: the digest of its checkpoint.

    Returns:
        None if results.json does not have them for this model.
    """
    found = files.read_results()
    of_average = found.get("config", {}).get("evaluations", {}).get("use_ema", False)
    same = of_average == config.evaluations.use_ema
    if "prior_stddev" not in found or not same or found.get("checkpoint") != checkpoint:
        return None
    return np.asarray(found["prior_stddev"])


def _instead(files: Workdir) -> str:
    """Returns what the folder is instead of that of a run."""
    if not files.folder.is_dir():
        return "it is a file" if files.folder.exists() else "there is no such folder"
    runs = sorted(path.parent.name for path in files.folder.glob("*/config.json"))
    return f"it has the runs {listed(runs, 3)}" if runs else "it has no config.json"
