"""The devices that JAX computes on, and their memory: errors about either are one line."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import jax

from sfvae_jax.errors import RunError, UsageError, first_line
from sfvae_jax.runtime.memory import host_memory

UNKNOWN_MEMORY = 16 * 2**30  # bytes assumed of a device that does not tell
SMALLER_DATA = "choose a smaller data set (data.name)"

_OUT_OF_MEMORY = re.compile(r"RESOURCE_EXHAUSTED|out of memory|OUT_OF_MEMORY|ALLOC_FAILED", re.I)
_ASKED = re.compile(r"allocat\w*\s+(?:request for\s+)?([\d.]+\s*[KMGTP]?i?)(?:B\b|bytes)", re.I)
_UNITS = ("bytes", "KiB", "MiB", "GiB", "TiB", "PiB")


def check_devices() -> None:
    """Checks that JAX has a device; JAX_PLATFORMS=cuda without a GPU leaves it without one.

    Raises:
        UsageError: saying why, and what to set.
    """
    try:
        jax.devices()
    except (RuntimeError, AssertionError) as error:  # JAX asserts, without a text, that it has one
        asked = jax.config.jax_platforms  # type: ignore[attr-defined]
        reason = first_line(error) if str(error) else "that kind of device was not found"
        reason = reason.partition(" (set JAX_PLATFORMS")[0].rstrip(".")
        if not asked:
            raise UsageError(f"JAX has no device: {reason}") from error
        raise UsageError(
            f"JAX_PLATFORMS={asked}: JAX has no such device here: {reason}. Unset JAX_PLATFORMS,"
            " set it to cpu, or install JAX for that device, as in"
            " pip install 'sfvae_jax[cuda13]'"
        ) from error


def device_memory() -> int:
    """Returns the bytes of memory of the first device; for a CPU, its share of the host's memory.

    Memory in use is not subtracted, because a resumed run must divide its batches as before.
    """
    device = jax.local_devices()[0]
    if device.platform == "cpu":
        return (host_memory() or UNKNOWN_MEMORY) // jax.local_device_count()
    return (device.memory_stats() or {}).get("bytes_limit", UNKNOWN_MEMORY)


@contextmanager
def memory_for(what: str, smaller: str) -> Iterator[None]:
    """Turns errors about too little memory, on the host or a device, into one line.

    Args:
        what: what the memory is for, as the message names it.
        smaller: advice on how to need less, with the whole names of its keys.

    Raises:
        RunError: in place of NumPy's or XLA's error, with the amount that was asked for.
    """
    try:
        yield
    except (MemoryError, jax.errors.JaxRuntimeError) as error:
        if not isinstance(error, MemoryError) and not _OUT_OF_MEMORY.search(str(error)):
            raise
        raise RunError(f"out of memory for {what}: {_asked(str(error))}; {smaller}") from error


def _asked(message: str) -> str:
    """Returns how much memory was asked for at once, as XLA or NumPy say it."""
    found = _ASKED.search(message)
    if not found:
        return message.strip().partition("\n")[0] or "there is too little"
    amount = found.group(1).strip()
    return f"{_shown(int(amount)) if amount.isdecimal() else f'{amount}B'} were asked for at once"


def _shown(num_bytes: int) -> str:
    """Formats a number of bytes in the unit that leaves it below 1024."""
    power = min((max(num_bytes, 1).bit_length() - 1) // 10, len(_UNITS) - 1)
    return f"{num_bytes / 2 ** (10 * power):.{1 if power else 0}f} {_UNITS[power]}"
