"""The moving average of the parameters: by hand from checkpoints, resumed, measured, refused."""

import dataclasses
import json
import re
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import parallel_steps

import sfvae_jax
from sfvae_jax import data, evaluate, models
from sfvae_jax.config import base_config, resolve
from sfvae_jax.errors import UsageError
from sfvae_jax.loading.recorded import recorded_prior
from sfvae_jax.measuring.trained import measure, trained_model
from sfvae_jax.runs.checkpoints.proof import by_name
from sfvae_jax.runs.checkpoints.restoring import read_step
from sfvae_jax.runs.decoder_from import with_decoder_from
from sfvae_jax.runs.files.config_file import plain
from sfvae_jax.runs.published import with_differences
from sfvae_jax.runs.workdir import Workdir
from sfvae_jax.train import train
from sfvae_jax.training.early_stopping import best_of, note, with_best
from sfvae_jax.training.memory_needs import check_sizes
from sfvae_jax.training.state import averaged, create_state, make_optimizer
from sfvae_jax.training.updates.options import option_group
from sfvae_jax.training.validation import Validation

# Beyond t = 4 of the 8 steps the decay is the smaller one of 0.35 and t / (t + 9).
RUN = {
    "objective.name": "sampling",
    "train.ema_decay": 0.35,
    "train.learning_rate": 0.01,
    "train.steps": 8,
    "train.steps_per_call": 1,
    "train.checkpoint_every": 1,
    "train.checkpoints_kept": 20,
    "evaluations.steps": (4,),
    "evaluations.names": ("kl_divergence", "reconstruction"),
}
SHAPE = (28, 28, 1)


@pytest.fixture(scope="module")
def run(tmp_path_factory, tiny_config):
    """A run with a checkpoint of each step; it is not measured yet."""
    workdir = tmp_path_factory.mktemp("average") / "run"
    train(tiny_config(**RUN), workdir)
    return workdir


def _fresh(config, shape=SHAPE):
    model = models.build(config, shape)
    return model, create_state(config, model, make_optimizer(config.train), shape)


def _by_hand(trees, decay):
    """The average after the last of the trees, the first of which is the start."""
    average, *after = [jax.tree.map(np.float64, jax.device_get(tree)) for tree in trees]
    for t, tree in enumerate(after, 1):
        k = min(decay, t / (t + 9))
        average = jax.tree.map(lambda a, w, k=k: k * a + (1 - k) * w, average, tree)
    return average


def _close(found, expected):
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), found, expected
    )


def test_the_average_of_each_checkpoint(run, tiny_config):
    config = resolve(tiny_config(**RUN))
    _, fresh = _fresh(config)
    jax.tree.map(np.testing.assert_array_equal, fresh.average.params, fresh.params)
    states = [read_step(run / "checkpoints", step, fresh) for step in range(1, 9)]
    params = [state.params for state in (fresh, *states)]
    for step in (1, 4, 8):
        _close(states[step - 1].average.params, _by_hand(params[: step + 1], 0.35))


def test_a_resumed_run_ends_with_the_same_bits(run, tiny_config, tmp_path):
    """What is measured on the way is the average, if this is asked for now."""
    workdir = tmp_path / "run"
    shutil.copytree(run, workdir)
    for step in range(4, 9):
        shutil.rmtree(workdir / "checkpoints" / str(step))
    train(tiny_config(**RUN, **{"evaluations.use_ema": True}), workdir)
    config = resolve(tiny_config(**RUN))
    model, fresh = _fresh(config)
    ends = [read_step(folder / "checkpoints", 8, fresh) for folder in (run, workdir)]
    jax.tree.map(np.testing.assert_array_equal, *ends)

    state = averaged(read_step(run / "checkpoints", 4, fresh))
    images = data.load(config.data, config.evaluations.part)
    expected = measure(trained_model(config, model, state, images))["metrics"]
    histories = [
        json.loads((folder / "results.json").read_text())["history"] for folder in (run, workdir)
    ]
    assert histories[1] == {"4": expected} != histories[0]


