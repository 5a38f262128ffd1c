"""The folders configs/ and launch/: those of the repository, or their copies in an installed wheel.

setup.py puts the copies into `sfvae_jax/_shipped`, so that no package of another project with the
name `configs` or `launch` gets in their way. A repository has no such folder.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from absl import flags

_COPIES = Path(__file__).resolve().parent / "_shipped"

# Whether the library is installed from a wheel, without its repository.
IS_INSTALLED = _COPIES.is_dir()

# The folder that holds `configs` and `launch`.
FOLDER = _COPIES if IS_INSTALLED else Path(__file__).resolve().parents[1]


def config_name(given: str) -> str:
    """Returns `configs/NAME.py[:PRESET]` if a shipped config file is meant, else what was given.

    NAME, NAME.py, configs/NAME and configs/NAME.py mean a shipped file if there is no file of this
    name, from the current folder.

    Args:
        given: FILE.py[:PRESET], as for --config.
    """
    name, colon, preset = _shipped_name(given)
    return f"configs/{name}.py{colon}{preset}" if name else given


def config_path(given: str) -> str:
    """Returns FILE.py[:PRESET], with the whole path of FILE.py if a shipped one is meant.

    Args:
        given: as for `config_name`.
    """
    name, colon, preset = _shipped_name(given)
    return f"{_file_of(name)}{colon}{preset}" if name else given


def find_shipped_configs(flag: flags.Flag) -> None:
    """Makes a flag of `config_flags.DEFINE_config_file` open the files that `config_path` finds."""
    parse = flag.parser.parse

    def parse_found(argument: str) -> Any:
        return parse(config_path(argument))

    flag.parser.parse = parse_found  # type: ignore[method-assign]


def put_launch_on_path() -> None:
    """Lets this process import launch/, from wherever it is."""
    if str(FOLDER) not in sys.path:
        sys.path.insert(0, str(FOLDER))


def _shipped_name(given: str) -> tuple[str, str, str]:
    """Returns the NAME of the shipped config file that is meant, the colon and the preset.

    NAME is empty if none is meant.
    """
    file, colon, preset = given.partition(":")
    name = file.removeprefix("configs/").removesuffix(".py")
    is_shipped = not _is_file(file) and name.isidentifier() and _file_of(name).is_file()
    return name if is_shipped else "", colon, preset


def _file_of(name: str) -> Path:
    return FOLDER / "configs" / f"{name}.py"


def _is_file(path: str) -> bool:
    try:
        return os.path.isfile(path)
    except ValueError:  # a NUL
        return False
