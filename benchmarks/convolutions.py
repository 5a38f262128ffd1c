"""Seconds of the sampling-free value and gradient with native convolutions and with patches.

  python benchmarks/convolutions.py [BATCH]

The networks of SFVAE Appendix B.1 on 64 x 64 x 3 images with 16 latents; the fastest of a few
calls of each, taken in turns.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from sfvae_jax import models, objectives
from sfvae_jax.config import base_config, resolve

ROUNDS = 3


def make_step(lowering: str, batch: int) -> tuple[Callable[[], Any], Any]:
    """A call that takes value and gradient of a batch, compiled; and the gradient."""
    config = base_config()
    config.model.name, config.model.lowering = "conv", lowering
    model = models.build(resolve(config), (64, 64, 3))
    x = jax.random.uniform(jax.random.key(0), (batch, 64, 64, 3))
    params = model.init(jax.random.key(1), x[0])

    def loss(params: Any) -> jax.Array:
        def value(x: jax.Array) -> jax.Array:
            q = model.apply(params, x, method="encode")
            return objectives.sampling_free_elbo(
                lambda z: model.apply(params, z, method="decode"),
                x,
                q.mean,
                q.stddev,
                observation_variance=0.5,
                gamma=0.5,
            ).value

        return -jax.vmap(value)(x).mean()

    step = jax.jit(jax.value_and_grad(loss))
    _, gradient = jax.block_until_ready(step(params))
    return lambda: jax.block_until_ready(step(params)), gradient


def main() -> None:
    """Prints the times, their ratio and how far the answers are apart."""
    batch = int(sys.argv[1]) if len(sys.argv) > 1 else 64
    steps = {lowering: make_step(lowering, batch) for lowering in ("native", "patches")}
    best = dict.fromkeys(steps, float("inf"))
    for _ in range(ROUNDS):
        for lowering, (step, *_) in steps.items():
            start = time.perf_counter()
            step()
            best[lowering] = min(best[lowering], time.perf_counter() - start)
    print(f"batch {batch} on {jax.devices()[0].device_kind}:", end=" ")
    print(", ".join(f"{lowering} {seconds:.2f} s" for lowering, seconds in best.items()))
    print(f"native / patches: {best['native'] / best['patches']:.2f}")
    native, patches = (jax.tree.leaves(steps[lowering][1]) for lowering in best)
    apart = [
        jnp.max(jnp.abs(a - b)) / jnp.max(jnp.abs(a)) for a, b in zip(native, patches, strict=True)
    ]
    print(f"largest difference of a gradient, relative to its largest entry: {max(apart):.1e}")


if __name__ == "__main__":
    main()