def _steps(config, num_devices=1, shape=(6, 5), number=6, state=None):
    """The states after each step on eight images."""
    images = np.random.default_rng(0).integers(0, 256, (8, *shape), np.uint8)
    model, fresh = _fresh(config, shape)
    steps = parallel_steps(config, model, make_optimizer(config.train), images, 8, num_devices)
    found = [jax.device_get(state or fresh)]
    for _ in range(number):
        state, _ = steps(steps.place(found[-1]), np.arange(8)[None])
        found.append(jax.device_get(state))
    return found


def test_it_does_not_depend_on_devices_or_microbatches_nor_change_training(tiny_config):
    plain = {"objective.name": "sampling"}
    ends = [
        _steps(resolve(tiny_config(**plain, **changes)), num_devices)[-1]
        for changes, num_devices in (
            ({"train.ema_decay": 0.9}, 1),
            ({"train.ema_decay": 0.9, "train.microbatch": 2}, 2),
            ({}, 1),
        )
    ]
    for other in ends[1:]:
        _close(other.params, ends[0].params)
    _close(ends[1].average, ends[0].average)
    assert not any("average" in name for name in by_name(ends[2]))


def test_batch_norm_has_averages_of_its_running_averages(tiny_config):
    changes = {"model.name": "conv_bn", "model.channels": (2, 4), "objective.name": "rae"}
    config = resolve(tiny_config(**changes, **{"train.ema_decay": 0.3}))
    states = _steps(config, shape=(16, 16, 1), number=5)
    average = states[-1].average
    _close(average.batch_stats, _by_hand([state.batch_stats for state in states], 0.3))
    _close(average.params, _by_hand([state.params for state in states], 0.3))
    model, _ = _fresh(config, (16, 16, 1))
    config.evaluations.use_ema = True
    trained = trained_model(config, model, states[-1], np.zeros((2, 16, 16, 1), np.uint8))
    _close(trained.params, {**average.params, "batch_stats": average.batch_stats})


def test_kernels_are_averaged_first_and_normalised_then(tiny_config):
    """The largest singular value of each averaged kernel is 1 as it is measured, by NumPy's SVD."""
    changes = {"objective.name": "rae_sn", "train.ema_decay": 0.8, "train.learning_rate": 0.03}
    config = resolve(tiny_config(**changes))
    states = _steps(config, number=30)
    raw = _by_hand([state.params for state in states], 0.8)
    _close(states[-1].average.params, raw)
    config.evaluations.use_ema = True
    model, _ = _fresh(config, (6, 5))
    trained = trained_model(config, model, states[-1], np.zeros((2, 6, 5), np.uint8))
    for layer in ("Dense_0", "Dense_1"):
        kernel = raw["params"]["decoder"][layer]["kernel"]
        largest = np.linalg.svd(kernel, compute_uv=False)[0]
        found = trained.params["params"]["decoder"][layer]["kernel"]
        assert largest > 1.02
        np.testing.assert_allclose(found, kernel / largest, rtol=3e-3, atol=1e-5)


def test_measures_and_pictures_are_of_the_average_where_asked(
    run, tiny_config, tmp_path, monkeypatch
):
    """It is asked for only after training, so that the history stays that of the parameters."""
    drawn = []
    monkeypatch.setattr(
        evaluate, "draw", lambda config, files, trained: drawn.append(trained.params)
    )
    workdir = tmp_path / "run"
    shutil.copytree(run, workdir)
    measured, said = {}, {}
    for use_ema in (False, True, False):
        config = tiny_config(**RUN, **{"evaluations.use_ema": use_ema})
        metrics = evaluate.evaluate(config, workdir)
        assert measured.setdefault(use_ema, metrics) == metrics
        said[use_ema] = json.loads((workdir / "results.json").read_text())
    for use_ema, results in said.items():
        assert results["config"]["evaluations"]["use_ema"] is use_ema
        assert results["metrics"] == measured[use_ema]
    assert said[True]["history"] == said[False]["history"]
    assert said[True]["checkpoint"] == said[False]["checkpoint"]

    config = resolve(tiny_config(**RUN))
    model, state = evaluate.restore(config, Workdir(workdir), SHAPE)
    assert all(jax.tree.leaves(jax.tree.map(np.array_equal, drawn[0], state.params)))
    assert all(jax.tree.leaves(jax.tree.map(np.array_equal, drawn[1], state.average.params)))
    given = dataclasses.replace(state, params=state.average.params)
    expected = measure(trained_model(config, model, given, data.load(config.data, "train")))
    assert measured[True] == expected["metrics"] != measured[False]


