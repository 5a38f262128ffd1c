"""A model as objectives see it: plain functions that already hold its parameters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from jax import Array

from sfvae_jax import models


class Functions(NamedTuple):
    """The functions of a model.

    Attributes:
        encode: maps x to a posterior.
        decode: maps a latent [m] to the likelihood's parameters.
        decoder_params: the decoder's own parameters.
        tangent_decode: the decoder whose Jacobian is taken; None means `decode`.
        forced_decode: maps a latent and an example x to the parameters that score x, for decoders
            of sequences that are fed x (teacher forcing); None means `decode`, which ignores x.
    """

    encode: Callable[[Array], Any]
    decode: Callable[[Array], Any]
    decoder_params: Any
    tangent_decode: Callable[[Array], Array] | None = None
    forced_decode: Callable[[Array, Array], Any] | None = None

    def decode_given(self, x: Array) -> Callable[[Array], Any]:
        """Returns the decoder that scores the example x, a function of a latent [m]."""
        forced_decode = self.forced_decode
        if forced_decode is None:
            return self.decode
        return lambda z: forced_decode(z, x)


def model_functions(
    model: models.Model,
    params: Any,
    batch_stats: Any,
    jacobian_dtype: str = "float32",
    batch_size: int = 64,
) -> Functions:
    """Returns the functions of a model with these parameters and BatchNorm's moments, if any.

    Args:
        model: the networks.
        params: the parameters of these networks.
        batch_stats: the moments that BatchNorm uses; empty without BatchNorm.
        jacobian_dtype: dtype in which the decoder's Jacobian is computed.
        batch_size: number of examples that share the parameters in one call.
    """
    variables = {**params, "batch_stats": batch_stats} if batch_stats else params
    return Functions(
        encode=lambda x: model.apply(variables, x, method="encode"),
        decode=models.decoder_function(model, variables, batch_size),
        decoder_params=params["params"]["decoder"],
        tangent_decode=models.cast_decoder_function(model, variables, jacobian_dtype),
        forced_decode=models.forced_decoder_function(model, variables),
    )
