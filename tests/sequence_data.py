"""The groups `data` of sequences, and what is loaded with them."""

import pytest

from sfvae_jax import data
from sfvae_jax.config import base_config
from sfvae_jax.errors import UsageError


def group(name, **changes):
    config = base_config().data
    config.update({"name": name, **changes})
    return config


def texts(config, part="train"):
    language = data.language(config)
    return [language.write(example) for example in data.load(config, part)]


def refused(config, part="train"):
    with pytest.raises(UsageError) as caught:
        data.load(config, part)
    assert "\n" not in str(caught.value)
    return str(caught.value)
