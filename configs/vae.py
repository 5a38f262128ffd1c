"""One's own images or arrays: network, likelihood and batches are chosen by the data.

  python -m sfvae_jax.main --config=configs/vae.py --config.data.name=folder:images/
  python -m sfvae_jax.main --config=configs/vae.py:sampling --config.data.name=npz:my.npz

data.name is a folder of pictures, a file of arrays x_train and x_test, any image set of TFDS, or
the embedded digits (the default). Each of these keys is chosen when the run begins, unless it is
set; the log tells the choices, config.json keeps them, and `sfvae_jax show vae.py
--config.data.name=...` shows them beforehand.

    data.channels, data.image_size, data.pad_to
                        pictures of several sizes become 64 x 64, as do those that have more than
                        1,024 values and are not square or larger; smaller ones with so many values
                        are padded to 32 or 64. Grey ones get three channels if others have three.
    data.num_valid, data.num_test
                        about a tenth of the examples each, 1,000 at most, where the data have no
                        such split.
    model.name, model.channels, model.hidden_sizes
                        conv for square images with more than 1,024 values, else mlp.
    model.latent_size   a sixteenth of the number of values, from 2 to 32.
    likelihood.name     bernoulli for values 0 and 1, discretized_logistic for images in bytes,
                        else gaussian; but gaussian if the objective accepts no other, or takes the
                        decoder's tangents.
    likelihood.variance (gaussian) a tenth of the variance of the data.
    model.output_activation
                        sigmoid for gaussian, else identity.
    train.batch_size, train.learning_rate
                        64 (all if there are fewer than 128 examples); 1e-3 for mlp, 5e-4 for conv.
    train.validate_every
                        500; a fifth of train.steps if these are fewer.

Training ends after 10,000 steps, or when the loss on the valid split has not fallen for 10
validations, 500 steps apart; the model with the lowest is measured, on the test split. A step of
sampling_free takes time in proportion to the latents. With pictures of 64 x 64 it needs an
accelerator; on a CPU, take the preset sampling, or --config.data.image_size=32 and fewer latents.

Presets:
    (none)     sampling_free, the sampling-free objective.
    OBJECTIVE  any other objective (`sfvae_jax list objectives`), such as sampling, iwae,
               linearized, bilbo, rae_gp or wae_mmd, with the posterior and the likelihood that suit
               it.
    laptop     500 steps on 1,000 examples, 8 latents and smaller layers: a minute on 2 CPU cores
               for the digits. Data with fewer examples need --config.data.num_examples=0.
"""

from collections.abc import Callable

import ml_collections

from sfvae_jax import left_open
from sfvae_jax.config import base_config
from sfvae_jax.experiments import own_data
from sfvae_jax.objectives import OBJECTIVES

PRESETS = ("laptop", *OBJECTIVES)


def get_config(preset: str = "") -> ml_collections.ConfigDict:
    """Returns the configuration for one's own data, or a preset of it."""
    config = base_config(preset, PRESETS)
    config.data.name = "mnist_5k"
    config.objective.name = preset if preset in OBJECTIVES else "sampling_free"
    config.train.steps = 10_000
    config.train.steps_per_call = 50
    config.train.log_every = 100
    config.train.checkpoint_every = 500
    config.train.validate_every = own_data.VALIDATE_EVERY
    config.train.stop_patience = 10
    config.evaluations.names = ("collapse", "reconstruction", "lower_bound", "pictures")
    left_open.leave_open(config, own_data.KEYS, own_data.choose)
    if preset == "laptop":
        config.data.num_examples = 1000
        config.model.hidden_sizes = (128, 64)
        config.model.latent_size = 8
        config.train.steps = 500
        config.train.validate_every = 100
        config.train.stop_patience = 0
        config.train.checkpoint_every = 100
    return config.lock()


def sweep(add: Callable[..., None]) -> None:
    """Adds an objective of each family."""
    for objective in ("sampling_free", "sampling", "rae_gp"):
        add(**{"objective.name": objective})
