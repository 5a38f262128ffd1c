"""Checks that all processes of a run have the same settings, data and versions."""

from __future__ import annotations

import hashlib
import json

import jax
import jaxlib
import ml_collections
import numpy as np

import sfvae_jax
from sfvae_jax.errors import RunError, UsageError, listed
from sfvae_jax.runs.files.config_file import differences, flatten, plain
from sfvae_jax.runtime import processes

_NAMED_AT_MOST = 5
_ADVICE = "Give all processes the same config, data and versions"


def require_same(config: ml_collections.ConfigDict, mode: str) -> None:
    """Checks that all processes of this run are set up alike; all of them must call this.

    They compare what decides steps and measures: all settings, the fingerprint of the data, the
    versions of the packages that compute, and the settings of JAX in the environment.

    Args:
        config: resolved, with the fingerprint of the data.
        mode: what the process is about to do, "train" or "evaluate".

    Raises:
        UsageError: in a process that differs from the main one, saying how.
        RunError: in the other processes, naming those that differ and in what.
    """
    if jax.process_count() == 1:
        return
    own = {**flatten(plain(config)), "--mode": mode, **_versions(), **_of_jax()}
    del own["plugins"]  # they may be in another folder; their digests tell their content
    digests = processes.gathered(_digest(own))
    if np.all(digests == digests[0]):
        return
    main = _broadcast_facts(own)
    keys = sorted(main)
    differs = [own.get(key) != main[key] for key in keys]
    # The last entry: this process has settings that the main one lacks; its version differs.
    differs.append(bool(own.keys() - main.keys()))
    by_process = processes.gathered(np.array(differs))
    index = jax.process_index()
    if np.any(by_process[index]):
        found = differences(main, own, lambda key: True, ("in process 0", f"in process {index}"))
        raise UsageError(
            f"process {index} of this run differs from process 0:"
            f" {listed(found, _NAMED_AT_MOST)}. {_ADVICE}"
        )
    others = np.flatnonzero(by_process.any(axis=1)).tolist()
    columns = np.flatnonzero(by_process.any(axis=0)).tolist()
    named = [keys[i] if i < len(keys) else "settings of another version" for i in columns]
    numbers = listed([*map(str, others)], _NAMED_AT_MOST)
    raise RunError(
        f"these processes of this run differ from process 0: {numbers}; they differ in:"
        f" {listed(named, _NAMED_AT_MOST)}. {_ADVICE}"
    )


def _versions() -> dict[str, str]:
    return {
        "version of sfvae_jax": sfvae_jax.__version__,
        "version of jax": jax.__version__,
        "version of jaxlib": jaxlib.__version__,
        "version of numpy": np.__version__,  # it shuffles the examples
    }


def _of_jax() -> dict[str, str]:
    """Returns the settings of JAX that decide which numbers are drawn or computed."""
    keys = (
        "jax_enable_x64",
        "jax_default_prng_impl",
        "jax_threefry_partitionable",
        "jax_default_matmul_precision",
    )
    found = {key: str(getattr(jax.config, key, None)) for key in keys}
    return found | {"JAX's backend": jax.default_backend()}


def _digest(facts: dict) -> np.ndarray:
    """Computes a digest as eight numbers of 32 bits, which JAX passes on unchanged."""
    text = json.dumps(facts, sort_keys=True)
    return np.frombuffer(hashlib.sha256(text.encode()).digest(), np.uint32)


def _broadcast_facts(facts: dict) -> dict:
    """Returns the facts of the main process."""
    text = np.frombuffer(json.dumps(facts).encode(), np.uint8)
    return json.loads(processes.broadcast_arrays({"facts": text})["facts"].tobytes())
