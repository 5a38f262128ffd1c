"""A decoder whose parameters are not trained (GAPS 5.2.1 and 6.2)."""

from __future__ import annotations

from typing import Any

import jax

from sfvae_jax.models import DECODER_PARTS


def without_gradient(params: Any) -> Any:
    """Returns the same parameters, but no gradient reaches those of the decoder."""
    networks = params["params"]
    return {"params": networks | jax.lax.stop_gradient(decoder_of(networks))}


def decoder_of(networks: dict[str, Any]) -> dict[str, Any]:
    """Selects the parameters of the decoder from those of all networks."""
    return {name: networks[name] for name in DECODER_PARTS if name in networks}
