"""The posteriors of FLOW, Section 4: diagonal, full covariance, planar flows, IAF.

FLOW (Pavesi's notes) describes the four and gives no results; configs/architectures.py has its
decoder of sequences. Here they are compared on statically binarised MNIST with the network of GAPS
(Cremer, Li and Duvenaud: 784-200-200-50, ELU). GAPS prints lower bounds for the diagonal and the
full-covariance posterior and for its own flow with an auxiliary variable, the fifth posterior here.
The KL divergence is annealed linearly over the first tenth of the steps (FLOW Eq. 13), or held
above free bits (Eq. 14), or neither. In FLOW all images share the parameters of planar flows
(posterior.amortized_flow=false); other runs take them from the encoder.

Presets:
    (none)  60,000 digits, 400 epochs in batches of 100 (GAPS follows Burda et al.: 3,280 epochs
            and a falling learning rate).
    laptop  4,000 of the embedded digits, m = 10, 4,000 steps.

The binarisation is drawn by this library; GAPS uses Larochelle's.
"""

from __future__ import annotations

from collections.abc import Callable

import ml_collections

from sfvae_jax.config import base_config
from sfvae_jax.runs.published import with_setting

PRESETS = ("laptop",)
POSTERIORS = ("diagonal", "full_covariance", "planar", "iaf", "auxiliary_flow")
FREE_BITS = 0.25  # nats of each dimension


def get_config(preset: str = "") -> ml_collections.ConfigDict:
    """Returns the setting above, or a preset of it."""
    config = base_config(preset, PRESETS)
    config.data.name = "mnist"
    config.data.binarization = "static"
    config.model.latent_size = 50
    config.model.hidden_sizes = (200, 200)
    config.model.activation = "elu"
    config.model.initializer = "glorot_uniform"
    config.posterior.name = "diagonal"
    config.likelihood.name = "bernoulli"
    config.objective.name = "sampling"
    config.objective.beta_schedule = "linear"
    config.train.steps = 240_000
    config.objective.beta_steps = 24_000
    config.train.batch_size = 100
    config.train.steps_per_call = 200
    config.train.log_every = 200
    config.train.checkpoint_every = 10_000
    config.evaluations.names = ("lower_bound", "iwae_bound", "kl_divergence", "reconstruction")
    config.evaluations.lower_bound.num_samples = 100
    config.evaluations.iwae_bound.num_samples = 5000
    config.evaluations.batch_size = 20
    config.published = with_setting(_published(), config)
    if preset == "laptop":
        config.data.name = "mnist_5k"
        config.data.num_test = 1000
        config.model.latent_size = 10
        config.train.steps = 4000
        config.objective.beta_steps = 400
        config.train.checkpoint_every = 2000
        config.evaluations.lower_bound.num_samples = 20
        config.evaluations.iwae_bound.num_samples = 200
        config.evaluations.batch_size = 100
    return config.lock()


def sweep(add: Callable[..., None], preset: str = "") -> None:
    """Adds the annealed posteriors with five seeds; then free bits, and neither, with three."""
    for posterior in POSTERIORS:
        for seed in range(5):
            add(seed=seed, **{"posterior.name": posterior})
    for seed in range(5):
        add(seed=seed, **{"posterior.name": "planar", "posterior.amortized_flow": False})
    # Correlated dimensions form one group, whose floor is the sum of their floors.
    floors = {
        "diagonal": FREE_BITS,
        "full_covariance": FREE_BITS * get_config(preset).model.latent_size,
    }
    not_annealed = {"objective.beta_schedule": "constant"}
    for seed in range(3):
        for posterior, floor in floors.items():
            changes = {"posterior.name": posterior, "objective.free_bits": floor}
            add(seed=seed, **changes, **not_annealed)
        add(seed=seed, **not_annealed)


def _published() -> ml_collections.ConfigDict:
    """Returns L_VAE[q] and log p(x) of GAPS Table 2 (q_FFG, q_Flow) and Table 10."""
    table = {
        "diagonal": (-92.57, -89.80),
        "auxiliary_flow": (-91.79, -88.94),
        "full_covariance": (-92.05, -89.28),
    }
    return ml_collections.ConfigDict(
        {
            "source": "GAPS, Tables 2 and 10 (its IWAE or AIS bound beside iwae_bound)",
            "num_runs": 1,
            "setting": {
                "data": {"name": "mnist", "binarization": "static"},
                "model": {"latent_size": 50, "activation": "elu"},
                "train": {"batch_size": 100},
            },
            "rows": {
                posterior: {
                    "where": {
                        "objective": {"name": "sampling", "free_bits": 0.0},
                        "posterior": {"name": posterior},
                    },
                    "lower_bound": {"end": (bound, None)},
                    "iwae_bound": {"end": (log_p, None)},
                }
                for posterior, (bound, log_p) in table.items()
            },
        }
    )
