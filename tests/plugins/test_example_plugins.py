"""The files of examples/plugins/: what each computes, and whole runs with them."""

import json
import logging
import math
import re
import shutil
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from helpers import ROOT, checkpoint_steps, make_tiny_config, records

from sfvae_jax import data, likelihoods, load, models, objectives, plugins, posteriors
from sfvae_jax.config import base_config, resolve
from sfvae_jax.errors import UsageError
from sfvae_jax.evaluate import evaluate
from sfvae_jax.evaluation import EVALUATIONS, measure_named
from sfvae_jax.train import train
from sfvae_jax.training.state import make_optimizer

pytestmark = pytest.mark.usefixtures("no_plugins")

FOLDER = ROOT / "examples/plugins"


@pytest.fixture
def spec():
    """Imports an example and returns the one spec that it registers."""
    return lambda name: plugins.import_plugins([str(FOLDER / f"{name}.py")])[0].specs[0]


def test_each_example_is_short():
    for path in FOLDER.glob("*.py"):
        code = [line for line in path.read_text().splitlines() if line.strip()]
        assert len(code) <= 50, path
        assert len({*FOLDER.glob("*.py")}) == 8


@pytest.mark.parametrize("alpha", [0.0, 0.5, 0.9])
def test_the_renyi_bound_is_exact_for_the_exact_posterior(spec, alpha):
    """With x = w z + noise of variance v, p(x) = N(0, w^2 + v) and every weight is p(x)."""
    info, w, v, x = spec("renyi_objective"), 1.5, 0.3, jnp.array([0.7])
    variance = v / (v + w**2)
    example = SimpleNamespace(
        rng=jax.random.key(0),
        x=x,
        posterior=posteriors.DiagonalGaussian(w * x / (w**2 + v), jnp.sqrt(variance) * jnp.ones(1)),
        decode=lambda z: w * z,
        likelihood=likelihoods.Gaussian(v),
        options=SimpleNamespace(alpha=alpha, num_samples=4),
    )
    expected = scipy.stats.norm(0.0, math.sqrt(w**2 + v)).logpdf(0.7)
    np.testing.assert_allclose(info.of_example(example), expected, rtol=1e-5)
    wrong = posteriors.DiagonalGaussian(jnp.array([0.2]), jnp.array([1.0]))
    example.posterior = wrong
    if not alpha:  # the importance-weighted bound, from the same samples
        bound = objectives.iwae_bound(
            example.rng, example.decode, x, wrong, example.likelihood, num_samples=4
        )
        np.testing.assert_allclose(info.of_example(example), bound, rtol=1e-5)


def test_the_laplace_likelihood_is_scipys(spec):
    laplace = spec("laplace_likelihood").build(SimpleNamespace(scale=0.3), None)
    x, mean = np.random.default_rng(0).random((2, 4, 3, 1))
    expected = scipy.stats.laplace(mean, 0.3).logpdf(x).sum()
    np.testing.assert_allclose(laplace.log_prob(x, mean), expected, rtol=1e-6)
    draws = laplace.sample(jax.random.key(0), jnp.full(20_000, 0.5))
    assert abs(np.mean(np.abs(draws - 0.5)) - 0.3) < 0.01


def test_the_logistic_posterior_is_scipys(spec):
    settings = SimpleNamespace(latent_size=2, smallest_scale=0.1)
    q = spec("logistic_posterior").build(settings, jnp.array([0.5, -1.0, 0.2, -3.0]), None)
    z, log_q = q.sample_and_log_prob(jax.random.key(1))
    np.testing.assert_allclose(q.scale, 0.1 + np.log1p(np.exp([0.2, -3.0])), rtol=1e-6)
    expected = scipy.stats.logistic(np.asarray(q.mean), np.asarray(q.scale)).logpdf(z).sum()
    np.testing.assert_allclose(log_q, expected, rtol=1e-5)


