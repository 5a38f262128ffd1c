"""Training with the log evidence instead of a lower bound: BACK, Section 4.2.

The paper derives the log evidence of a decoder that is linear around each code (Eqs. 16 and 26). It
notes that one may maximise it instead of the ELBO, since it does not contain posterior variances,
and proves that both have the same stationary points as long as the decoder is locally linear. It
does not train with it. Here the networks of mnist_bilbo.py with the Gaussian likelihood of
mnist_baggins.py are trained with it (`log_evidence`), with the linearised ELBO and learned
variances (`linearized`, Eq. 17) and with the ELBO (`sampling`).

How well they agree is measured in nats on test images:

    linearized_log_evidence   what `log_evidence` maximises
    posterior_covariance_gap  by how much `linearized` is below it (Eq. 18)
    log_evidence_test         log p(x) by AIS, which uses neither the encoder nor the tangent
    linearized_full_covariance_bound_test
                              the ELBO of the posterior that the tangent implies (Eq. 25), a bound
                              for any decoder, however curved

Presets:
    (none)  two latents, all of MNIST, 200 epochs in batches of 300, as in the paper's experiments.
    laptop  4,000 of the embedded digits, batches of 100, 4,000 steps: minutes on 2 CPU cores.

What the paper leaves open, and what is chosen here: everything except networks, batches, epochs,
optimiser and the likelihood's variance T = I, which are those of its Section 7.
"""

from __future__ import annotations

from collections.abc import Callable

import ml_collections

from sfvae_jax.config import base_config
from sfvae_jax.runs.published import with_setting

PRESETS = ("laptop",)
OBJECTIVES = ("log_evidence", "linearized", "sampling")
LATENT_SIZES = (2, 10)


def get_config(preset: str = "") -> ml_collections.ConfigDict:
    """Returns the paper's networks and data, or a preset of them."""
    config = base_config(preset, PRESETS)
    config.data.name = "mnist"
    config.model.latent_size = 2
    config.model.hidden_sizes = (200, 200, 200, 200)
    config.model.initializer = "glorot_uniform"
    config.posterior.stddev = "softplus"
    config.likelihood.variance = 1.0
    config.objective.name = "log_evidence"
    config.train.steps = 40_000
    config.train.batch_size = 300
    config.train.steps_per_call = 200
    config.train.log_every = 200
    config.train.checkpoint_every = 4000
    config.evaluations.names = ("stationarity", "reconstruction", "lower_bound", "inference_gaps")
    gaps = config.evaluations.inference_gaps
    gaps.parts = ("test",)
    gaps.num_images = 100
    gaps.families = ()
    gaps.num_simulated = 20
    gaps.annealing.num_chains = 20
    gaps.annealing.num_temperatures = 500
    config.published = with_setting(
        {"source": "BACK, Section 4.2 (no numbers)", "num_runs": 1, "rows": {}}, config
    )
    if preset == "laptop":
        config.data.name = "mnist_5k"
        config.data.num_test = 1000
        config.train.steps = 4000
        config.train.batch_size = 100
        config.train.checkpoint_every = 2000
        gaps.num_images = 20
        gaps.num_samples = 1000
        gaps.num_simulated = 5
        gaps.annealing.num_temperatures = 200
    return config.lock()


def sweep(add: Callable[..., None], preset: str = "") -> None:
    """Adds three objectives, two latent sizes and three seeds."""
    for latent_size in LATENT_SIZES:
        for seed in range(3):
            for objective in OBJECTIVES:
                add(seed=seed, **{"objective.name": objective, "model.latent_size": latent_size})
