"""What absl and ml_collections say of a bad flag, in one line."""

from __future__ import annotations


def one_line(error: Exception) -> str:
    """The message of an error met while flags were parsed, without the traceback it may hold."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    if isinstance(error, (KeyError, AttributeError)):
        while isinstance(error, Exception) and error.args:
            error = error.args[0]  # ml_collections wraps one in the other
        message = " ".join(str(error).split())
        return f"unknown config key {message}"
    if isinstance(error, OSError) or "Traceback" in str(error):
        # ml_collections tells the whole story; what went wrong stands in its last line.
        return f"--config: {lines[-1].strip().removeprefix('sfvae_jax.errors.UsageError: ')}"
    return " ".join(lines)
