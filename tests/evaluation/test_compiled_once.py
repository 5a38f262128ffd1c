"""Evaluations at named steps share what the first has compiled."""

import dataclasses

import jax
import numpy as np
import pytest

from sfvae_jax import data, models
from sfvae_jax.config import resolve
from sfvae_jax.evaluation import EVALUATIONS
from sfvae_jax.measuring.step_measures import StepMeasures
from sfvae_jax.measuring.trained import trained_model
from sfvae_jax.runs.workdir import Workdir
from sfvae_jax.training.state import create_state, make_optimizer

# The rest needs sequences, or draws pictures alone.
NAMES = tuple(
    name for name, entry in EVALUATIONS.items() if entry.examples != "sequences" and entry.measures
)
SMALL = {
    "data.num_valid": 20,
    "data.num_test": 20,
    "evaluations.iwae_bound.num_samples": 3,
    "evaluations.stationarity.num_images": 4,
    "evaluations.optimal_decoder.num_images": 4,
    "evaluations.optimal_decoder.num_components": 30,
    "evaluations.optimal_decoder.chunk_size": 10,
    "evaluations.marginal_likelihood.num_samples": 4,
    "evaluations.marginal_likelihood.chunk_size": 2,
    "evaluations.jacobian_quality.sample_counts": (2,),
    "evaluations.jacobian_quality.num_truth": 20,
    "evaluations.jacobian_quality.num_images": 3,
    "evaluations.jacobian_quality.chunk_size": 10,
    "evaluations.bias.num_samples": 2,
    "evaluations.bend.num_images": 4,
    "evaluations.bend.num_samples": 2,
    "evaluations.gradient_noise.estimators": ("sampling", "sampling_free"),
    "evaluations.gradient_noise.num_draws": 20,
    "evaluations.gradient_noise.num_images": 4,
    "evaluations.gradient_noise.num_reference_samples": 2,
    "evaluations.inference_gaps.num_images": 4,
    "evaluations.inference_gaps.num_samples": 4,
    "evaluations.inference_gaps.num_simulated": 2,
    "evaluations.inference_gaps.families": ("diagonal",),
    "evaluations.inference_gaps.annealing.num_temperatures": 3,
    "evaluations.inference_gaps.annealing.num_chains": 2,
    "evaluations.inference_gaps.annealing.num_leapfrog_steps": 1,
    "evaluations.inference_gaps.annealing.pilot_chains": 2,
    "evaluations.inference_gaps.local.num_samples": 2,
    "evaluations.inference_gaps.local.check_every": 2,
    "evaluations.inference_gaps.local.max_steps": 4,
    "evaluations.generated.features": "classifier",
    "evaluations.generated.classifier_steps": 2,
    "evaluations.generated.num_samples": 20,
}


def _run(config, folder):
    config = resolve(config)
    splits = data.Splits(config.data)
    images = splits.examples("train")
    model = models.build(config, images.shape[1:])
    state = create_state(config, model, make_optimizer(config.train), images.shape[1:])
    return model, state, images, StepMeasures(config, model, Workdir(folder), splits, images)


def _at(state, step):
    params = jax.tree.map(lambda leaf: leaf * (1.0 + 0.1 * step), state.params)
    return dataclasses.replace(state, params=params, step=np.int32(step))


def test_nothing_is_compiled_again_at_later_steps(tiny_config, tmp_path, compiled):
    """gamma changes with the step, and is not compiled in."""
    changes = {
        **SMALL,
        "objective.name": "sampling_free",
        "evaluations.names": NAMES,
        "evaluations.steps": (3, 5, 8),
        "objective.gamma_schedule": "linear",
    }
    _, state, _, measurements = _run(tiny_config(**changes), tmp_path)
    with compiled() as names:
        measurements.take(_at(state, 3))
    assert len(names) > len(NAMES)
    with compiled() as names:
        for step in (5, 8):
            measurements.take(_at(state, step))
    assert names == []
    history = Workdir(tmp_path).read_results()["history"]
    for name in ("lower_bound", "sampling_free_elbo", "gamma", "constant_variance_gap"):
        assert len({metrics[name] for metrics in history.values()}) == 3, name


def test_runs_of_all_seeds_share_the_programs_of_evaluations(tiny_config, tmp_path, empty_cache):
    """Another seed finds those that draw noise in the compilation cache. The prior is fixed."""
    names = ("inference_gaps", "marginal_likelihood", "gradient_noise")
    for seed in (1, 2):
        changes = {**SMALL, "evaluations.names": names, "evaluations.steps": (3,)}
        (folder := tmp_path / str(seed)).mkdir()
        _, state, _, measurements = _run(tiny_config(seed=seed, **changes), folder)
        with empty_cache() as found:
            measurements.take(_at(state, 3))
    assert found["hits"] > 0
    assert found["misses"] == 0


def test_a_program_is_compiled_again_if_what_is_compiled_into_it_changes(tiny_config, tmp_path):
    """A floating prior differs between checkpoints."""
    config = resolve(tiny_config(**{"evaluations.names": ("kl_divergence",)}))
    model, state, images, _ = _run(config, tmp_path)
    programs = {}
    trained = trained_model(config, model, state, images, programs=programs)
    found = {}
    for prior in (1.0, 0.5, 1.0):
        own = dataclasses.replace(trained, prior_stddev=prior)
        code = lambda params, x, key: own.encode(params, x).kl_to_prior(own.prior())  # noqa: E731
        found.setdefault(prior, []).append(own.map_images(code, key="divergence").mean())
        fresh = dataclasses.replace(own, programs={})
        assert found[prior][-1] == fresh.map_images(code).mean()
        assert len(programs) == 1
    assert found[1.0][0] == found[1.0][1] != pytest.approx(found[0.5][0])
