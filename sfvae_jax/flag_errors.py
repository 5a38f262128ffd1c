"""What absl and ml_collections say of a bad flag or config file, in one line."""

from __future__ import annotations

import traceback
from pathlib import Path

from absl import flags


def one_line(error: Exception) -> str:
    """The message of an error met while flags were parsed, without the traceback it may hold."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    if _is_of_a_key(error):
        while isinstance(error, Exception) and error.args:
            error = error.args[0]  # ml_collections wraps one in the other
        message = " ".join(str(error).split())
        return f"unknown config key {message}"
    if isinstance(error, OSError) or "Traceback" in str(error):
        # ml_collections tells the whole story; what went wrong stands in its last line.
        return f"--config: {lines[-1].strip().removeprefix('sfvae_jax.errors.UsageError: ')}"
    if isinstance(error, (flags.Error, ValueError, TypeError)):
        return " ".join(lines)
    return f"--config: {type(error).__name__}: {' '.join(lines)}"  # of the file's own code


def _is_of_a_key(error: Exception) -> bool:
    """Whether ml_collections raised it as it went along --config.a.b; no config file did."""
    files = (Path(frame.filename).name for frame in traceback.extract_tb(error.__traceback__))
    return isinstance(error, (KeyError, AttributeError)) and "config_path.py" in files
