"""Molecules by grammar, searched in latent space (needs RDKit): RAE Section 6.2, Figure 2.

SMILES, as rules of a grammar (GrammarVAE, Kusner et al., 2017) or as characters (CharacterVAE),
with the networks of configs/equations.py in GrammarVAE's larger sizes. Bayesian optimisation then
searches the latent space for a molecule with a high penalised logP. (RAE says logP; the score is
that of GrammarVAE, whose settings it adopts.) Needs RDKit: pip install 'sfvae_jax[molecules]'.

    GRAE   data.tokens grammar, objective rae_l2 (or rae_gp)
    GVAE   data.tokens grammar, objective sampling
    CVAE   data.tokens characters, objective sampling
    and, new here, data.tokens grammar, objective linearized, which draws no samples

Presets:
    (none)  a file of SMILES, --config.data.name=molecules:FILE, one per line, such as ZINC's
            250,000: GrammarVAE's sizes, 100 epochs in batches of 500.
    laptop  the embedded list of well-known molecules, smaller sizes, 1,500 steps: minutes on 2
            CPU cores, with no download. The model memorises them.

What the paper leaves open is chosen as in configs/equations.py. Without a preset the search takes
the most frequent valid molecule of 500 draws. The grammar is this library's own, for SMILES with
all elements (docs/results/rae.md has results with the smaller one, data.elements=common). It cannot
express that an opened ring must be closed again, so a decoded sentence need not be a molecule.
The sweep's rae_gp takes one random probe per molecule (objective.num_probes=1) instead of the exact
penalty, whose Jacobian has a row for each of tens of thousands of logits.
"""

from __future__ import annotations

from collections.abc import Callable

import ml_collections

from sfvae_jax.config import base_config
from sfvae_jax.experiments import sentences
from sfvae_jax.runs.published import with_setting

PRESETS = ("laptop",)
STEPS_PER_EPOCH = 489  # ZINC's 249,455 molecules without the 5,000 held out, by 500


def get_config(preset: str = "") -> ml_collections.ConfigDict:
    """Returns the paper's setting, or a preset of it."""
    config = base_config(preset, PRESETS)
    config.data.name = "molecules:zinc.smi"
    config.data.skip_corrupt = True
    sentences.use_grammar_vae(config, num_attempts=500)
    config.model.latent_size = 56
    config.model.hidden_sizes = (435,)
    config.model.decoder_sizes = (501, 501, 501)
    config.train.learning_rate = 1e-3
    config.train.batch_size = 500
    config.train.steps = 100 * STEPS_PER_EPOCH
    config.train.steps_per_call = 163
    config.train.log_every = 163
    config.train.checkpoint_every = 10 * STEPS_PER_EPOCH
    config.published = with_setting(_published(), config)
    if preset == "laptop":
        config.evaluations.bayesian_optimization.decoding = "mode"
        config.data.name = "molecules"
        config.data.num_test = 30
        config.model.latent_size = 16
        config.model.hidden_sizes = (64,)
        config.model.decoder_sizes = (64, 64, 64)
        config.train.batch_size = 50
        config.train.steps = 1500
        config.train.steps_per_call = 50
        config.train.log_every = 50
        config.train.checkpoint_every = 500
    return config.lock()


def sweep(add: Callable[..., None], preset: str = "") -> None:
    """Adds the models of Figure 2, and those that it lacks.

    For the preset laptop, linearized has batches of 5, a tenth of the usual size, because its steps
    cost many times as much.
    """
    for tokens, objective in sentences.MODELS:
        few = preset == "laptop" and objective == "linearized"
        batch = {"train.batch_size": 5} if few else {}
        probes = {"objective.num_probes": 1} if objective == "rae_gp" else {}
        add(**{"data.tokens": tokens, "objective.name": objective, **batch, **probes})
    add(**{"objective.name": "sampling", "objective.beta": 1.0})


_FIGURE_2 = {
    ("grammar", "rae_l2"): ((0.72, 0.09), (-5.62, 0.71), (3.74, 3.52, 3.14)),
    ("grammar", "sampling"): ((0.28, 0.04), (-7.89, 1.90), (3.13, 3.10, 2.37)),
    ("characters", "sampling"): ((0.16, 0.04), (-25.64, 6.35), (2.75, 0.82, 0.63)),
}


def _published() -> ml_collections.ConfigDict:
    setting = {
        "model": {"name": "grammar", "latent_size": 56, "decoder_sizes": (501, 501, 501)},
        "train": {"batch_size": 500},
    }
    return sentences.figure_2("RAE, Figure 2 (upper left and right)", setting, _FIGURE_2)
