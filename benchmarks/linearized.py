"""Speed of the choices inside the sampling-free ELBO, as ratios measured in one run.

  python -m benchmarks.linearized

Times the two solvers of the m x m system, alone and inside the low-rank Gaussian with its gradient.
Also times the decoder's Jacobian by `jax.jvp` (as in the library), by `jax.linearize` and by
`jax.jacrev`, inside the objective with its gradient. Variants take turns and the fastest round
counts, so that other load on the machine affects all of them equally.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks.measuring.timing import fastest
from sfvae_jax import models, objectives
from sfvae_jax.config import base_config, resolve
from sfvae_jax.objectives import low_rank_gaussian_log_prob
from sfvae_jax.objectives.numerics.linear_algebra import inverse_and_log_det

ROUNDS = 7


def show(title: str, seconds: dict[str, float]) -> None:
    """Prints each variant's time and its ratio to the first one's."""
    print(title)
    base = next(iter(seconds.values()))
    for name, value in seconds.items():
        print(f"  {name:12s} {1e3 * value:9.2f} ms   {value / base:.2f}")


def systems(batch: int, m: int) -> dict[str, float]:
    """Times the m x m system alone: inverse and log determinant."""
    root = jax.random.normal(jax.random.key(0), (batch, m, m))
    matrices = root @ root.mT / m + jnp.eye(m)

    def make(solver: str) -> Callable[[], Any]:
        function = jax.jit(jax.vmap(lambda matrix: inverse_and_log_det(matrix, solver)))
        return lambda: jax.block_until_ready(function(matrices))

    return fastest({solver: make(solver) for solver in ("cholesky", "slogdet")}, ROUNDS)


def densities(batch: int, n: int, m: int) -> dict[str, float]:
    """Times value and gradient of the low-rank Gaussian, including U'U."""
    keys = jax.random.split(jax.random.key(0), 2)
    residual = jax.random.normal(keys[0], (batch, n))
    factor = jax.random.normal(keys[1], (batch, n, m))

    def make(solver: str) -> Callable[[], Any]:
        def total(residual: jax.Array, factor: jax.Array) -> jax.Array:
            one = jax.vmap(lambda r, u: low_rank_gaussian_log_prob(r, u, 0.5, solver=solver))
            return jnp.sum(one(residual, factor))

        function = jax.jit(jax.value_and_grad(total, (0, 1)))
        return lambda: jax.block_until_ready(function(residual, factor))

    return fastest({solver: make(solver) for solver in ("cholesky", "slogdet")}, ROUNDS)


def jacobians(batch: int, m: int) -> dict[str, float]:
    """Times value and gradient of the mean log likelihood, with three ways to the Jacobian."""
    config = base_config()
    config.model.latent_size = m
    model = models.build(resolve(config), (28, 28, 1))
    x = jax.random.uniform(jax.random.key(0), (batch, 28, 28, 1))
    params = model.init(jax.random.key(1), x[0])

    def by_linearize(decode: Callable, z: jax.Array) -> tuple[jax.Array, jax.Array]:
        x_hat, push = jax.linearize(decode, z)
        return x_hat, jax.vmap(push, out_axes=-1)(jnp.eye(m)).reshape(x_hat.size, m)

    def by_jacrev(decode: Callable, z: jax.Array) -> tuple[jax.Array, jax.Array]:
        x_hat = decode(z)
        return x_hat, jax.jacrev(decode)(z).reshape(x_hat.size, m)

    def make(way: Callable) -> Callable[[], Any]:
        def loss(params: Any) -> jax.Array:
            def one(x: jax.Array) -> jax.Array:
                posterior = model.apply(params, x, method="encode")
                x_hat, jacobian = way(
                    lambda z: model.apply(params, z, method="decode"), posterior.mean
                )
                factor = jacobian * posterior.stddev[None, :]
                return low_rank_gaussian_log_prob((x_hat - x).ravel(), factor, 0.5, gamma=0.5)

            return -jnp.mean(jax.vmap(one)(x))

        function = jax.jit(jax.value_and_grad(loss))
        return lambda: jax.block_until_ready(function(params))

    ways = {"jvp": objectives.decoder_jacobian, "linearize": by_linearize, "jacrev": by_jacrev}
    return fastest({name: make(way) for name, way in ways.items()}, ROUNDS)


if __name__ == "__main__":
    print(f"{jax.devices()[0].device_kind}, jax {jax.__version__}")
    for m in (16, 100, 200):
        show(f"m x m system alone, batch 64, m = {m}", systems(64, m))
        show(f"low-rank Gaussian with gradient, batch 64, n = 784, m = {m}", densities(64, 784, m))
    for m in (16, 100):
        show(f"decoder Jacobian and objective, batch 32, m = {m}", jacobians(32, m))
