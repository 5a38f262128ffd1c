"""Every config's `laptop` preset from training to pictures, at toy size."""

import json

import pytest
from helpers import ROOT, load_config

from sfvae_jax.evaluate import evaluate
from sfvae_jax.train import train

SMALL = {
    "data.num_examples": 24,
    "data.num_test": 12,
    "model.latent_size": 2,
    "model.hidden_sizes": (8,),
    "train.steps": 2,
    "train.batch_size": 8,
    "train.steps_per_call": 2,
    "train.log_every": 1,
    "train.checkpoint_every": 2,
    "evaluations.steps": (),
    "evaluations.batch_size": 12,
    "evaluations.num_pictured": 3,
    "evaluations.generated.num_samples": 12,
    "evaluations.generated.classifier_steps": 2,
    "evaluations.generated.gmm_components": 2,
    "evaluations.generated.second_stage_hidden_sizes": (4,),
    "evaluations.generated.second_stage_steps": 2,
    "evaluations.generated.second_stage_batch_size": 8,
    "evaluations.pictures.num_traversed": 1,
    "evaluations.pictures.num_values": 3,
    "evaluations.pictures.num_interpolations": 2,
    "evaluations.pictures.num_steps": 3,
    "evaluations.pictures.num_samples": 3,
    "evaluations.pictures.num_neighbours": 2,
    "evaluations.pictures.manifold_side": 4,
    "evaluations.marginal_likelihood.num_samples": 4,
    "evaluations.marginal_likelihood.num_images": 4,
}
# What XLA compiles in the least time.
SIXTEEN = {"data.image_size": 16, "model.channels": (2, 2, 4), "model.lowering": "native"}
FEW_SEARCHED = {
    "model.decoder_sizes": (8, 8, 8),
    "evaluations.bayesian_optimization.num_trials": 2,
    "evaluations.bayesian_optimization.num_iterations": 1,
    "evaluations.bayesian_optimization.batch_size": 4,
    "evaluations.bayesian_optimization.num_training": 10,
    "evaluations.sequence_samples.num_samples": 12,
}
CHANGES = {
    "architectures": {
        "model.decoder_sizes": (8, 8),
        "evaluations.lower_bound.num_samples": 2,
        "evaluations.iwae_bound.num_samples": 4,
        "evaluations.sequence_samples.num_samples": 12,
    },
    "celeba": SIXTEEN,
    "chairs3d": SIXTEEN,
    "equations": FEW_SEARCHED,
    "gamma_schedule": {
        "train.steps": 5,
        "train.steps_per_call": 1,
        "objective.gamma_boundaries": (1, 2, 3, 4),
        "evaluations.steps": (2, 4),
    },
    "gradient_noise": {
        "evaluations.gradient_noise.num_draws": 20,
        "evaluations.gradient_noise.num_images": 4,
        "evaluations.gradient_noise.num_reference_samples": 2,
    },
    "inference_gaps": {
        "data.num_examples": 12,
        "model.decoder_sizes": (8,),
        "posterior.hidden_sizes": (4,),
        "evaluations.inference_gaps.num_images": 3,
        "evaluations.inference_gaps.num_samples": 6,
        "evaluations.inference_gaps.num_simulated": 0,
        "evaluations.inference_gaps.families": ("diagonal",),
        "evaluations.inference_gaps.annealing.num_chains": 2,
        "evaluations.inference_gaps.annealing.num_temperatures": 3,
        "evaluations.inference_gaps.local.num_samples": 2,
        "evaluations.inference_gaps.local.check_every": 2,
        "evaluations.inference_gaps.local.max_steps": 4,
        "evaluations.inference_gaps.local.hidden_sizes": (4,),
    },
    "jacobian_quality": {
        "evaluations.jacobian_quality.sample_counts": (5, 10),
        "evaluations.jacobian_quality.num_truth": 40,
        "evaluations.jacobian_quality.num_images": 3,
        "evaluations.jacobian_quality.chunk_size": 10,
    },
    "mnist_baggins": {},
    "mnist_bend": {},
    "mnist_bilbo": {},
    "mnist_collapse": {},
    "mnist_estimators": {"evaluations.iwae_bound.num_samples": 4},
    "mnist_log_evidence": {
        "evaluations.inference_gaps.num_images": 2,
        "evaluations.inference_gaps.num_samples": 4,
        "evaluations.inference_gaps.num_simulated": 0,
        "evaluations.inference_gaps.annealing.num_chains": 2,
        "evaluations.inference_gaps.annealing.num_temperatures": 3,
    },
    "mnist_manifold": {},
    "mnist_posteriors": {"evaluations.iwae_bound.num_samples": 4},
    "molecules": FEW_SEARCHED,
    "rae": {
        "data.num_valid": 12,
        "data.pad_to": 0,
        "data.image_size": 16,
        "model.channels": (2, 4),
        "model.lowering": "native",
        "train.validate_every": 1,
    },
    "vae": {"data.num_valid": 12, "train.validate_every": 1},
}
OF_ALL = {"training.png", "reconstructions.png"}
OF_IMAGES = {"latent_plane.png", "manifold.png"}
SEQUENCES = ("architectures", "equations", "molecules")
OF_EVALUATION = {
    "bayesian_optimization": {"search.png"},
    "bend": {"bend.md", "bend.png"},
    "bias": {"bias.png"},
    "gradient_noise": {"gradient_noise.png"},
    "inference_gaps": {"inference_gaps.md", "inference_gaps.png", "posteriors.png"},
    "jacobian_quality": {"jacobian_quality.png", "taylor.png"},
    # of two latents, as all models here
    "sequence_pictures": {"sentences.png", "interpolations.png"},
    "pictures": {"traversals_0.png", "interpolations.png", "neighbours.png", "manifold_wide.png"},
}


