"""Config files: their presets, sweeps and published numbers."""

import pytest
from helpers import ROOT, load_config

from sfvae_jax import objectives
from sfvae_jax.config import (
    base_config,
    resolve,
    validate,
)
from sfvae_jax.errors import UsageError
from sfvae_jax.evaluation.generation.features import inception
from sfvae_jax.runs.files.config_file import flatten

CONFIGS = sorted(path.stem for path in (ROOT / "configs").glob("*.py"))


@pytest.fixture
def with_inception(monkeypatch):
    """Lets configs pass that name the weights of the FID's network, which are not here."""
    monkeypatch.setattr(inception, "check_weights", lambda path: None)


@pytest.mark.parametrize("preset", ["", "laptop"])
@pytest.mark.parametrize("name", CONFIGS)
def test_every_config_has_every_group_and_preset(name, preset, with_inception):
    config = load_config(name).get_config(preset)
    validate(config)
    assert config.is_locked
    assert config.preset == preset
    base = flatten(base_config().to_dict())
    missing = [
        key
        for key in base
        if not key.startswith("published") and key not in flatten(config.to_dict())
    ]
    assert not missing
    assert config.published.get("source") or name == "vae"
    with pytest.raises(AttributeError):
        config.data.nmae = "mnist"


@pytest.mark.parametrize("name", CONFIGS)
def test_an_unknown_preset_lists_the_known_ones(name):
    with pytest.raises(UsageError, match="unknown preset 'lptop'.*laptop"):
        load_config(name).get_config("lptop")


def test_collapse_is_the_papers_setting():
    config = load_config("mnist_collapse").get_config()
    assert config.model.latent_size == 200
    assert config.model.hidden_sizes == (512, 256)
    assert config.data.num_examples == 1000
    assert (config.train.steps, config.train.batch_size) == (1000, 0)
    assert config.train.learning_rate == 1e-3
    assert config.likelihood.variance == 0.5
    assert config.objective.gamma == 0.5
    assert config.evaluations.steps == (10, 25, 50, 100, 200, 500, 1000)
    assert (config.model.output_activation, config.model.initializer) == ("sigmoid", "he_normal")
    assert (config.posterior.stddev, config.objective.log_det_weight) == ("exp", 1.0)
    options = config.evaluations.collapse
    assert (options.epsilon, options.delta) == (0.05, 0.01)


def test_collapse_sweep_is_the_papers_rows():
    """Ten seeds of sampling, three of each sampling-free objective; ten of both as `laptop`."""
    module, runs = load_config("mnist_collapse"), []
    module.sweep(lambda **changes: runs.append(changes))
    found = [
        (run["objective.name"], run.get("objective.log_det_weight", 1.0), run["seed"])
        for run in runs
    ]
    expected = [("sampling", 1.0, seed) for seed in range(10)]
    expected += [("sampling_free", weight, seed) for weight in (1.0, "gamma") for seed in range(3)]
    assert found == expected
    runs.clear()
    module.sweep(lambda **changes: runs.append(changes), "laptop")
    pairs = {(run["objective.name"], run["seed"]) for run in runs}
    assert len(runs) == len(pairs) == 20
    assert {name for name, _ in pairs} == {"sampling", "sampling_free"}


@pytest.mark.parametrize("name", CONFIGS)
def test_every_run_of_every_sweep_is_valid_and_no_two_alike(name, with_inception):
    module, runs = load_config(name), []
    module.sweep(lambda **changes: runs.append(changes))
    assert len({repr(sorted(run.items())) for run in runs}) == len(runs)
    for run in runs:
        config = module.get_config()
        config.update_from_flattened_dict(run)
        resolve(config)


