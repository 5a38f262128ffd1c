"""The error of a sampling-free step, against the same step by its formulas in double precision."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.implementations import ours, plain
from benchmarks.measuring.cases import Case
from sfvae_jax.errors import UsageError

# Of the gradient's norm: many times the rounding of float32, and far less than a wrong formula.
MOST_ERROR = 1e-3

# What multiplies the layers, and what the tangents are computed in.
VARIANTS = (
    ("float32", "float32"),
    ("tensorfloat32", "float32"),
    ("tensorfloat32", "bfloat16"),
)


def reference(case: Case) -> tuple[float, Any]:
    """Computes loss and gradient on the CPU in float64, without the library's shortcuts.

    Raises:
        UsageError: if JAX has been told to use no CPU.
    """
    try:
        cpu = jax.devices("cpu")[0]
    except RuntimeError as error:
        raise UsageError(
            "the reference is computed on the CPU, which JAX_PLATFORMS leaves out; unset it, or add"
            " cpu, as in JAX_PLATFORMS=cuda,cpu"
        ) from error
    params, x = jax.device_get((case.params(), case.batch()))
    with jax.enable_x64(True), jax.default_device(cpu):
        loss = jax.jit(jax.value_and_grad(plain.make_loss(case.config(), case.data_shape)))
        noise = jnp.zeros((case.batch_size, case.latent_size))  # the objective draws none
        params, x = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), (params, x))
        value, gradient = jax.device_get(loss(params, noise, x))
    return float(value), gradient


def errors(case: Case) -> list[dict[str, Any]]:
    """Compares the library's step on the first device with the reference, for all `VARIANTS`.

    Args:
        case: of the objective "sampling_free"; its precision is not used.

    Returns:
        Dictionaries with model, latent_size, batch_size; matmul_precision and jacobian_dtype, the
        settings of a config; loss, in nats per example; loss_error, the difference from the
        reference; gradient_error, the norm of the gradient's error by that of the reference; and
        is_correct, which is None for fewer bits than float32.

    Raises:
        UsageError: as `reference` does.
    """
    expected, gradient = reference(case)
    scale = _norm(gradient)
    found = []
    for precision, dtype in VARIANTS:
        config = case.config()
        with config.unlocked():
            config.train.matmul_precision = precision
            config.objective.jacobian_dtype = dtype
        step = jax.jit(ours.value_and_grad(config, case.data_shape))
        value, own = jax.device_get(step(case.params(), jax.random.key(2), case.batch()))
        error = _norm(jax.tree.map(lambda a, b: np.float64(a) - b, own, gradient)) / scale
        exact = precision == dtype == "float32"
        found.append(
            {
                "model": case.model,
                "latent_size": case.latent_size,
                "batch_size": case.batch_size,
                "matmul_precision": precision,
                "jacobian_dtype": dtype,
                "loss": float(value),
                "loss_error": float(value) - expected,
                "gradient_error": error,
                "is_correct": bool(error <= MOST_ERROR) if exact else None,
            }
        )
    return found


def _norm(tree: Any) -> float:
    return float(np.sqrt(sum(np.square(np.float64(leaf)).sum() for leaf in jax.tree.leaves(tree))))
