"""Missing devices and missing memory are reported in one line."""

import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sfvae_jax.errors import RunError, UsageError
from sfvae_jax.runtime.devices import check_devices, device_memory, memory_for
from sfvae_jax.train import train

TOO_MUCH = 2**44  # numbers


@pytest.mark.parametrize(
    "ask",
    [
        lambda: jnp.zeros(TOO_MUCH, np.float32).block_until_ready(),
        lambda: np.ones(TOO_MUCH, np.float32),
    ],
)
def test_too_little_memory_is_told_with_what_makes_it_enough(ask):
    message = r"out of memory for training: 64\.0 TiB were asked for at once; make a\.b smaller$"
    with pytest.raises(RunError, match=message), memory_for("training", "make a.b smaller"):
        ask()


def _raise(error):
    raise error


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (
            "RESOURCE_EXHAUSTED: Out of memory while trying to allocate 1536 bytes.\n[buffers]",
            r"1\.5 KiB were asked for at once",
        ),
        (
            "RESOURCE_EXHAUSTED: Failed to allocate request for 2.50GiB (2684354560B)",
            "2.50GiB were",
        ),
        (
            "RESOURCE_EXHAUSTED: Ran out of memory in memory space hbm. Used 20G of 16G.\nMore",
            r"Ran out of memory in memory space hbm\. Used 20G of 16G\.; do",
        ),
    ],
)
def test_what_accelerators_say(said, told):
    with pytest.raises(RunError, match=told) as caught, memory_for("it", "do less"):
        _raise(jax.errors.JaxRuntimeError(said))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "error", [jax.errors.JaxRuntimeError("INTERNAL: no luck"), RunError("of its own"), OSError()]
)
def test_other_errors_stay_as_they_are(error):
    with pytest.raises(type(error)) as caught, memory_for("it", "do less"):
        _raise(error)
    assert caught.value is error


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("data.Splits", r"for the data set: .*\(data\.name\)"),
        ("ParallelSteps", "for the training examples: .*data.device_bytes"),
        ("create_state", "for training: .*train.batch_size"),
    ],
)
def test_a_run_says_which_key_makes_it_smaller(tmp_path, tiny_config, monkeypatch, where, message):
    monkeypatch.setattr(f"sfvae_jax.train.{where}", lambda *a, **k: _raise(MemoryError()))
    with pytest.raises(RunError, match=f"^out of memory {message}"):
        train(tiny_config(), tmp_path / "run")


@pytest.mark.parametrize("error", [AssertionError(), RuntimeError("No such backend 'cuda'. More")])
def test_a_platform_without_devices(monkeypatch, error):
    """JAX itself does not report a missing GPU."""
    check_devices()
    monkeypatch.setattr(jax, "devices", lambda: _raise(error))
    with pytest.raises(UsageError, match=r"^JAX_PLATFORMS=cpu: .* here: \w.*Unset JAX_PLATFORMS"):
        check_devices()


def test_memory_is_shared_by_the_devices_and_bounded_by_the_container(monkeypatch, tmp_path):
    whole = device_memory() * jax.local_device_count()
    assert whole <= os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    monkeypatch.setattr("sfvae_jax.runtime.memory._container_limit", lambda otherwise: 2**20)
    assert device_memory() == 2**20 // jax.local_device_count()
