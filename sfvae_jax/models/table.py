"""The table of all models. To add a model, write its file and list its spec here."""

from __future__ import annotations

from sfvae_jax.models.convolutional.conv import CONV
from sfvae_jax.models.convolutional.conv_bn import CONV_BN
from sfvae_jax.models.convolutional.conv_elu import CONV_ELU
from sfvae_jax.models.grammar import GRAMMAR
from sfvae_jax.models.mlp import MLP
from sfvae_jax.models.recurrent import RECURRENT
from sfvae_jax.models.spec import ModelSpec

MODELS: dict[str, ModelSpec] = {
    spec.name: spec for spec in (MLP, CONV, CONV_BN, CONV_ELU, GRAMMAR, RECURRENT)
}