# A deterministic model of sequences without values.
DETERMINISTIC_OF_SEQUENCES = {
    "collapse_fraction",
    "kl_divergence",
    "lower_bound",
    "value_error",
    "valid_prior",
    "unique_prior",
    "novel_prior",
}
_GAPS = ("approximation_gap", "amortization_gap", "inference_gap", "linearized_gain")
# An encoder without variances.
OF_A_POINT = {
    "reconstruction_error_at_sample",
    "lower_bound",
    "iwae_effective_sample_size_test",
    *(
        f"{name}{error}"
        for name in (
            "posterior_covariance_gap",
            "diagonal_covariance_gap",
            "encoder_overfitting",
            *(f"{name}_test" for name in ("lower_bound", "iwae_bound", *_GAPS)),
        )
        for error in ("", "_standard_error")
    ),
}
NOT_APPLICABLE = {
    "equations": DETERMINISTIC_OF_SEQUENCES,
    "gradient_noise": {"training_seconds"},  # the speed of two steps tells nothing
    "architectures": {"nll_without_constant"},  # a likelihood of sequences
    "molecules": DETERMINISTIC_OF_SEQUENCES,
    "mnist_baggins": {"lower_bound"},  # its objective has no density p(x|z)
    "mnist_bilbo": {"nll_without_constant"},  # a Bernoulli likelihood
    "mnist_log_evidence": OF_A_POINT,
    "mnist_posteriors": {"nll_without_constant"},
    # a deterministic model
    "rae": {
        "reconstruction_error_at_sample",
        "frechet_classifier_distance_prior",
        "prd_classifier_f8_prior",
        "prd_classifier_f1_8_prior",
    },
}


def test_no_config_is_left_out():
    assert sorted(CHANGES) == sorted(path.stem for path in (ROOT / "configs").glob("*.py"))


# Other presets run everything that these run.
SLOW = (
    "architectures",
    "celeba",
    "chairs3d",
    "equations",
    "gamma_schedule",
    "gradient_noise",
    "inference_gaps",
    "jacobian_quality",
    "mnist_bend",
    "mnist_bilbo",
    "mnist_collapse",
    "mnist_estimators",
    "mnist_log_evidence",
    "mnist_manifold",
    "mnist_posteriors",
    "molecules",
    "rae",
    "vae",
)


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[pytest.mark.slow] * (name in SLOW)) for name in CHANGES],
)
def test_the_laptop_preset_runs_to_its_pictures(name, tmp_path):
    if name == "molecules":
        pytest.importorskip("rdkit")
    config = load_config(name).get_config("laptop")
    config.update_from_flattened_dict(SMALL | CHANGES[name])
    train(config, tmp_path)
    metrics = evaluate(config, tmp_path)
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["metrics"] == metrics
    assert results["published"].get("source") or name == "vae"
    noisy = {key for key in metrics if key.startswith(("equivalent_samples", "search_best"))}
    assert set(results["not_applicable"]) - noisy == NOT_APPLICABLE.get(name, set())
    drawn = {path.name for path in (tmp_path / "figures").iterdir()}
    of_kind = set() if name in SEQUENCES else OF_IMAGES
    expected = (OF_ALL | of_kind).union(
        *(OF_EVALUATION.get(key, ()) for key in config.evaluations.names)
    )
    assert expected <= drawn
    sampled = any(picture.startswith("samples_") for picture in drawn)
    assert sampled == ("pictures" in config.evaluations.names)