def test_the_valid_split_is_measured_with_the_average_where_asked(tiny_config):
    changes = {"train.ema_decay": 0.9, "train.validate_every": 2, "objective.name": "sampling"}
    config, asked = (
        resolve(tiny_config(**changes, **{"train.validate_ema": asked})) for asked in (False, True)
    )
    state = _steps(config)[-1]
    model, _ = _fresh(config, (6, 5))
    images = np.random.default_rng(1).integers(0, 256, (5, 6, 5), np.uint8)
    loss = Validation(asked, model, images).loss(state)
    assert loss == Validation(config, model, images).loss(averaged(state))
    assert loss != Validation(config, model, images).loss(state)


def test_the_best_validation_keeps_its_average(tiny_config):
    changes = {"train.ema_decay": 0.9, "train.validate_every": 1, "train.stop_patience": 2}
    config = resolve(tiny_config(**changes, **{"objective.name": "sampling"}))
    states = _steps(config, number=3, state=with_best(_fresh(config, (6, 5))[1], config.train))
    for step, loss in ((1, 5.0), (2, 3.0), (3, 4.0)):
        best = note(states[step], jnp.float32(loss), jnp.asarray(True))
        states = [dataclasses.replace(state, best=best) for state in states]
    found = best_of(states[3])
    assert int(found.step) == 2
    jax.tree.map(np.testing.assert_array_equal, found.average, states[2].average)
    jax.tree.map(np.testing.assert_array_equal, averaged(found).params, states[2].average.params)
    # Without a validation it is the last one.
    assert best_of(_fresh(config, (6, 5))[1]).average


def test_a_decoder_that_is_not_trained_is_its_own_average(run, tiny_config):
    """The average begins with the decoder that was given, and keeps its bits."""
    changes = {"train.decoder_from": str(run), "train.weight_decay": 0.5}
    config = resolve(tiny_config(**RUN | changes | {"train.optimizer": "adamw"}))
    _, fresh = _fresh(config)
    state = with_decoder_from(config, fresh)
    given = state.params["params"]["decoder"]
    jax.tree.map(np.testing.assert_array_equal, state.average.params, state.params)
    end = _steps(config, shape=SHAPE, number=4, state=state)[-1]
    jax.tree.map(np.testing.assert_array_equal, end.params["params"]["decoder"], given)
    jax.tree.map(np.testing.assert_array_equal, end.average.params["params"]["decoder"], given)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"evaluations.use_ema": True},
            r"^evaluations\.use_ema measures a moving average of the parameters, and this run keeps"
            r" none, because train\.ema_decay is 0; set evaluations\.use_ema=false, or train a new",
        ),
        (
            {"train.validate_ema": True, "train.validate_every": 2},
            r"^train\.validate_ema validates an average .*; set train\.ema_decay too",
        ),
        (
            {"train.validate_ema": True, "train.ema_decay": 0.9},
            r"^train\.validate_ema validates an average .*; set train\.validate_every too",
        ),
        ({"train.ema_decay": 1.0}, r"^train\.ema_decay must be a number in \[0, 1\), got 1\.0$"),
    ],
)
def test_what_has_no_average_is_refused(tiny_config, changes, message):
    with pytest.raises(UsageError, match=message) as caught:
        resolve(tiny_config(**changes))
    assert "\n" not in str(caught.value)


def test_a_run_of_an_earlier_version_has_none(tiny_config, tmp_path):
    """Its config.json lacks the keys and is that of the defaults; it has no average to measure."""
    kept = plain(resolve(tiny_config()))
    for key in option_group():
        del kept["train"][key]
    del kept["evaluations"]["use_ema"]
    (tmp_path / "config.json").write_text(json.dumps(kept))
    Workdir(tmp_path).check(resolve(tiny_config()), base_config())
    asked = {"evaluations.use_ema": True}
    for changes, message in (
        ({}, "this run keeps none, because train.ema_decay is 0"),
        ({"train.ema_decay": 0.9}, "train.ema_decay is 0.0"),
    ):
        with pytest.raises(UsageError, match=re.escape(message)) as caught:
            evaluate.evaluate(tiny_config(**asked, **changes), tmp_path)
        assert "\n" not in str(caught.value)


