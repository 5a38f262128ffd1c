"""Sizes that no machine has memory for are refused before anything is made, with the bytes."""

import time

import pytest

from sfvae_jax import models
from sfvae_jax.config import resolve
from sfvae_jax.errors import UsageError
from sfvae_jax.train import train
from sfvae_jax.training.memory_needs import check_sizes

SHAPE = (28, 28, 1)


def _check(config, *, batch_size=40, streamed=False):
    config = resolve(config)
    model = models.build(config, SHAPE)
    check_sizes(config, model, SHAPE, 1, batch_size, streamed=streamed)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"model.hidden_sizes": (10**6, 10**6)},
            r"^2,001,\d\d\d,\d\d\d,\d\d\d parameters with their gradient and the state of adam take"
            r" 37,\d\d\d GiB, more than the \d+ GiB of this machine; lower model.hidden_sizes \(1",
        ),
        (
            {"model.latent_size": 2**31 - 1, "objective.name": "sampling_free"},
            "lower model.latent_size 2147483647$",
        ),
        (
            {"model.latent_size": 2**31 - 1, "objective.name": "sampling"},
            "parameters .* lower model.latent_size 2147483647$",
        ),
        (
            {"posterior.name": "iaf", "posterior.context_size": 10**9, "objective.name": "iwae"},
            "lower posterior.context_size 1000000000$",
        ),
        (
            {"objective.num_samples": 10**9, "objective.name": "sampling"},
            "1,000,000,000 decoded samples of each of 20 examples take 58,413 GiB, .*num_samples 1",
        ),
        (
            {
                "train.steps": 2**31 - 1,
                "train.steps_per_call": 2**31 - 1,
                "train.checkpoint_every": 2**31 - 1,
            },
            "the batches of a call of 2,147,483,647 steps take 960 GiB, .* lower train.steps_per_c",
        ),
    ],
)
def test_what_no_machine_has_memory_for_is_refused(tiny_config, changes, message):
    start = time.monotonic()
    with pytest.raises(UsageError, match=message) as caught:
        _check(tiny_config(**changes))
    assert "\n" not in str(caught.value)
    assert time.monotonic() - start < 60


def test_streamed_batches_count_with_their_images(tiny_config, monkeypatch):
    monkeypatch.setattr("sfvae_jax.training.memory_needs.host_memory", lambda: 2**30)
    calls = {"train.steps": 10**6, "train.steps_per_call": 10**6, "train.checkpoint_every": 10**6}
    _check(tiny_config(**calls), batch_size=2)
    with pytest.raises(UsageError, match="steps take 1 GiB, more than the 1 GiB"):
        _check(tiny_config(**calls), batch_size=2, streamed=True)


def test_only_objectives_with_tangents_need_the_jacobian(tiny_config, monkeypatch):
    monkeypatch.setattr("sfvae_jax.training.memory_needs.device_memory", lambda: 2**30)
    _check(tiny_config(**{"model.latent_size": 10**6}))
    with pytest.raises(UsageError, match="decoder's Jacobian of one example takes 3 GiB, more"):
        _check(tiny_config(**{"model.latent_size": 10**6, "objective.name": "sampling_free"}))


def test_a_run_that_fits_is_not_refused(tiny_config):
    _check(tiny_config(**{"objective.name": "sampling_free"}))
    _check(tiny_config(**{"model.hidden_sizes": (20_000,)}))


def test_a_run_is_refused_before_anything_is_written(tiny_config, tmp_path):
    config = tiny_config(**{"model.hidden_sizes": (10**6, 10**6)})
    with pytest.raises(UsageError, match=r"lower model\.hidden_sizes"):
        train(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()
