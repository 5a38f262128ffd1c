"""Learned, constant and BAGGINS likelihood variances: BACK Section 7.2, Figures 6, 10, 11, 14, 15.

A VAE with Gaussian likelihood and constant posterior variance is trained with BILBO. The
likelihood's variance T is learned for each pixel (`bilbo` with likelihood
`heteroscedastic_gaussian`), the identity (`gaussian`, variance 1), or set by the batch's
information (`bilbo_baggins`, information factor tau). The data are scaled by lambda (`data.scale`):
with T = I the samples depend on lambda, with BAGGINS they do not.

With learned and unbounded T training does not converge, in the paper as here: the loss oscillates,
and when it is no longer finite the run stops with an error and keeps its last checkpoint.
--config.likelihood.min_variance=1e-3 bounds T.

Presets:
    (none)  the paper's setting: m = 100, 400 epochs in batches of 300 (200 epochs for m = 2).
    laptop  4,000 of the embedded digits, m = 2, batches of 100, 2,000 steps.

What the paper leaves open, and what is chosen here: the values of lambda (0.1, 1, 10) and tau
(1/20, 1/5, 1, 5), most of which the paper only gives in its figures; and layers and initialisation,
as in mnist_bilbo.py. The figures show samples and scatter plots without numbers, so there are no
published values.
"""

from __future__ import annotations

from collections.abc import Callable

import ml_collections

from sfvae_jax.config import base_config
from sfvae_jax.runs.published import with_setting

PRESETS = ("laptop",)
SCALES = (0.1, 1.0, 10.0)
TAUS = (0.05, 0.2, 1.0, 5.0)


def get_config(preset: str = "") -> ml_collections.ConfigDict:
    """Returns the paper's setting, or a preset of it."""
    config = base_config(preset, PRESETS)
    config.data.name = "mnist"
    config.model.latent_size = 100
    config.model.hidden_sizes = (200, 200, 200, 200)
    config.model.initializer = "glorot_uniform"
    config.posterior.variance = 1.0
    config.likelihood.variance = 1.0
    config.objective.name = "bilbo_baggins"
    config.objective.tau = 0.2
    config.train.steps = 80_000
    config.train.batch_size = 300
    config.train.steps_per_call = 200
    config.train.log_every = 200
    config.train.checkpoint_every = 4000
    config.evaluations.names = ("reconstruction", "kl_divergence", "lower_bound")
    figures = {
        "source": "BACK, Figures 6, 10, 11, 14, 15 (pictures, no numbers)",
        "num_runs": 1,
        "rows": {},
    }
    config.published = with_setting(figures, config)
    if preset == "laptop":
        config.data.name = "mnist_5k"
        config.data.num_test = 1000
        config.model.latent_size = 2
        config.train.steps = 2000
        config.train.batch_size = 100
        config.train.checkpoint_every = 1000
    return config.lock()


def sweep(add: Callable[..., None], preset: str = "") -> None:
    """Adds Figure 6 with 100 latents and Figures 10, 11, 14 and 15 with two."""
    for latent_size, steps in ((100, 80_000), (2, 40_000)):
        size = {"model.latent_size": latent_size}
        if preset != "laptop":
            size["train.steps"] = steps
        learned = {"objective.name": "bilbo", "likelihood.name": "heteroscedastic_gaussian"}
        add(**learned, **size)
        for scale in SCALES:
            add(**{"objective.name": "bilbo", "data.scale": scale, **size})
            add(**{"objective.name": "bilbo_baggins", "data.scale": scale, **size})
        for tau in TAUS:
            if tau != 0.2:  # which the runs over scales have
                add(**{"objective.name": "bilbo_baggins", "objective.tau": tau, **size})
