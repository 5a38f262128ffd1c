"""sfvae_jax: autoencoding generative models trained without sampling, in JAX."""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sfvae_jax import likelihoods, objectives, posteriors

__all__ = ["likelihoods", "objectives", "posteriors"]
__version__ = "0.1.0"


def __getattr__(name: str) -> ModuleType:
    """Imports a package when it is first used: a command can answer Ctrl-C before JAX loads."""
    if name in __all__:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