def test_memory_counts_the_average_and_the_optimizers_state(tiny_config):
    """Besides parameters, gradient and update: two moments of adam, one of lion, an average."""

    def needed(**changes):
        changes = {f"train.{key}": value for key, value in changes.items()}
        config = resolve(tiny_config(**changes, **{"model.hidden_sizes": (10**6, 10**6)}))
        with pytest.raises(UsageError, match=r" take ([\d,]+) GiB") as caught:
            check_sizes(config, models.build(config, SHAPE), SHAPE, 1, 40, streamed=False)
        text = str(caught.value)
        assert (", their average and the state of" in text) == ("train.ema_decay" in changes)
        return int(text.partition(" take ")[2].partition(" ")[0].replace(",", ""))

    copy = needed(optimizer="sgd") / 3
    assert needed() == pytest.approx(5 * copy, rel=1e-3)
    assert needed(ema_decay=0.9) == pytest.approx(6 * copy, rel=1e-3)
    assert needed(optimizer="lion") == pytest.approx(4 * copy, rel=1e-3)


def test_reports_name_the_settings_that_are_not_the_papers(tiny_config):
    changes = {"train.optimizer": "lion", "train.clip_norm": 3.0, "train.ema_decay": 0.9}
    config = resolve(tiny_config(**changes, **{"evaluations.use_ema": True}))
    found = with_differences(config)["differences"]
    assert found["train.optimizer"] == ["lion", "adam"]
    assert found["train.clip_norm"] == [3.0, 0.0]
    assert found["train.ema_decay"] == [0.9, 0.0]
    assert found["evaluations.use_ema"] == [True, False]


def test_a_loaded_run_is_the_average_where_asked(run, tiny_config, tmp_path):
    config = resolve(tiny_config(**RUN))
    _, fresh = _fresh(config)
    state = read_step(run / "checkpoints", 8, fresh)
    for asked, expected in ((None, state), (False, state), (True, averaged(state))):
        loaded = sfvae_jax.load(run, use_ema=asked)
        jax.tree.map(np.testing.assert_array_equal, loaded.params, expected.params)
        assert loaded.config.evaluations.use_ema is bool(asked)
    images = data.load(config.data, config.evaluations.part)
    expected = measure(trained_model(config, loaded.model, averaged(state), images))["metrics"]
    assert loaded.measure(images) == pytest.approx(expected, rel=1e-5)

    plain_config = plain(config)
    for value, asked in ((0.35, True), (0.0, False)):
        workdir = tmp_path / str(value)
        shutil.copytree(run, workdir)
        plain_config["train"]["ema_decay"] = value
        plain_config["evaluations"]["use_ema"] = asked
        (workdir / "config.json").write_text(json.dumps(plain_config))
    recorded = sfvae_jax.load(tmp_path / "0.35")
    jax.tree.map(np.testing.assert_array_equal, recorded.params, state.average.params)
    with pytest.raises(UsageError, match="this run keeps none") as caught:
        sfvae_jax.load(tmp_path / "0.0", use_ema=True)
    assert "\n" not in str(caught.value)


def test_a_prior_that_floats_is_that_of_the_loaded_parameters(tiny_config, tmp_path, monkeypatch):
    """An evaluation of the parameters does not give the average its prior."""
    monkeypatch.setattr(evaluate, "draw", lambda *unused: None)
    changes = {"objective.name": "constant_variance", "train.ema_decay": 0.9, "train.steps": 2}
    changes |= {"evaluations.steps": (), "evaluations.names": ("kl_divergence",)}
    train(tiny_config(**changes), tmp_path / "run")
    priors = {}
    for use_ema in (False, True):
        config = tiny_config(**changes, **{"evaluations.use_ema": use_ema})
        evaluate.evaluate(config, tmp_path / "run")
        results = json.loads((tmp_path / "run" / "results.json").read_text())
        priors[use_ema] = np.asarray(results["prior_stddev"])
        digest = results["checkpoint"]
        for asked in (False, True):
            asked_config = resolve(tiny_config(**changes, **{"evaluations.use_ema": asked}))
            found = recorded_prior(Workdir(tmp_path / "run"), asked_config, digest)
            assert (found is not None) == (asked == use_ema)
    assert np.abs(priors[True] - priors[False]).max() > 1e-4
