"""Neural architectures as sequences, under four posteriors: FLOW Section 4.

Each layer is a type and a value. The decoder is an LSTM whose first input, hidden state and cell
state come from the latent; it is fed the sequence itself in training and its own output afterwards
(FLOW Algorithms 1, 2). The KL divergence is annealed over the first quarter of the steps (FLOW Eq.
13), or held above free bits (Eq. 14), or neither. FLOW describes the decoder and the posteriors,
but gives neither sizes nor results; the encoder, a bidirectional LSTM, and the length of the
annealing are chosen here. In FLOW all sequences share the parameters of planar flows
(posterior.amortized_flow=false); other runs take them from the encoder.

Presets:
    (none)  10,000 networks drawn by a generator, 32 latents, 20,000 steps. Networks of your own:
            --config.data.name=architectures:FILE reads JSON lines of [[layer type, value], ...],
            and enas:FILE networks of ENAS with their accuracies; data.num_test are held out.
    laptop  4,000 of them, 8 latents, 3,000 steps: minutes on 2 CPU cores, with no download.
"""

from __future__ import annotations

from collections.abc import Callable

import ml_collections

from sfvae_jax.config import base_config
from sfvae_jax.runs.published import with_setting

PRESETS = ("laptop",)
POSTERIORS = ("diagonal", "full_covariance", "planar", "iaf")
FREE_BITS = 0.25  # nats of each dimension


def get_config(preset: str = "") -> ml_collections.ConfigDict:
    """Returns the setting above, or a preset of it."""
    config = base_config(preset, PRESETS)
    config.data.name = "architectures"
    config.data.num_test = 1000
    config.model.name = "recurrent"
    config.model.latent_size = 32
    config.model.hidden_sizes = (128,)
    config.model.decoder_sizes = (128, 128)
    config.posterior.name = "diagonal"
    config.likelihood.name = "sequence"
    config.likelihood.variance = 0.01
    config.objective.name = "sampling"
    config.objective.beta_schedule = "linear"
    config.train.steps = 20_000
    config.train.batch_size = 100
    config.train.steps_per_call = 50
    config.train.log_every = 50
    config.train.checkpoint_every = 2000
    config.evaluations.names = (
        "collapse",
        "kl_divergence",
        "lower_bound",
        "iwae_bound",
        "sequence_reconstruction",
        "sequence_samples",
        "sequence_pictures",
    )
    config.evaluations.lower_bound.num_samples = 20
    config.evaluations.iwae_bound.num_samples = 200
    config.evaluations.batch_size = 100
    if preset == "laptop":
        config.data.num_examples = 4000
        config.data.num_test = 500
        config.model.latent_size = 8
        config.model.hidden_sizes = (64,)
        config.model.decoder_sizes = (64, 64)
        config.train.steps = 3000
        config.train.checkpoint_every = 1000
    config.objective.beta_steps = config.train.steps // 4
    config.published = with_setting(
        {"source": "FLOW, Section 4 (no results)", "num_runs": 1, "rows": {}},
        get_config() if preset == "laptop" else config,
    )
    return config.lock()


def sweep(add: Callable[..., None], preset: str = "") -> None:
    """Adds the annealed posteriors, then free bits, and neither; three seeds each."""
    free_bits = FREE_BITS * get_config(preset).model.latent_size
    cures = (
        *({"posterior.name": posterior} for posterior in POSTERIORS),
        {"posterior.name": "planar", "posterior.amortized_flow": False},
        {"objective.beta_schedule": "constant", "objective.free_bits": FREE_BITS},
        # Correlated dimensions form one group, whose floor is the sum of their floors.
        {
            "objective.beta_schedule": "constant",
            "objective.free_bits": free_bits,
            "posterior.name": "full_covariance",
        },
        {"objective.beta_schedule": "constant"},
    )
    for changes in cures:
        for seed in range(3):
            add(seed=seed, **changes)
