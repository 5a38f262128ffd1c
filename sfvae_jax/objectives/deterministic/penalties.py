"""Regularisers of a decoder: its Jacobian, its parameters and their singular values.

RAE is Ghosh et al., "From Variational to Deterministic Autoencoders".
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from sfvae_jax.objectives.numerics.checks import (
    check_at_least_one,
    check_key,
    check_shape,
    check_vector,
)
from sfvae_jax.objectives.numerics.precision import rounded_like, wide, wide_dtype
from sfvae_jax.objectives.numerics.tangents import tangents


def gradient_penalty(decode: Callable[[Array], Any], z: Array) -> Array:
    """The squared Frobenius norm of the decoder's Jacobian with respect to its latent.

    |d decode(z) / d z|_F^2 = sum_ji J_ji^2   (L_GP of RAE Section 3.1)

    It is the norm of the whole n x m Jacobian of the decoder, not of the gradient of a sum of its
    outputs and not of the encoder's Jacobian. It takes one decoder pass and m tangent passes;
    `hutchinson_gradient_penalty` takes fewer.

    Args:
        decode: maps one latent [m] to a pytree of arrays of any shape, all of whose elements count.
        z: latent, [m].

    Returns:
        A scalar.

    Raises:
        ArgumentError: if z is not of rank 1.
    """
    _, jacobian = tangents(decode, z)
    return jnp.sum(jacobian.gram_diagonal(jnp.ones((), wide_dtype(z))))


def hutchinson_gradient_penalty(
    rng: Array, decode: Callable[[Array], Any], z: Array, *, num_probes: int = 1
) -> Array:
    """An unbiased estimate of `gradient_penalty` from a few directions.

    1/k sum_k |J u_k|^2,   u_k uniform on {-1, 1}^m, so that E[u u'] = I

    The probes lie in the latent space: each takes one tangent pass for any n, and has less noise
    than a probe of the n outputs. If the Jacobian has orthogonal columns, one probe is exact.

    Args:
        rng: key of this example's probes.
        decode: maps one latent [m] to a pytree of arrays of any shape, all of whose elements count.
        z: latent, [m].
        num_probes: k, at least 1.

    Returns:
        A scalar.

    Raises:
        ArgumentError: if rng is no key, z is not of rank 1, or num_probes is less than 1.
    """
    check_vector("z", z)
    check_key(rng)
    check_at_least_one("num_probes", num_probes)
    dtype = jax.dtypes.canonicalize_dtype(z.dtype)
    probes = jax.random.rademacher(rng, (num_probes, z.size), dtype)

    def squared_push(probe: Array) -> Array:
        return squared_norm(jax.jvp(decode, (z,), (probe,))[1])

    return jnp.mean(jax.vmap(squared_push)(probes))


def squared_norm(params: Any) -> Array:
    """The sum of squares of all parameters in a tree   (|theta|^2, L_L2 of RAE Section 3.1)."""
    squares = (jnp.sum(jnp.square(wide(leaf))) for leaf in jax.tree.leaves(params))
    return sum(squares, start=jnp.zeros((), jnp.float32))


def spectral_norm(kernel: Array, vector: Array, *, num_iterations: int = 1) -> tuple[Array, Array]:
    """The largest singular value of a layer's weight, by power iteration.

    With W the kernel as a matrix [fan_in, out]:  v <- W u / |W u|,  u <- W' v / |W' v|,  s = v' W u

    (Miyato et al., 2018; RAE Section 3.1.) Dividing the layer by s normalises it. s is
    differentiable in the kernel; u and v carry no gradient, so that d s / d W = v u', which is the
    derivative of the singular value once they have converged. Keep u from one training step to
    the next: weights change so slowly that one iteration per step is enough.

    Args:
        kernel: weight, output features on the last axis: [in, out] of a dense layer,
            [..., in, out] of a convolution.
        vector: u, the estimate of the right singular vector, [out], not zero; it is returned
            unchanged if the kernel is all zero.
        num_iterations: at least 1.

    Returns:
        (s, u): a scalar, and the vector to continue from.

    Raises:
        ArgumentError: if the shapes do not fit, or num_iterations is less than 1.
    """
    check_shape("vector", vector, kernel.shape[-1:], ", one for each output of the kernel")
    check_at_least_one("num_iterations", num_iterations)
    matrix = wide(kernel).reshape(-1, kernel.shape[-1])
    fixed, right = jax.lax.stop_gradient((matrix, wide(vector)))
    for _ in range(num_iterations):
        left = _unit(fixed @ right, jnp.zeros(fixed.shape[0], fixed.dtype))
        right = _unit(fixed.T @ left, right)
    return left @ matrix @ right, rounded_like(right, vector)


def spectral_normalize(
    params: Any,
    vectors: dict[str, Array] | None = None,
    *,
    num_iterations: int | None = None,
    is_kernel: Callable[[str, Any], bool] | None = None,
    output_axis: int = -1,
) -> tuple[Any, dict[str, Array]]:
    """Scales the kernels in a tree of parameters to spectral norm 1   (RAE-SN of RAE Section 3.1).

    Each kernel is divided by its `spectral_norm`, and one that is all zero stays as it is. Take the
    gradient through this function, and let the decoder use what it returns:

        params, vectors = spectral_normalize(raw_params, vectors)

    In a loop, keep the vectors from one step to the next, and one iteration per step is enough.
    Without vectors every call starts from random ones, always the same, with 20 iterations.

    Args:
        params: the decoder's parameters, a pytree of any library.
        vectors: estimates of the singular vectors, by the paths of their kernels; what an earlier
            call returned. None starts anew, and an empty dictionary changes nothing.
        num_iterations: iterations of this call; None takes 1, or 20 without vectors.
        is_kernel: says of a path, such as "params/Dense_0/kernel", and its leaf whether it is a
            kernel, if there are no vectors; None takes every array with two axes or more.
        output_axis: the axis of a kernel's output features: -1 in Flax and Haiku, 0 for the
            convolutions of Equinox; for the matrix of a dense layer both give the same.

    Returns:
        The parameters with normalised kernels, and the vectors to continue from.

    Raises:
        ArgumentError: if a vector does not fit its kernel, or num_iterations is less than 1.
    """
    flat, structure = jax.tree_util.tree_flatten_with_path(params)
    leaves = {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in flat}
    if num_iterations is None:
        num_iterations = 20 if vectors is None else 1
    if vectors is None:
        chosen = is_kernel or (lambda path, leaf: getattr(leaf, "ndim", 0) >= 2)
        kernels = {path: leaf for path, leaf in leaves.items() if chosen(path, leaf)}
        keys = jax.random.split(jax.random.key(0), len(kernels))
        vectors = {
            path: jax.random.normal(key, (kernel.shape[output_axis],), kernel.dtype)
            for key, (path, kernel) in zip(keys, kernels.items(), strict=True)
        }
    following = {}
    for path, vector in vectors.items():
        norm, following[path] = spectral_norm(
            jnp.moveaxis(leaves[path], output_axis, -1), vector, num_iterations=num_iterations
        )
        leaves[path] = leaves[path] / jnp.where(norm == 0.0, 1.0, norm)
    return jax.tree.unflatten(structure, leaves.values()), following


def _unit(vector: Array, otherwise: Array) -> Array:
    """Scales a vector to length 1; returns `otherwise` if it is zero."""
    norm = jnp.linalg.norm(vector)
    return jnp.where(norm > 0.0, vector / jnp.where(norm > 0.0, norm, 1.0), otherwise)
