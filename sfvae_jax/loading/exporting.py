"""Files of a trained model that other programs read."""

from __future__ import annotations

import importlib.util
import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import jax
import numpy as np
from flax.traverse_util import flatten_dict
from jax import Array, export

from sfvae_jax.errors import RunError, UsageError
from sfvae_jax.evaluation import TrainedModel
from sfvae_jax.likelihoods import SequenceLikelihood
from sfvae_jax.paths import local_path, shown
from sfvae_jax.runtime.files import write_bytes

# The platforms on which an exported decoder runs.
PLATFORMS = ("cpu", "cuda", "tpu")


def write_model(trained: TrainedModel, latent_size: int, path: str | os.PathLike) -> Path:
    """Writes the parameters (.npz) or the decoder (.stablehlo) of a model; returns the path.

    Raises:
        UsageError: if the path has another ending, or is not that of a local file.
        RunError: if it cannot be written.
    """
    given = Path(path)
    make = _FORMATS.get(given.suffix)
    if make is None:
        raise UsageError(
            f"cannot export {given.name!r}: the name must end with {' or '.join(_FORMATS)}"
        )
    target = local_path(path, "path")
    content = make(trained, latent_size)
    try:
        write_bytes(target, content)
    except OSError as error:
        raise RunError(f"cannot write {shown(target)}: {error.strerror}") from error
    return target


def _parameters(trained: TrainedModel, latent_size: int) -> bytes:
    """Returns all variables, by names such as "params/decoder/Dense_0/kernel"."""
    del latent_size
    arrays = {name: np.asarray(x) for name, x in flatten_dict(trained.params, sep="/").items()}
    stream = io.BytesIO()
    np.savez(stream, **cast(Any, arrays))
    return stream.getvalue()


def _decoder(trained: TrainedModel, latent_size: int) -> bytes:
    """Returns the function from latents [n, m] to E[x|z], or to the rules of the likeliest x."""

    def decode(z: Array) -> Array:
        if trained.language is None:
            return trained.reconstruct(trained.params, z) / trained.data_scale
        likelihood = cast(SequenceLikelihood, trained.likelihood)
        return likelihood.mode(trained.decode(trained.params, z))

    if importlib.util.find_spec("flatbuffers") is None:  # JAX writes with it
        raise UsageError(
            "an export to .stablehlo requires flatbuffers; install it with"
            " pip install 'sfvae_jax[export]'"
        )
    z = jax.ShapeDtypeStruct((*export.symbolic_shape("n"), latent_size), np.float32)
    with jax.default_matmul_precision("float32"):  # as in `Run.decode`
        exported = export.export(jax.jit(jax.vmap(decode)), platforms=PLATFORMS)(z)
    return bytes(exported.serialize())


_FORMATS: dict[str, Callable[[TrainedModel, int], bytes]] = {
    ".npz": _parameters,
    ".stablehlo": _decoder,
}
