"""Calls of the device end at the right steps, from any step that a run starts from."""

import pytest

from sfvae_jax.train import train
from sfvae_jax.training.calls import call_ends


def test_ends():
    assert list(call_ends(0, 10, every=(4,))) == [4, 8, 10]
    assert list(call_ends(0, 10, every=(4, 5), at=(7, 30))) == [4, 5, 7, 8, 10]
    assert list(call_ends(10, 10, every=(4,))) == []


def test_a_resumed_run_makes_the_same_calls():
    whole = list(call_ends(0, 100, every=(7, 20), at=(33, 50)))
    for i, start in enumerate(whole):
        assert list(call_ends(start, 100, every=(7, 20), at=(33, 50))) == whole[i + 1 :]


def test_ends_are_found_as_the_run_comes_to_them(tiny_config, tmp_path, monkeypatch):
    """Of 2**31 - 1 steps, three at a time, a run that is stopped at once has asked for a few."""
    asked = []

    def counted(*arguments, **settings):
        for end in call_ends(*arguments, **settings):
            asked.append(end)
            assert len(asked) < 10
            yield end

    def stop(*_):
        raise InterruptedError

    monkeypatch.setattr("sfvae_jax.train.call_ends", counted)
    monkeypatch.setattr("sfvae_jax.train.Progress.update", stop)
    config = tiny_config(**{"train.steps": 2**31 - 1, "objective.name": "autoencoder"})
    with pytest.raises(InterruptedError):
        train(config, tmp_path)
    assert set(asked) == {3}
