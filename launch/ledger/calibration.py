"""How fast a core of this machine is: the processor time of a fixed piece of work.

A run that took P seconds of processor time on a machine whose calibration is A takes about
P * B / A on one whose calibration is B. This is an estimate: programs differ in what they wait for.
"""

from __future__ import annotations

import json
import time
from contextlib import suppress
from typing import Any

import numpy as np

from sfvae_jax.runs.files.provenance import processor
from sfvae_jax.runs.files.results_file import is_number
from sfvae_jax.runtime.files import parse_json, read_regular, write_text
from sfvae_jax.runtime.user_cache import user_cache_folder

_TRIES = 5
_PRODUCTS, _SIZE = 4000, 64  # so small that BLAS takes one thread for it
_SMALL_OPERATIONS = 200_000
_UNITS = 1000  # milliseconds


def calibration() -> float:
    """Returns the milliseconds of processor time that the fixed piece of work takes here.

    They are measured once and kept in the user's cache.
    """
    folder, writable = user_cache_folder("calibration")
    path = folder / "milliseconds.json"
    key = f"{processor()}, numpy {np.__version__}"
    known: dict[str, Any] = {}
    with suppress(OSError, ValueError):
        found = parse_json(read_regular(path))
        known = found if isinstance(found, dict) else {}
    value: Any = known.get(key)
    if is_number(value) and value > 0:
        return float(value)
    value = measure()
    if writable:
        with suppress(OSError):
            write_text(path, json.dumps({**known, key: value}))
    return value


def measure() -> float:
    """Measures these milliseconds in a third of a second: the best of a few tries."""
    matrix = np.random.default_rng(0).normal(size=(_SIZE, _SIZE))
    matrix = np.linalg.qr(matrix)[0].astype(np.float32)  # so that its powers neither grow nor fade
    return round(_UNITS * min(_once(matrix) for _ in range(_TRIES)), 2)


def _once(matrix: np.ndarray) -> float:
    began = time.process_time()
    product = matrix
    for _ in range(_PRODUCTS):
        product = product @ matrix
    total = 0
    for number in range(_SMALL_OPERATIONS):
        total += number & 3
    return time.process_time() - began
