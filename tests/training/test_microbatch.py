"""Gradients by chunks: the whole batch's for every objective that allows it, in less memory."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from sfvae_jax import data, models, objectives
from sfvae_jax.config import base_config, resolve
from sfvae_jax.errors import UsageError
from sfvae_jax.training import step as training_step
from sfvae_jax.training.microbatch import (
    LAYERS_KEPT,
    automatic_microbatch,
    gradient,
    tangent_bytes,
)
from sfvae_jax.training.parallel import AXIS_NAME, ParallelSteps, check_shares
from sfvae_jax.training.state import create_state, make_keys
from sfvae_jax.training.step import make_train_step

SMALL = {
    "model.latent_size": 2,
    "model.hidden_sizes": (5,),
    "objective.num_samples": 2,
    "train.log_every": 1,
    "train.batch_size": 12,
}
OF_EXAMPLES = [name for name, info in objectives.OBJECTIVES.items() if not info.batch_statistic]
# One of each kind of loss by default: sampled, linearised, deterministic with a penalty or norm.
QUICK = ("sampling", "sampling_free", "log_evidence", "rae_gp", "rae_sn")
VARIANTS = [
    *(
        pytest.param({"objective.name": name}, marks=[pytest.mark.slow] * (name not in QUICK))
        for name in OF_EXAMPLES
    ),
    {"objective.name": "sampling", "data.binarization": "dynamic", "objective.free_bits": 0.3},
    pytest.param({"objective.name": "rae_gp", "objective.num_probes": 2}, marks=pytest.mark.slow),
    {"objective.name": "linearized", "train.decoder_from": "another run's"},
]


OPTIMIZER = optax.sgd(0.01)


def _step(shape, **changes):
    """(config, model, the step under plain gradient descent of rate 0.01)."""
    config = base_config()
    config.update_from_flattened_dict({**SMALL, **changes})
    config = resolve(config)
    model = models.build(config, shape)
    step = make_train_step(config, model, OPTIMIZER, axis_name=AXIS_NAME)
    return config, model, step


def _build(shape, **changes):
    """(config, the step, its state)."""
    config, model, step = _step(shape, **changes)
    return config, step, create_state(config, model, OPTIMIZER, shape)


def _abstract(shape, **changes):
    """The same, of a state that has shapes and no numbers."""
    config, model, step = _step(shape, **changes)
    return config, step, jax.eval_shape(lambda: create_state(config, model, OPTIMIZER, shape))


def _shared(step):
    """A step of which the batch is [devices, share, ...], without any device for it."""
    keyed = functools.partial(step, rng=make_keys(0).training)
    return jax.vmap(keyed, in_axes=(None, 0), out_axes=None, axis_name=AXIS_NAME)


def _images(number, shape):
    return np.random.default_rng(0).integers(0, 256, (number, *shape), np.uint8)


@pytest.mark.parametrize(
    "changes", VARIANTS, ids=lambda changes: "-".join(map(str, changes.values()))
)
def test_chunks_take_the_step_of_the_whole_share(changes, float64):
    """Two devices with six images each, whole and in chunks of two, in double precision."""
    shape = (3, 2)
    _, whole, state = _build(shape, **changes, **{"train.microbatch": 6})
    _, _, chunked = _step(shape, **changes, **{"train.microbatch": 2})
    state = jax.tree.map(
        lambda x: x.astype(float) if jnp.issubdtype(x.dtype, jnp.floating) else x, state
    )
    images = _images(12, shape).reshape(2, 6, *shape)
    both = jax.jit(lambda *args: (_shared(whole)(*args), _shared(chunked)(*args)))
    (after, metrics), found = both(state, images)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12),
        (after, metrics),
        found,
    )
    moved = jax.tree.map(lambda a, b: float(abs(a - b).max()), state.params, after.params)["params"]
    assert optax.tree.max(moved["encoder"]) > 1e-3
    assert (optax.tree.max(moved["decoder"]) > 1e-3) == ("train.decoder_from" not in changes)


def test_moments_of_batch_norm_are_of_the_whole_batch():
    """One device, and two that take two images at a time, after two steps; gradients and all."""
    shape, results = (16, 16, 1), []
    changes = {"model.name": "conv_bn", "model.channels": (2, 3), "model.lowering": "native"}
    for num_devices, microbatch in ((1, 8), (2, 2)):
        config, step, state = _build(
            shape, **changes, **{"train.batch_size": 8, "train.microbatch": microbatch}
        )
        rng, devices = make_keys(config.seed).training, jax.local_devices()[:num_devices]
        step = ParallelSteps(step, _images(8, shape), 8, rng, devices)
        indices = data.batch_indices(config.seed, 8, 8, 0, 2)
        state, metrics = step(step.place(state), indices)
        results.append(jax.device_get((state.params, state.batch_stats, metrics)))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), *results)


def test_chunks_need_memory_for_their_own_images_alone():
    shape = (28, 28, 1)
    changes = {"model.latent_size": 64, "model.hidden_sizes": (64,)}
    needed = {}
    for microbatch in (64, 4):
        _, step, state = _abstract(shape, **changes, **{"train.microbatch": microbatch})
        lowered = jax.jit(_shared(step)).lower(state, _images(64, shape)[None])
        needed[microbatch] = lowered.compile().memory_analysis().temp_size_in_bytes
    assert needed[4] < needed[64] / 5


def test_gradient_of_what_the_examples_share():
    """mean_i (s - x_i)^2 with s = w^2: d/dw = 4 w (w^2 - mean x); the metric is the mean of x."""
    x = jnp.array([1.0, 2.0, 3.0, 5.0, 8.0, 13.0])
    for microbatch in (1, 2, 3, 6):
        found, mean, kept = gradient(
            lambda w: (w**2, "kept"),
            lambda s, x: (jnp.mean((s - x) ** 2), jnp.mean(x)),
            jnp.array(3.0),
            x,
            microbatch,
        )
        np.testing.assert_allclose(found, 12.0 * (9.0 - 32.0 / 6.0), rtol=1e-6)
        np.testing.assert_allclose(mean, 32.0 / 6.0, rtol=1e-6)
        assert kept == "kept"


def test_what_all_chunks_agree_on_keeps_every_bit():
    value = jnp.float32(0.95)
    x = jnp.ones(7)
    _, metric, _ = gradient(lambda w: (w, None), lambda w, x: (w * x.sum(), value), 1.0, x, 1)
    assert metric == value


def test_a_chunk_that_does_not_divide_is_refused():
    with pytest.raises(ValueError, match="a divisor of 6 examples, got 4"):
        gradient(lambda w: (w, None), lambda w, x: (w * x.sum(), {}), 1.0, jnp.ones(6), 4)
    check_shares(12, 2, microbatch=3)
    with pytest.raises(UsageError, match=r"train\.microbatch 4 does not divide .* share .*, 6"):
        check_shares(12, 2, microbatch=4)


@pytest.mark.parametrize(
    ("share", "bytes_each", "expected"),
    [
        (64, 2**23, 64),
        (64, 2**23 + 1, 32),
        (60, 2**25, 15),
        (7, 2**27, 1),
        (8, 2**30, 1),
        (8, 0, 8),
    ],
)
def test_chunks_fill_a_quarter_of_the_memory(share, bytes_each, expected):
    """The memory is 2 GiB."""
    assert automatic_microbatch(share, bytes_each, 2**31) == expected


@pytest.mark.slow
def test_what_an_example_is_planned_with_is_what_xla_takes():
    """Eight arrays of the widest layer, all of a loop's: to a factor of 1.5 below and 3 above."""
    grammar = {"model.name": "grammar", "data.name": "equations", "likelihood.name": "categorical"}
    grammar |= {"objective.name": "linearized", "model.decoder_sizes": (16, 16, 16)}
    for changes, shape in (
        ({"model.latent_size": 48, "model.hidden_sizes": (128, 96)}, (28, 28, 1)),
        ({"model.name": "conv", "model.latent_size": 8, "model.channels": (8, 8, 16)}, (16, 16, 3)),
        ({**grammar, "evaluations.names": ("collapse",)}, (15,)),
    ):
        config, step, state = _build(shape, **changes, **{"train.microbatch": 32})
        stored = np.zeros((1, 32, *shape), np.uint8 if len(shape) == 3 else np.int16)
        lowered = jax.jit(_shared(step)).lower(state, stored)
        needed = lowered.compile().memory_analysis().temp_size_in_bytes / 32
        model = models.build(config, shape)
        planned = tangent_bytes(
            models.decoder_function(model, state.params), config.model.latent_size
        )
        assert planned / 3.0 < needed < 1.5 * planned


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"objective.name": "sampling_free"}, True),
        ({"objective.name": "rae_gp"}, True),
        ({"objective.name": "rae_gp", "objective.num_probes": 2}, False),
        ({"objective.name": "linearized", "objective.free_bits_of_batch": True}, False),
        ({"objective.name": "sampling"}, False),
        ({"objective.name": "bilbo_baggins"}, False),
        ({"objective.name": "linearized_bilbo"}, False),
    ],
)
def test_a_small_machine_takes_chunks_where_it_may(monkeypatch, caplog, changes, expected):
    monkeypatch.setattr(training_step, "device_memory", lambda: 10_000)
    if "objective.free_bits_of_batch" in changes:
        changes = {**changes, "objective.free_bits": 0.1}
    _, step, state = _abstract((3, 2), **changes)
    with caplog.at_level("INFO", logger="sfvae_jax"):
        jaxpr = jax.make_jaxpr(_shared(step))(state, _images(12, (3, 2))[None])
    assert any("scan" in line for line in str(jaxpr).splitlines()) == expected
    assert (
        any("of 12 examples at a time" in record.message for record in caplog.records) == expected
    )


def test_bytes_of_the_tangents():
    """Of the widest layer: 3 latents, 4 bytes, 4 x 3 x 40 outputs or 1000 hidden units."""
    for width, expected in ((8, 480), (1000, 1000)):
        changes = {"model.latent_size": 3, "model.hidden_sizes": (width,)}
        config, _, state = _build((4, 3, 40), **changes)
        model = models.build(config, (4, 3, 40))
        bound = model.bind(state.params)
        assert tangent_bytes(bound.decode, 3) == LAYERS_KEPT * 3 * 4 * expected
        short = models.decoder_function(model, state.params)
        assert tangent_bytes(short, 3) == LAYERS_KEPT * 3 * 4 * width


def test_bytes_of_the_tangents_of_a_recurrent_decoder():
    """All that its turns compute, 50 + 50 + 3 numbers each, and eight of its answer, 11 x 50."""
    kernel = jnp.ones((3, 50))

    def decode(z):
        def place(state, _):
            return 0.5 * state, jnp.tanh(state @ kernel)

        return jax.lax.scan(place, z, length=11)[1]

    of_answer = 11 * 50 + 3  # with the last state
    assert tangent_bytes(decode, 3) == 3 * 4 * (11 * 103 + LAYERS_KEPT * of_answer)
