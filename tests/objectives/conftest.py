"""What tests of several objectives with probes share."""

import itertools

import jax.numpy as jnp
import numpy as np
import pytest

from sfvae_jax.objectives import evidence, linearized, sampling_free

SIGNS = np.array(list(itertools.product((-1.0, 1.0), repeat=3)))


@pytest.fixture
def all_signs(monkeypatch):
    """Each call with 8 probes of 3 latents takes every sign once: the exact expectation."""
    for module in (evidence, linearized, sampling_free):
        monkeypatch.setattr(module, "probe_signs", lambda *_: jnp.array(SIGNS))