def test_the_rings_have_their_radii(spec):
    settings = base_config(plugins=[str(FOLDER / "rings_data.py")]).data
    settings.name = "rings"
    images = data.load(settings, "test")
    radii = data.load_labels(settings, "test")
    assert (images.shape, images.dtype) == ((200, 32, 32, 1), np.uint8)
    ink = images.sum(axis=(1, 2, 3)) / 255.0
    assert np.all(np.abs(ink / (2.0 * np.pi * settings.ring_width) - radii - 0.5) < 0.8)


def test_active_units_are_latents_that_move(spec):
    means = np.random.default_rng(0).normal(size=(500, 3)) * [1.0, 0.2, 0.05]
    trained = SimpleNamespace(map_images=lambda function, key: means)
    function = spec("active_units").function
    assert function(trained, SimpleNamespace(threshold=0.01)) == {"active_units": 2}
    assert function(trained, SimpleNamespace(threshold=0.5)) == {"active_units": 1}


def test_the_soft_sign_is_that_of_the_average_gradient():
    """Two steps by hand; its option is refused with another optimizer."""
    config = base_config(plugins=[str(FOLDER / "soft_sign_optimizer.py")])
    config.train.update(optimizer="soft_sign", softness=0.5, b1=0.8)
    optimizer, g = make_optimizer(config.train), {"w": jnp.array([0.3, -0.6])}
    state = optimizer.init(g)
    for scale in (1.0, 2.0):
        updates, state = optimizer.update(jax.tree.map(lambda x, s=scale: s * x, g), state, g)
    average = (0.8 * 0.2 * 1.0 + 0.2 * 2.0) / (1 - 0.8**2) * np.array([0.3, -0.6])
    np.testing.assert_allclose(updates["w"], -1e-3 * np.tanh(average / 0.5), rtol=1e-5)
    config.train.optimizer = "adam"
    told = "train.softness only applies to optimizer 'soft_sign'; train.optimizer is 'adam', so"
    with pytest.raises(UsageError, match=re.escape(told)):
        resolve(config)


def _named(*names):
    return tuple(str(FOLDER / f"{name}.py") for name in names)


IMAGES = {
    "plugins": _named("renyi_objective", "laplace_likelihood", "active_units"),
    "objective.name": "renyi",
    "objective.alpha": 0.25,
    "objective.num_samples": 3,
    "likelihood.name": "laplace",
    "likelihood.scale": 0.4,
    "evaluations.names": ("active_units", "lower_bound"),
    "evaluations.steps": (),
}
NETWORKS = {
    "plugins": _named("logistic_posterior", "residual_model", "rings_data"),
    "objective.name": "sampling",
    "posterior.name": "logistic",
    "posterior.smallest_scale": 0.01,
    "model.name": "residual",
    "model.width": 8,
    "model.num_blocks": 1,
    "data.name": "rings",
    "data.ring_width": 3.0,
    "evaluations.names": ("reconstruction", "lower_bound", "kl_divergence"),
    "evaluations.steps": (),
}


def _config(changes):
    config = make_tiny_config()
    config.unlock()
    config.update_from_flattened_dict(changes)
    return config.lock()


