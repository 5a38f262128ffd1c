"""The Wasserstein autoencoder, which penalises the discrepancy between its codes and N(0, I).

RAE is Ghosh et al., "From Variational to Deterministic Autoencoders".
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jax import Array

from sfvae_jax.objectives.deterministic.autoencoders import squared_error
from sfvae_jax.objectives.numerics.batch import batch_mean, example_keys, whole_batch
from sfvae_jax.objectives.numerics.checks import (
    ArgumentError,
    check_batch,
    check_one_for_each,
    check_scalar,
    check_shape,
)
from sfvae_jax.objectives.numerics.linear_algebra import matmul
from sfvae_jax.objectives.numerics.precision import normal_like, wide
from sfvae_jax.objectives.spec import Batch, Loss, ObjectiveInfo, is_code, is_squared_error

# Scales of the kernels of `maximum_mean_discrepancy`, in multiples of 2 m.
MMD_SCALES = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)


def wae_mmd_loss(
    rng: Array,
    decode: Callable[[Array], Array],
    x: Array,
    z: Array,
    *,
    weight: Array | float,
    axis_name: str | None = None,
) -> Array:
    """The loss of a Wasserstein autoencoder, with the MMD between its codes and N(0, I).

    mean_i |x_i - decode(z_i)|^2 + weight MMD^2(z, e),   e_i ~ N(0, I)

    (Tolstikhin et al., 2018, as in RAE Table 1.) See `maximum_mean_discrepancy`.

    Args:
        rng: key of the step; prior sample i of the whole batch is drawn from `fold_in(rng, i)`.
        decode: maps one latent [m] to a reconstruction shaped like an example.
        x: the batch, [B, ...].
        z: its codes, [B, m].
        weight: weight of the discrepancy.
        axis_name: axis over which the batch is shared; the discrepancy is that of the whole batch.

    Returns:
        A scalar per example, in squared units of x, the same on all devices.

    Raises:
        ArgumentError: if the shapes do not fit, or the whole batch is a single example.
    """
    check_batch("z", z)
    check_scalar("weight", weight)
    check_one_for_each("x", x, "codes", z)
    errors = jax.vmap(lambda x, z: squared_error(decode, x, z))(x, z)
    keys = example_keys(rng, z.shape[0], axis_name)
    like = jax.ShapeDtypeStruct(z.shape[1:], z.dtype)
    prior = jax.vmap(lambda key: normal_like(key, like))(keys)
    codes, prior = (whole_batch(sample, axis_name) for sample in (z, prior))
    return batch_mean(errors, axis_name) + wide(weight) * maximum_mean_discrepancy(codes, prior)


def maximum_mean_discrepancy(
    first: Array, second: Array, *, scales: Sequence[float] = MMD_SCALES
) -> Array:
    """An unbiased estimate of the squared MMD between two samples.

    sum_s [mean_{i != j} k_s(a_i, a_j) + mean_{i != j} k_s(b_i, b_j) - 2 mean_ij k_s(a_i, b_j)],
    k_s(a, b) = C / (C + |a - b|^2),   C = 2 m s

    The kernels are inverse multiquadratics with several scales around 2 m, the expected squared
    distance of two draws from N(0, I) (Tolstikhin et al., 2018). For two samples of the same
    distribution the estimate has mean 0, so that single values may be negative.

    Args:
        first: a, [A, m], at least two.
        second: b, [B, m], at least two.
        scales: s, positive.

    Returns:
        A scalar.

    Raises:
        ArgumentError: if the shapes do not fit, or a sample has fewer than two points.
    """
    check_batch("first", first, "[A, m]")
    check_batch("second", second)
    check_shape("second", second, (len(second), first.shape[1]), ", as many latents as the first")
    first, second = wide((first, second))
    if min(len(first), len(second)) < 2:
        raise ArgumentError(
            f"the unbiased MMD needs at least two points in each sample, got {len(first)} and"
            f" {len(second)}"
        )
    constants = [2.0 * first.shape[1] * scale for scale in scales]

    def kernels(a: Array, b: Array) -> Array:
        lengths = [jnp.sum(jnp.square(points), axis=1) for points in (a, b)]
        squares = lengths[0][:, None] + lengths[1][None, :] - 2.0 * matmul(a, b.T)
        squares = jnp.maximum(squares, 0.0)  # rounding may make them negative
        values = (constant / (constant + squares) for constant in constants)
        return sum(values, start=jnp.zeros((), jnp.float32))

    def mean_of_pairs(a: Array) -> Array:
        values = kernels(a, a)
        return (jnp.sum(values) - jnp.trace(values)) / (len(a) * (len(a) - 1))

    cross = jnp.mean(kernels(first, second))
    return mean_of_pairs(first) + mean_of_pairs(second) - 2.0 * cross


def _of_batch(batch: Batch) -> Loss:
    value = wae_mmd_loss(
        batch.rng,
        batch.decode,
        batch.x,
        batch.means,
        weight=batch.options.penalty_weight,
        axis_name=batch.axis_name,
    )
    return Loss(value, {"code_norm": jnp.mean(jnp.sum(jnp.square(batch.means), axis=1))})


WAE_MMD = ObjectiveInfo(
    name="wae_mmd",
    summary="the squared error and the discrepancy between the codes and N(0, I)",
    function="wae_mmd_loss",
    source="RAE Table 1, Tolstikhin et al. 2018",
    of_batch=_of_batch,
    takes_posterior=is_code,
    takes_likelihood=is_squared_error,
    default_posterior="none",
    density=False,
    bound="no: a squared error",
    decoder_passes="1",
    # The papers print no weight. This value was the best of a grid search on held-out digits; see
    # docs/deterministic.md.
    default_penalty_weight=100.0,
    smallest_batch=2,  # the discrepancy compares pairs
)
