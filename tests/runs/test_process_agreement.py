"""Processes of one run with different settings; threads stand in for them."""

import threading
from concurrent.futures import ThreadPoolExecutor

import jax
import numpy as np
import pytest

from sfvae_jax.config import resolve
from sfvae_jax.errors import RunError, UsageError
from sfvae_jax.runs.process_agreement import require_same
from sfvae_jax.runtime import processes


@pytest.fixture
def run_all(monkeypatch):
    """Calls each function in a thread of its own, as process 0, 1, ...; returns their errors."""
    own = threading.local()

    def run(*functions):
        number = len(functions)
        barrier, given = threading.Barrier(number, timeout=60), [None] * number

        def gathered(values):
            given[own.index] = np.asarray(values)
            barrier.wait()
            found = np.stack(given)
            barrier.wait()
            return found

        def broadcast_arrays(arrays):
            given[own.index] = arrays
            barrier.wait()
            found = given[0]
            barrier.wait()
            return found

        def as_process(index):
            own.index = index
            try:
                functions[index]()
            except Exception as error:
                return error

        monkeypatch.setattr(processes, "gathered", gathered)
        monkeypatch.setattr(processes, "broadcast_arrays", broadcast_arrays)
        monkeypatch.setattr(jax, "process_count", lambda: number)
        monkeypatch.setattr(jax, "process_index", lambda: own.index)
        with ThreadPoolExecutor(number) as pool:
            return [*pool.map(as_process, range(number))]

    return run


def asking(config, mode="train"):
    return lambda: require_same(config, mode)


def test_processes_that_agree_go_on(run_all, tiny_config):
    config = resolve(tiny_config())
    assert run_all(asking(config), asking(config.copy_and_resolve_references())) == [None, None]


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"seed": 1}, "seed"),
        ({"train.steps": 13}, "train.steps"),
        ({"data.fingerprint": "train 5 00"}, "data.fingerprint"),
        ({"evaluations.names": ("kl_divergence",)}, "evaluations.names"),
    ],
)
def test_another_config_or_other_data_are_told_by_all(run_all, tiny_config, changes, key):
    same, other = (resolve(tiny_config(**more)) for more in ({}, changes))
    found = run_all(asking(same), asking(other), asking(same))
    assert [type(error) for error in found] == [RunError, UsageError, RunError]
    assert f"process 1 of this run differs from process 0: {key} is" in str(found[1])
    for error in found[::2]:
        assert f"differ from process 0: 1; they differ in: {key}." in str(error)
    assert not any("\n" in str(error) for error in found)


def test_another_version_or_mode(run_all, tiny_config, monkeypatch):
    config = resolve(tiny_config())
    found = run_all(asking(config), asking(config, "evaluate"))
    assert "--mode is 'train' in process 0 and 'evaluate' in process 1" in str(found[1])
    own = iter(("0.8.0", "0.9.0"))
    monkeypatch.setattr(
        "sfvae_jax.runs.process_agreement._versions", lambda: {"version of jax": next(own)}
    )
    texts = [str(error) for error in run_all(asking(config), asking(config))]
    assert (
        sum("differ from process 0: 1; they differ in: version of jax." in text for text in texts)
        == 1
    )


def test_a_setting_that_process_0_does_not_know(run_all, tiny_config):
    old = resolve(tiny_config())
    new = old.copy_and_resolve_references()
    with new.unlocked():
        new.train.invented = 1
    found = run_all(asking(old), asking(new))
    assert "in: settings of another version" in str(found[0])
    assert "train.invented is absent in process 0 and 1 in process 1" in str(found[1])
