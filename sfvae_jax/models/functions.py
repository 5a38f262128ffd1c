"""Turns a model's decoder into what objectives take: a function of one latent."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from sfvae_jax.models.mlp import ACTIVATIONS, Mlp
from sfvae_jax.models.spec import Model
from sfvae_jax.models.vae import OUTPUT_ACTIVATIONS, Vae
from sfvae_jax.objectives import DenseOutput

# Names of the modules of a model that together are its decoder.
DECODER_PARTS = ("decoder", "decoder_scales")


def decoder_function(model: Model, variables: Any, batch_size: int = 64) -> Callable[[Array], Any]:
    """Returns the decoder with these variables: a function from one latent [m] to p(x|z).

    The function returns the parameters of p(x|z), as `model.decode` does. If the decoder is fully
    connected and its output is the mean of a Gaussian, the function is an `objectives.DenseOutput`
    for batches of `batch_size` examples.
    """
    if (
        isinstance(model, Vae)
        and isinstance(model.decoder, Mlp)
        and model.likelihood_spec.squared_error
    ):
        return _dense_output(model, model.decoder, variables["params"]["decoder"], batch_size)
    return lambda z: model.apply(variables, z, method="decode")


def forced_decoder_function(model: Model, variables: Any) -> Callable[[Array, Array], Any] | None:
    """Returns the decoder with teacher forcing: it is fed the example x that it scores.

    Args:
        model: a model, or any module with the same methods.
        variables: the model's variables.

    Returns:
        `model.decode_given` as a function of one latent [m] and x. It is None if the decoder is
        not fed x, because `decode` then scores every x.
    """
    if not getattr(model, "teacher_forced", False):
        return None
    return lambda z, x: model.apply(variables, z, x, method="decode_given")


def cast_decoder_function(
    model: Model, variables: Any, dtype: str
) -> Callable[[Array], Any] | None:
    """Returns the decoder of `decoder_function`, computed in `dtype`; None if that is float32."""
    if dtype == "float32":
        return None
    # BatchNorm's moments keep their dtype: a variance with few bits would scale inexactly.
    params = jax.tree.map(lambda leaf: leaf.astype(dtype), variables["params"])
    decode = decoder_function(model, {**variables, "params": params})
    return lambda z: decode(z.astype(jnp.dtype(dtype)))


def _dense_output(model: Vae, mlp: Mlp, params: Any, batch_size: int) -> DenseOutput:
    last = f"Dense_{len(mlp.sizes) - 1}"
    inner = Mlp(mlp.sizes[:-1], mlp.activation, mlp.initializer, mlp.lowering)
    inner_params = {"params": {name: value for name, value in params.items() if name != last}}

    def hidden(z: Array) -> Array:
        z = z / model.latent_scale
        if not mlp.sizes[:-1]:
            return z
        outputs: Any = inner.apply(inner_params, z)
        return ACTIVATIONS[mlp.activation](outputs)

    return DenseOutput(
        hidden,
        params[last]["kernel"],
        params[last]["bias"],
        tuple(model.data_shape),
        batch_size,
        OUTPUT_ACTIVATIONS[model.output_activation],
        _relu_layers(model, mlp, params),
    )


def _relu_layers(model: Vae, mlp: Mlp, params: Any) -> list[tuple[Array, Array]] | None:
    """Returns kernel and bias of each layer before the last one, if they have ReLU."""
    if mlp.activation != "relu" or len(mlp.sizes) < 2:
        return None
    dense = [params[f"Dense_{number}"] for number in range(len(mlp.sizes) - 1)]
    layers = [(layer["kernel"], layer["bias"]) for layer in dense]
    (first, bias), *others = layers
    return [(first / model.latent_scale, bias), *others]
