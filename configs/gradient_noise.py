"""The noise of gradients with and without samples, and what it costs: SFVAE, Section 4.3.

The paper trains with a gradient that has no noise of samples, and does not measure that noise. Here
it is measured for all objectives that estimate the ELBO: sampled ones with 1 and 16 samples and
with an antithetic pair, sticking the landing, the linearised ones without noise or with 4 probes,
and the sampled one less the noise of the linearised decoder (`control_variate`), with all tangents
and with 1 and 4 probes. The networks are those of the paper's Table 3 (784-200-200-50 and its
reverse, tanh). A model is trained by `sampling` and another by `sampling_free`. Each is measured
before training, after 2, 10, 25 and 50% of the steps, and at the end:

    relative_gradient_variance_..., gradient_bias_...
                        noise and bias of every estimator's gradient at the model's parameters, for
                        encoder and decoder (docs/gradient_noise.md says how)
    lower_bound, marginal_likelihood, collapse_fraction
                        on held-out images
    training_seconds    the wall time up to there, by which the bounds after equal seconds are read

Presets:
    (none)  the two models on MNIST, 10,000 steps in batches of 100.
    table4  the networks of SFVAE's Table 4 (784-512-256-200, ReLU, sigmoid outputs, He normal),
            5,000 steps.
    bounds  without measures of the noise: models trained by all objectives, three seeds of each, on
            MNIST and Omniglot.
    laptop  4,000 of the embedded digits, m = 20, 2,000 steps, fewer draws, models trained by all
            objectives, measured after 0, 10, 25, 50 and 75%: minutes on 2 CPU cores.

Batches, steps and learning rate (Adam, 1e-3) are chosen here; gamma is 0.5, the paper's canonical
value, and the variance of the likelihood 0.5, as in its experiments.
"""

from __future__ import annotations

from collections.abc import Callable

import ml_collections

from sfvae_jax.config import base_config
from sfvae_jax.runs.published import with_setting

PRESETS = ("table4", "bounds", "laptop")
METHODS = (
    {"objective.name": "sampling"},
    {"objective.name": "sampling", "objective.num_samples": 2, "objective.antithetic": True},
    {"objective.name": "sampling", "objective.num_samples": 16},
    {"objective.name": "sticking_the_landing"},
    {"objective.name": "sampling_free"},
    {"objective.name": "linearized"},
    {"objective.name": "linearized", "objective.num_probes": 4},
    {"objective.name": "control_variate"},
    {"objective.name": "control_variate", "objective.num_probes": 1},
    {"objective.name": "control_variate", "objective.num_probes": 4},
)
TRAINED_BY = ({"objective.name": "sampling"}, {"objective.name": "sampling_free"})
ESTIMATORS = (
    "sampling",
    "sampling:antithetic=true,num_samples=2",
    "sampling:16",
    "sticking_the_landing",
    "sampling_free",
    "linearized",
    "linearized:4",
    "control_variate",
    "control_variate:1",
    "control_variate:4",
    "control_variate:antithetic=true,num_samples=2",
)


def get_config(preset: str = "") -> ml_collections.ConfigDict:
    """Returns the setting above, or a preset of it."""
    config = base_config(preset, PRESETS)
    config.data.name = "mnist"
    config.data.image_size = 28
    config.model.latent_size = 50
    config.model.hidden_sizes = (200, 200)
    config.model.activation = "tanh"
    config.likelihood.variance = 0.5
    config.objective.name = "sampling_free"
    config.objective.gamma = 0.5
    config.train.steps = 10_000
    config.train.batch_size = 100
    config.train.steps_per_call = 100
    config.train.log_every = 100
    config.train.checkpoint_every = 2500
    config.evaluations.names = (
        "gradient_noise",
        "lower_bound",
        "marginal_likelihood",
        "collapse",
        "kl_divergence",
        "reconstruction",
        "training_time",
    )
    config.evaluations.steps = (0, 200, 1000, 2500, 5000)
    config.evaluations.step_pictures = False
    config.evaluations.gradient_noise.estimators = ESTIMATORS
    config.evaluations.lower_bound.num_samples = 10
    config.evaluations.marginal_likelihood.num_samples = 500
    config.evaluations.marginal_likelihood.num_images = 1000
    config.published = with_setting(
        {"source": "SFVAE, Section 4.3 (no numbers)", "num_runs": 1, "rows": {}}, config
    )
    if preset == "table4":
        config.model.latent_size = 200
        config.model.hidden_sizes = (512, 256)
        config.model.activation = "relu"
        config.model.output_activation = "sigmoid"
        config.model.initializer = "he_normal"
        config.train.steps = 5000
        config.train.steps_per_call = 20
        config.train.log_every = 20
        config.evaluations.steps = (0, 100, 500, 1250, 2500)
    if preset == "bounds":
        names = config.evaluations.names
        config.evaluations.names = tuple(name for name in names if name != "gradient_noise")
    if preset == "laptop":
        config.data.name = "mnist_5k"
        config.data.num_test = 1000
        config.model.latent_size = 20
        config.train.steps = 2000
        config.train.steps_per_call = 50  # so that step 200 has its time
        config.train.log_every = 50
        config.train.checkpoint_every = 1000
        config.evaluations.steps = (0, 200, 500, 1000, 1500)
        config.evaluations.gradient_noise.num_draws = 20
        config.evaluations.gradient_noise.num_images = 20
        config.evaluations.marginal_likelihood.num_samples = 200
        config.evaluations.marginal_likelihood.num_images = 200
    return config.lock()


def sweep(add: Callable[..., None], preset: str = "") -> None:
    """Adds a model trained with samples and one without; presets add other models.

    `bounds` adds all objectives with three seeds, on MNIST and Omniglot, and `laptop` all of them
    once.
    """
    is_bounds = preset == "bounds"
    methods = METHODS if is_bounds or preset == "laptop" else TRAINED_BY
    data_sets = ({"data.name": "mnist"}, {"data.name": "omniglot"}) if is_bounds else ({},)
    for data in data_sets:
        for seed in range(3 if is_bounds else 1):
            for method in methods:
                add(seed=seed, **data, **method)
