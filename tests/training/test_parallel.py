"""Steps by pmap and by jit: the same bits, from a whole data set or a part of it on each device."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from sfvae_jax import data, evaluate, models
from sfvae_jax.config import resolve
from sfvae_jax.runs.workdir import Workdir
from sfvae_jax.train import train
from sfvae_jax.training.options import PARALLELISMS
from sfvae_jax.training.parallel import AXIS_NAME, ParallelSteps
from sfvae_jax.training.state import create_state, make_keys
from sfvae_jax.training.step import make_train_step

SHAPE = (6, 5)
NUM_IMAGES = 23  # which two devices cannot share evenly


def _seen(state, batch, _rng):
    """A step that counts, and whose metric is the whole batch."""
    return state + 1, {"seen": jax.lax.all_gather(batch, AXIS_NAME, tiled=True)}


def _bits(array):
    array = np.asarray(array)
    return array.view(np.dtype(f"u{array.itemsize}"))


def _training(config, num_steps):
    """The step and first state of a config, images, and the indices of batches of 8."""
    config.train.batch_size = 8
    config = resolve(config)
    images = np.random.default_rng(0).integers(0, 256, (NUM_IMAGES, *SHAPE), np.uint8)
    model, optimizer = models.build(config, SHAPE), optax.adam(1e-2)
    step = make_train_step(config, model, optimizer, axis_name=AXIS_NAME)
    start = jax.device_get(create_state(config, model, optimizer, SHAPE))
    return step, start, images, data.batch_indices(0, NUM_IMAGES, 8, 0, num_steps)


def _trained(config, workdir):
    return evaluate.restore(resolve(config), Workdir(workdir), (6, 6, 1))[1]


@pytest.mark.parametrize("parallelism", PARALLELISMS)
@pytest.mark.parametrize("num_devices", [1, 2])
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32])
def test_devices_see_the_examples_of_the_indices(parallelism, num_devices, dtype):
    """All bits of them, those of -0.0 and of a nan too, whichever device holds them."""
    drawn = np.random.default_rng(0).integers(-(2**15), 2**15, (NUM_IMAGES, 3, 2))
    examples = drawn.astype(dtype)
    if dtype == np.float32:
        examples[::2, 0] = -0.0
        examples[1::2, 1] = np.nan
    indices = np.array([[22, 0, 0, 11, 12, 1], [5, 22, 13, 21, 4, 22]])
    rng, devices = make_keys(0).training, jax.local_devices()[:num_devices]
    for held, batches in ((examples, indices), (None, examples[indices])):
        steps = ParallelSteps(_seen, held, 6, rng, devices, parallelism=parallelism)
        state, metrics = steps(steps.place(jnp.zeros((), jnp.int32)), batches)
        assert int(state) == 2
        np.testing.assert_array_equal(_bits(metrics["seen"]), _bits(examples[indices]))


def test_by_jit_each_device_holds_its_part(monkeypatch):
    """12 of 23 images and the other 11 with one of zeros; by pmap both hold all 23."""
    images = np.random.default_rng(0).integers(1, 256, (NUM_IMAGES, 4), np.uint8)
    placed, rng = [], make_keys(0).training
    for name in ("device_put", "make_array_from_callback"):
        place = getattr(jax, name)
        note = lambda *args, place=place: placed.append(place(*args)) or placed[-1]  # noqa: E731
        monkeypatch.setattr(jax, name, note)
    for parallelism in PARALLELISMS:
        ParallelSteps(_seen, images, 2, rng, jax.local_devices(), parallelism=parallelism)
    whole, divided = ([np.asarray(s.data) for s in array.addressable_shards] for array in placed)
    for shard in whole:
        np.testing.assert_array_equal(shard, images)
    assert [len(shard) for shard in divided] == [12, 12]
    np.testing.assert_array_equal(np.concatenate(divided)[:NUM_IMAGES], images)
    assert not divided[1][-1].any()


@pytest.mark.parametrize(
    "objective",
    [
        "sampling",
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("sampling_free", "bilbo")),
    ],
)
def test_on_one_device_jit_takes_the_steps_of_pmap_to_the_last_bit(tiny_config, objective):
    """States and metrics of 5 steps, in calls of 3 and 2."""
    step, start, images, indices = _training(tiny_config(**{"objective.name": objective}), 5)
    results = []
    for parallelism in PARALLELISMS:
        rng, devices = make_keys(0).training, jax.local_devices()[:1]
        steps = ParallelSteps(step, images, 8, rng, devices, parallelism=parallelism)
        state, first = steps(steps.place(start), indices[:3])
        results.append(jax.device_get((first, *steps(state, indices[3:]))))
    assert int(results[0][1].step) == 5
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(_bits(a), _bits(b)), *results)


@pytest.mark.parametrize("parallelism", PARALLELISMS)
def test_runs_of_all_seeds_share_their_programs(tiny_config, tmp_path, empty_cache, parallelism):
    """A run of another seed finds all that it needs in the compilation cache."""
    for seed in (1, 2):
        config = tiny_config(seed=seed, **{"train.parallelism": parallelism})
        with empty_cache() as found:
            train(config, tmp_path / str(seed))
    assert found["hits"] > 0
    assert found["misses"] == 0


@pytest.mark.parametrize("parallelism", PARALLELISMS)
def test_calls_of_all_lengths_share_a_program(tiny_config, compiled, parallelism):
    """Six steps in calls of 3, 1 and 2 have the bits of those in two calls of 3."""
    step, start, images, indices = _training(tiny_config(), 6)
    rng, devices = make_keys(0).training, jax.local_devices()[:2]
    steps = ParallelSteps(step, images, 8, rng, devices, parallelism=parallelism)
    state, rows = steps.place(start), []
    for first in (0, 3):
        state, metrics = steps(state, indices[first : first + 3])
        rows.append(metrics)
    other, short = steps.place(start), []
    with compiled() as names:
        for part in np.split(indices, [3, 4]):
            other, metrics = steps(other, part, 3)
            assert {len(row) for row in metrics.values()} == {len(part)}
            short.append(metrics)
    assert names == []
    jax.tree.map(np.testing.assert_array_equal, state, other)
    joined = [jax.tree.map(lambda *parts: np.concatenate(parts), *of) for of in (rows, short)]
    jax.tree.map(np.testing.assert_array_equal, *joined)


def test_a_run_goes_on_by_jit(tiny_config, tmp_path):
    """8 steps by pmap and 4 by jit are 12 steps by pmap, on two devices.

    XLA that is told not to optimise, as here, may round the sums of the two programs differently.
    """
    changes = {"train.batch_size": 8, "data.image_size": 6, "evaluations.steps": ()}
    train(tiny_config(**changes, **{"train.steps": 8}), tmp_path / "both")
    train(tiny_config(**changes, **{"train.parallelism": "jit"}), tmp_path / "both")
    train(tiny_config(**changes), tmp_path / "one")
    both, one = (_trained(tiny_config(**changes), tmp_path / name) for name in ("both", "one"))
    assert int(both.step) == 12
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=1e-6), both, one)


@pytest.mark.slow
@pytest.mark.parametrize("objective", ["sampling", "sampling_free", "bilbo_baggins"])
def test_on_two_devices_the_xla_of_a_user_gives_the_same_bits(
    run_main, tiny_config, tmp_path, objective
):
    changes = {"objective.name": objective, "train.batch_size": 8, "data.num_examples": 39}
    changes |= {"data.image_size": 6, "evaluations.steps": ()}
    for parallelism in PARALLELISMS:
        chosen = {**changes, "train.parallelism": parallelism}
        done = run_main(tmp_path / parallelism, "--mode=train", changes=chosen, devices=2)
        assert done.returncode == 0, done.stderr
    states = [_trained(tiny_config(**changes), tmp_path / name) for name in PARALLELISMS]
    assert int(states[0].step) == 12
    jax.tree.map(np.testing.assert_array_equal, *states)
