"""The configuration that flags ask for, outside of the flags of a process."""

from __future__ import annotations

from collections.abc import Sequence

import ml_collections
from absl import flags
from ml_collections import config_flags

from sfvae_jax.command_line.flag_errors import check_overrides, one_line
from sfvae_jax.command_line.plugin_flags import import_named_plugins, import_plugins_of_config
from sfvae_jax.command_line.tuples import with_tuples
from sfvae_jax.command_line.typed import typed_values
from sfvae_jax.errors import UsageError
from sfvae_jax.shipped import find_shipped_configs


def parse_config(arguments: Sequence[str]) -> ml_collections.ConfigDict:
    """Makes the configuration that `sfvae_jax.main` makes from the same flags.

    Args:
        arguments: --config=FILE.py[:PRESET], then any number of --config.KEY=VALUE.

    Raises:
        UsageError: if the config has no such key, or the file cannot be read.
    """
    argv = ["sfvae_jax", *arguments]
    if not typed_values(arguments, "config"):
        raise UsageError("--config=FILE.py[:PRESET] is missing among the flags; add it")
    values = flags.FlagValues()
    config_flags.DEFINE_config_file("config", flag_values=values, lock_config=True, sys_argv=argv)
    find_shipped_configs(values["config"])
    try:
        check_overrides(argv)
        import_named_plugins(argv)
        import_plugins_of_config(values["config"], argv)
        values(with_tuples(argv))
        values.config.keys()  # a file that cannot be read shows only now
    except Exception as error:  # a bad flag, a bad value, or an error in the config file
        raise UsageError(one_line(error, argv)) from error
    return values.config