def test_sweeps_are_the_papers_tables():
    def count(name):
        runs = []
        load_config(name).sweep(lambda **changes: runs.append(changes))
        return len(runs)

    assert count("mnist_estimators") == 2 * 5 * (1 + 3 * 6)
    assert count("mnist_bilbo") == 2 * 5 * 3 + 3 * (2 + 8)
    assert count("mnist_baggins") == 2 * (1 + 2 * 3 + 3)
    assert count("mnist_posteriors") == 6 * 5 + 3 * 3
    assert count("jacobian_quality") == 2 * 3
    assert count("gamma_schedule") == 3 * (1 + 5)


def test_papers_settings():
    config = load_config("mnist_estimators").get_config()
    assert (config.model.hidden_sizes, config.model.activation) == ((200, 200), "tanh")
    assert (config.train.batch_size, config.likelihood.name) == (20, "gaussian")
    config = load_config("mnist_bilbo").get_config()
    assert (config.model.hidden_sizes, config.model.activation) == ((200,) * 4, "relu")
    assert (config.likelihood.name, config.model.latent_size) == ("bernoulli", 2)
    assert config.train.steps * config.train.batch_size == 200 * 60_000
    assert (config.train.batch_size, config.train.learning_rate) == (300, 1e-3)
    config = load_config("mnist_baggins").get_config()
    assert (config.likelihood.name, config.model.latent_size) == ("gaussian", 100)
    assert config.train.steps * config.train.batch_size == 400 * 60_000
    for name in ("jacobian_quality", "gamma_schedule"):
        config = load_config(name).get_config()
        assert (config.data.name, config.data.image_size) == ("celeb_a", 64)
        assert (config.model.name, config.model.latent_size) == ("conv", 16)
        assert (config.train.steps, config.train.learning_rate) == (10**6, 1e-4)
        assert config.likelihood.variance == 0.5
    assert config.evaluations.steps == tuple(range(40_000, 1_000_001, 40_000))
    boundaries = objectives.equal_boundaries(5, config.train.steps)
    assert set(boundaries) < set(config.evaluations.steps)


def test_published_tables_and_settings_of_the_image_experiments():
    """Spot checks against the papers: one number of each table and data set, by hand."""
    rae = load_config("rae")
    rows = rae.get_config().published.rows
    assert rows.rae_l2_mnist.fid_gmm.end == (8.69, None)
    assert rows.sampling_cifar10.fid_prior.end == (106.37, None)
    assert rows.sampling_cifar10.fid_second_stage.end == (109.77, None)
    assert rows.autoencoder_celeb_a.fid_gaussian.end == (127.85, None)
    assert rows.wae_mmd_celeb_a.prd_f1_8_gmm.end == (0.69, None)
    assert rows.wae_mmd_celeb_a.prd_f8_gmm.end == (0.77, None)
    for preset, latents, steps in (("", 16, 50_000), ("cifar10", 128, 40_000)):
        config = rae.get_config(preset)
        assert (config.model.latent_size, config.train.steps) == (latents, steps)
        assert (config.train.batch_size, config.train.learning_rate) == (100, 1e-3)
    faces = rae.get_config("celeba")
    assert faces.model.latent_size == 64
    assert faces.train.steps == 70 * faces.train.validate_every
    assert faces.train.validate_every % faces.train.steps_per_call == 0

    rows = load_config("celeba").get_config().published.rows
    assert rows.sampling_free.fid_prior["650000"] == (98.00, 1.79)
    assert rows.sampling.marginal_likelihood.end == (-7245.3, 0.1)
    chairs = load_config("chairs3d").get_config()
    assert chairs.published.rows.sampling_free.fid_prior.end == (51.96, 1.75)
    assert (chairs.train.steps, chairs.train.learning_rate) == (1_000_000, 1e-4)


def test_every_run_that_a_caption_prints_is_published():
    published = load_config("mnist_bilbo").get_config().published
    learned = published.rows.sampling.lower_bound
    assert learned.runs == (-136.5, -135.0, -134.4)  # BACK Figures 2 and 5
    assert learned.end == pytest.approx((-135.3, 1.0817), abs=1e-4)
    assert published.rows.bilbo.lower_bound.end == (-134.3, None)
    assert "-136.5, -135.0, -134.4" in published.note
