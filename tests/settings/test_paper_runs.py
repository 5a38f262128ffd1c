"""Which runs make which table or figure of a paper, and what is published beside them."""

import pytest
from helpers import ROOT, load_config

from launch.configs import load_sweep
from sfvae_jax import objectives
from sfvae_jax.runs.files.config_file import flatten, plain
from sfvae_jax.runs.published import meets, with_differences


def _sweep(name, preset=""):
    return load_sweep(f"{ROOT}/configs/{name}.py:{preset}")


def test_the_published_times_of_a_step():
    note = load_config("celeba").get_config().published.note
    assert "14.5 hours for the sampling-free objective and 9.7 for sampling" in note
    assert [round(hours * 3600 / 10**3) for hours in (14.5, 9.7)] == [52, 35]  # ms a step
    assert "52 and 35 ms a step" in note


def test_both_data_sets_of_the_linearisations_table_are_published():
    module = load_config("jacobian_quality")
    rows = module.get_config().published.rows
    assert rows.sampling_celeb_a.covariance_error_squared_linearized.end == (297.0, None)
    chairs = module.get_config("chairs")
    row = chairs.published.rows.sampling_chairs
    found = [row[f"variance_correlation_{k}"].end[0] for k in ("linearized", *module.COUNTS)]
    assert found == [0.975, 0.686, 0.819, 0.914, 0.953, 0.966, 0.976, 0.988]
    assert not any(key.startswith("covariance") for key in row)
    with chairs.unlocked():
        chairs.objective.name = "sampling"
        chairs.data.name = "folder:/images/rendered_chairs"
    assert meets(flatten(plain(chairs)), flatten(row.where.to_dict()))
    assert with_differences(chairs)["differences"] == {}


def test_every_gamma_of_the_schedule_has_its_constant_control():
    runs = _sweep("gamma_schedule")
    constant = [r for r in runs if r["objective.gamma_schedule"] == "constant"]
    found = sorted((run["objective.gamma"], run["seed"]) for run in constant)
    gammas = sorted(objectives.FIGURE_1_GAMMAS)
    assert found == [(gamma, seed) for gamma in gammas for seed in range(3)]
    scheduled = [run for run in runs if run not in constant]
    assert [set(run) for run in scheduled] == 3 * [{"seed", "objective.gamma_schedule"}]


def test_the_bend_is_weighted_in_both_linearised_objectives_and_never_in_sampling():
    runs = _sweep("mnist_bend", "laptop")
    found = [(run["objective.name"], run["objective.bend_weight"]) for run in runs]
    weighted = [(n, w) for n in ("sampling_free", "linearized") for w in (0.0, 1.0, 10.0)]
    assert found == 3 * [("sampling", 0.0), *weighted]
    assert [run["seed"] for run in runs] == [seed for seed in range(3) for _ in range(7)]


def test_all_latents_are_traversed_beside_the_beta_vae_and_the_autoencoder():
    for name, latents, beta in (("celeba", 32, 10.0), ("chairs3d", 16, 4.0)):
        for preset in ("", "laptop"):
            assert load_config(name).get_config(preset).evaluations.pictures.num_dimensions == 0
        shown = [r for r in _sweep(name) if r.get("model.latent_size") == latents]
        found = {(run["objective.name"], run.get("objective.beta")) for run in shown}
        assert found == {
            ("sampling_free", None),
            ("sampling", None),
            ("sampling", beta),
            ("autoencoder", None),
        }
        laptop = {
            (run["objective.name"], run.get("objective.beta")) for run in _sweep(name, "laptop")
        }
        assert {("sampling", 4.0), ("autoencoder", None)} < laptop


def test_what_is_published_of_the_two_stage_vae():
    published = load_config("rae").get_config().published
    first, _, second = published.note.partition("its interpolations")
    assert "20.31 / 62.54 / 42.04" in first
    assert "18.35 / 89.06 / 47.54" in second


@pytest.mark.parametrize("preset", ["figure3", "laptop_figure3"])
def test_figure_3_of_the_autoencoders(preset):
    """Left half: samples in training, over the steps; right half: weights of the KL divergence."""
    module = load_config("rae")
    config = module.get_config(preset)
    assert config.data.name == {"figure3": "mnist"}.get(preset, "mnist_5k")
    assert config.evaluations.names == ("frechet",)
    assert len(config.evaluations.steps) == 10
    assert config.evaluations.steps[-1] == config.train.steps
    runs = _sweep("rae", preset)
    left = [run["objective.num_samples"] for run in runs if run["objective.beta"] == 1.0]
    right = [run["objective.beta"] for run in runs if run["objective.num_samples"] == 1]
    assert left == list(module.FIGURE_3_SAMPLES)
    assert sorted(right) == list(module.FIGURE_3_BETAS)
    assert len(runs) == len(left) + len(right) - 1
    assert not any("objective.num_samples" in run for run in _sweep("rae"))
