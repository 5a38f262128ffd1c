"""sfvae_jax: autoencoding generative models trained without sampling, in JAX."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sfvae_jax import likelihoods, objectives, posteriors

__all__ = ["Run", "likelihoods", "load", "objectives", "posteriors"]
# Of `sfvae_jax.run`, which imports all rooms.
Run: type
load: Callable[..., Any]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Imports what is first used: a command can answer Ctrl-C before JAX loads."""
    if name in ("Run", "load"):
        return getattr(importlib.import_module(f"{__name__}.run"), name)
    if name in __all__:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
