"""A cache of compiled programs, so that later runs start sooner."""

from __future__ import annotations

import logging
import os

import jax

from sfvae_jax.runtime.user_cache import user_cache_folder

log = logging.getLogger("sfvae_jax")


def use_compilation_cache() -> None:
    """Keeps what XLA compiles in the folder `sfvae_jax/xla` of $XDG_CACHE_HOME or ~/.cache.

    JAX's own settings, such as JAX_COMPILATION_CACHE_DIR, take precedence. If the folder cannot be
    written to, programs are compiled each time, and the log says so. The folder grows with every
    new program and may be deleted at any time.
    """
    if jax.config.jax_compilation_cache_dir is not None:  # type: ignore[attr-defined]
        return
    folder, writable = user_cache_folder("xla")
    if not writable:
        log.info("compiled programs are not kept: cannot write to %s", folder)
        return
    jax.config.update("jax_compilation_cache_dir", str(folder))
    if "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS" not in os.environ:
        # At the start, the many small programs take as long as the large one.
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