@pytest.mark.parametrize("changes", [IMAGES, NETWORKS], ids=["images", "networks"])
def test_a_run_is_trained_resumed_and_evaluated(changes, tmp_path, caplog):
    config, run = _config(changes), tmp_path / "run"
    train(config, run)
    whole = records(run)
    kept = json.loads((run / "config.json").read_text())
    assert kept["plugins"] == list(config.plugins)
    group, _, name = next(key for key in changes if key.endswith(("alpha", "width"))).partition(".")
    assert kept[group][name] == changes[f"{group}.{name}"]
    copies = sorted(path.read_bytes() for path in (run / "plugins").iterdir())
    assert copies == sorted((ROOT / name).read_bytes() for name in config.plugins)

    shutil.rmtree(run / "checkpoints" / "12")
    assert max(checkpoint_steps(run)) == 8
    train(config, run)
    without_times = [{k: v for k, v in r.items() if k != "steps_per_second"} for r in records(run)]
    assert without_times == [{k: v for k, v in r.items() if k != "steps_per_second"} for r in whole]

    loaded = load(run)
    x = data.load(loaded.config.data, "train")[:3]
    assert loaded.encode(x).mean.shape == (3, 4)
    assert loaded.reconstruct(x).shape == loaded.sample(0, 3).shape == x.shape

    metrics = evaluate(config, run)
    assert math.isfinite(metrics["lower_bound"])
    results = json.loads((run / "results.json").read_text())
    assert results["config"]["plugin_digests"] == kept["plugin_digests"]
    assert [
        r for r in caplog.records if r.levelno >= logging.WARNING and "plugin" in r.message
    ] == []
    if changes is NETWORKS:
        assert "has no KL divergence" in results["not_applicable"]["kl_divergence"]
        model = models.build(resolve(config), (32, 32, 1))
        example = jax.ShapeDtypeStruct((32, 32, 1), jnp.float32)
        tree = jax.eval_shape(lambda x: model.init(jax.random.key(0), x), example)
        encoder = (1024 * 8 + 8) + 2 * (8 * 8 + 8) + (8 * 8 + 8)  # 2 m = 8 outputs
        decoder = (4 * 8 + 8) + 2 * (8 * 8 + 8) + (8 * 1024 + 1024)
        assert models.count_parameters(tree["params"]) == encoder + decoder
    else:
        assert metrics["active_units"] in range(5)
        assert measure_named("active_units").digits == 0


def test_words_are_read_by_a_plugin(tmp_path, own_cache):
    (tmp_path / "words.txt").write_text("ab\naab\nb\nabba\nbb\na\n")
    config = base_config(plugins=_named("words_data"))
    config.data.update(name=f"words:{tmp_path}/words.txt", num_test=2, longest_word=8)
    config.model.update(name="grammar", hidden_sizes=(8,), latent_size=2)
    config.likelihood.name, config.objective.name = "categorical", "sampling"
    config.train.update(steps=2, batch_size=2)
    config.evaluations.names = ("lower_bound",)
    found = resolve(config)
    assert data.language(found.data).num_places == 8
    train(config, tmp_path / "run")
    assert math.isfinite(evaluate(config, tmp_path / "run")["lower_bound"])
    words = load(tmp_path / "run").sample(0, 5)
    assert all(set(word) <= set("ab ") for word in words)


def test_a_changed_plugin_is_told_and_an_evaluation_that_is_added_is_taken(tmp_path, caplog):
    path = tmp_path / "parts.py"
    path.write_text((FOLDER / "renyi_objective.py").read_text())
    changes = {**IMAGES, "plugins": (str(path),), "likelihood.name": "gaussian"}
    del changes["likelihood.scale"]
    changes["evaluations.names"] = ("lower_bound",)
    config = _config({**changes, "train.steps": 4})
    train(config, tmp_path / "run")
    evaluate(config, tmp_path / "run")
    assert "has changed since" not in caplog.text
    path.write_text(path.read_text() + "\n" + (FOLDER / "active_units.py").read_text())
    more = {**changes, "train.steps": 4, "evaluations.names": ("active_units",)}
    with caplog.at_level(logging.WARNING):
        metrics = evaluate(_config(more), tmp_path / "run")
    assert set(metrics) >= {"active_units", "lower_bound"}
    assert "parts.py has changed since this run began" in caplog.text
    train(_config(more), tmp_path / "run")
    assert len([*(tmp_path / "run" / "plugins").iterdir()]) == 2
    path.write_text((FOLDER / "renyi_objective.py").read_text())  # without the evaluation again
    kept = evaluate(_config({**more, "evaluations.names": ("reconstruction",)}), tmp_path / "run")
    assert "active_units" not in EVALUATIONS
    assert set(kept) >= {"lower_bound", "reconstruction_error"}
    assert "active_units" not in kept
