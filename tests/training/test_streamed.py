"""Training on streamed images is training on resident ones, bit for bit."""

import jax
import numpy as np
import optax
import pytest
from helpers import parallel_steps

from sfvae_jax import data, evaluate, models
from sfvae_jax.config import resolve
from sfvae_jax.errors import UsageError
from sfvae_jax.measuring.trained import trained_model
from sfvae_jax.runs.workdir import Workdir
from sfvae_jax.train import train
from sfvae_jax.training.progress import Progress
from sfvae_jax.training.state import create_state

CHANGES = {
    "objective.name": "sampling",
    "data.image_size": 10,
    "train.batch_size": 16,  # of 40 images: batches that span two epochs
    "evaluations.names": ("reconstruction",),
    "evaluations.steps": (),
    "train.steps_per_call": 4,
}


def _state(config, workdir):
    config = resolve(config)
    return evaluate.restore(config, Workdir(workdir), (10, 10, 1))[1]


def _train(tiny_config, workdir, **changes):
    config = tiny_config(**CHANGES | changes)
    train(config, workdir)
    return _state(config, workdir)


def test_streamed_is_resident_bit_for_bit(tiny_config, tmp_path, monkeypatch):
    """12 steps over four epochs; the streamed run is stopped after step 8 and started again."""
    changes = {"data.binarization": "static"}
    resident = _train(tiny_config, tmp_path / "resident", **changes)

    changes |= {"data.device_bytes": 1}
    update = Progress.update

    def stop(progress, step, loss):
        if step == 8:
            raise KeyboardInterrupt
        return update(progress, step, loss)

    monkeypatch.setattr(Progress, "update", stop)
    with pytest.raises(KeyboardInterrupt):
        _train(tiny_config, tmp_path / "streamed", **changes)
    monkeypatch.setattr(Progress, "update", update)
    assert int(_state(tiny_config(**CHANGES | changes), tmp_path / "streamed").step) == 4
    streamed = _train(tiny_config, tmp_path / "streamed", **changes)

    assert int(streamed.step) == 12
    jax.tree.map(np.testing.assert_array_equal, resident, streamed)


@pytest.mark.slow
def test_one_device_and_the_xla_of_a_user_give_the_same_bits(run_main, tiny_config, tmp_path):
    """Resident and streamed are two programs, which less of XLA rounds differently."""
    states = []
    for name, device_bytes in (("resident", 0), ("streamed", 1)):
        changes = CHANGES | {"data.device_bytes": device_bytes}
        done = run_main(tmp_path / name, "--mode=train", changes=changes)
        assert done.returncode == 0, done.stderr
        assert (", streamed" in done.stderr) == (name == "streamed")
        states.append(_state(tiny_config(**changes), tmp_path / name))
    assert int(states[0].step) == 12
    jax.tree.map(np.testing.assert_array_equal, *states)


@pytest.mark.slow  # the test above streams on one device
def test_devices_share_streamed_batches(tiny_config):
    config = resolve(tiny_config(**CHANGES))
    images = data.open_examples(config.data, "train")
    shape = images.shape[1:]
    model, optimizer = models.build(config, shape), optax.adam(1e-2)
    results = []
    order = data.BatchOrder(0, len(images), 16)
    indices = data.index_batches(order, 0, (5, 6))
    streamed = data.example_batches(images, order, 0, (5, 6), last=6, longest=5)
    for stored, batches in ((images.all(), indices), (None, streamed)):
        steps = parallel_steps(config, model, optimizer, stored, 16, num_devices=2)
        state = steps.place(create_state(config, model, optimizer, shape))
        for batch in batches:
            state, metrics = steps(state, batch)
        results.append(jax.device_get((state.params, metrics)))
    jax.tree.map(np.testing.assert_array_equal, *results)


def test_a_floating_prior_of_images_that_memory_does_not_hold(tiny_config, monkeypatch):
    """The prior is computed in one pass over the training images, read batch by batch."""
    changes = {"objective.name": "constant_variance", "evaluations.batch_size": 7}
    config = resolve(tiny_config(**CHANGES | changes))
    images = data.load(config.data, "train")
    model = models.build(config, images.shape[1:])
    state = create_state(config, model, optax.adam(1e-2), images.shape[1:])
    held = trained_model(config, model, state, images[:5], images).prior_stddev
    monkeypatch.setattr("sfvae_jax.data.stored_examples.MAX_BYTES", 1000)
    passed = trained_model(config, model, state, images[:5]).prior_stddev
    np.testing.assert_array_equal(held, passed)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train.batch_size": 0}, "a batch of all 40 examples.* set train.batch_size"),
        ({"evaluations.part": "train"}, "40 examples .* limit of .* GiB; set data.num_examples"),
    ],
)
def test_what_cannot_be_streamed_is_refused(tiny_config, tmp_path, monkeypatch, changes, message):
    monkeypatch.setattr("sfvae_jax.data.stored_examples.MAX_BYTES", 1000)
    with pytest.raises(UsageError, match=message):
        _train(tiny_config, tmp_path / "run", **changes)
    assert not (tmp_path / "run").exists()
