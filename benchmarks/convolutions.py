"""Seconds of value and gradient of a batch: native convolutions, patches, and PyTorch.

  python benchmarks/convolutions.py [BATCH]

The networks of SFVAE Appendix B.1 on 64 x 64 x 3 images with 16 latents; the objectives `sampling`
and `sampling_free`. Medians of a few calls of each, taken in turns; PyTorch where it is installed.
All of them run in one process, and so all of them with `keep_freed_memory`: without it, each takes
up to several times as long.
"""

from __future__ import annotations

import importlib.util
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from sfvae_jax import likelihoods, models, objectives
from sfvae_jax.allocator import keep_freed_memory
from sfvae_jax.config import base_config, resolve

ROUNDS = {"sampling": 9, "sampling_free": 3}
LATENTS, VARIANCE, GAMMA = 16, 0.5, 0.5


def make_step(objective: str, lowering: str, batch: int) -> tuple[Callable[[], Any], Any]:
    """A call that takes value and gradient of a batch, compiled; and the gradient."""
    config = base_config()
    config.model.name, config.model.lowering = "conv", lowering
    config.model.latent_size = LATENTS
    model = models.build(resolve(config), (64, 64, 3))
    x = jax.random.uniform(jax.random.key(0), (batch, 64, 64, 3))
    keys = jax.random.split(jax.random.key(2), batch)
    params = model.init(jax.random.key(1), x[0])

    def loss(params: Any) -> jax.Array:
        def decode(z: jax.Array) -> jax.Array:
            return model.apply(params, z, method="decode")

        def value(key: jax.Array, x: jax.Array) -> jax.Array:
            q = model.apply(params, x, method="encode")
            if objective == "sampling":
                likelihood = likelihoods.Gaussian(VARIANCE)
                return objectives.sampling_elbo(key, decode, x, q, likelihood).value
            return objectives.sampling_free_elbo(
                decode, x, q.mean, q.stddev, observation_variance=VARIANCE, gamma=GAMMA
            ).value

        return -jax.vmap(value)(keys, x).mean()

    step = jax.jit(jax.value_and_grad(loss))
    _, gradient = jax.block_until_ready(step(params))
    return lambda: jax.block_until_ready(step(params)), gradient


def make_torch_step(objective: str, batch: int, channels_last: bool) -> Callable[[], Any]:
    """The same in PyTorch: `torch.func.jvp` under `torch.func.vmap` for the Jacobian."""
    import torch
    from torch import nn

    layout = torch.channels_last if channels_last else torch.contiguous_format
    encoder, decoder = (net.to(memory_format=layout) for net in _torch_networks(nn))
    x = torch.rand(batch, 3, 64, 64).contiguous(memory_format=layout)
    params = [*encoder.parameters(), *decoder.parameters()]
    basis = torch.eye(LATENTS)

    def sampling(mean: Any, stddev: Any) -> Any:
        r = decoder(mean + stddev * torch.randn_like(stddev)) - x
        return 0.5 * r.flatten(1).square().sum(1) / VARIANCE

    def sampling_free(mean: Any, stddev: Any) -> Any:
        def push_forward(v: Any) -> Any:
            return torch.func.jvp(decoder, (mean,), (v.expand(batch, LATENTS),))

        x_hat, jacobian = torch.func.vmap(push_forward, out_dims=(None, 0))(basis)
        r = (x_hat - x).flatten(1)
        factor = jacobian.flatten(2).permute(1, 2, 0) * stddev[:, None]
        system = basis + factor.mT @ factor / VARIANCE
        projection = factor.mT @ r[..., None] / VARIANCE
        quadratic = projection.mT @ torch.linalg.solve(system, projection)
        log_det = torch.linalg.slogdet(system)[1]
        return 0.5 * (r.square().sum(1) / VARIANCE + log_det - GAMMA * quadratic.flatten())

    def step() -> Any:
        mean, raw = encoder(x).chunk(2, 1)
        stddev = nn.functional.softplus(raw)
        kl = 0.5 * (mean.square() + stddev.square() - 1 - 2 * stddev.log()).sum(1)
        misfit = sampling if objective == "sampling" else sampling_free
        return torch.autograd.grad((misfit(mean, stddev) + kl).mean(), params)

    return step


def _torch_networks(nn: Any) -> tuple[Any, Any]:
    encoder, decoder = [], [nn.Linear(LATENTS, 256), nn.Unflatten(1, (256, 1, 1))]
    for inputs, outputs in ((3, 32), (32, 32), (32, 64), (64, 64)):
        encoder += [nn.Conv2d(inputs, outputs, 4, 2, 1), nn.ReLU()]
    encoder += [nn.Conv2d(64, 256, 4), nn.ReLU(), nn.Flatten(), nn.Linear(256, 2 * LATENTS)]
    decoder += [nn.ReLU(), nn.ConvTranspose2d(256, 64, 4)]
    for inputs, outputs in ((64, 64), (64, 32), (32, 32), (32, 3)):
        decoder += [nn.ReLU(), nn.ConvTranspose2d(inputs, outputs, 4, 2, 1)]
    return nn.Sequential(*encoder), nn.Sequential(*decoder)


def measure(steps: dict[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """Median seconds of each, taken in turns."""
    seconds = {name: [] for name in steps}
    for step in steps.values():
        step()
    for _ in range(rounds):
        for name, step in steps.items():
            start = time.perf_counter()
            step()
            seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(times) for name, times in seconds.items()}


def compare(objective: str, batch: int) -> None:
    """Prints the times of an objective, their ratios and how far the gradients are apart."""
    made = {name: make_step(objective, name, batch) for name in ("native", "patches")}
    steps = {name: step for name, (step, _) in made.items()}
    if importlib.util.find_spec("torch"):
        steps["torch"] = make_torch_step(objective, batch, False)
        steps["torch, channels last"] = make_torch_step(objective, batch, True)
    times = measure(steps, ROUNDS[objective])
    for name, seconds in times.items():
        ratio = seconds / times["patches"]
        print(f"{objective}, {name}: {seconds:.3f} s, {ratio:.2f} of patches", flush=True)
    native, patches = (jax.tree.leaves(gradient) for _, gradient in made.values())
    apart = [
        jnp.max(jnp.abs(a - b)) / jnp.max(jnp.abs(a)) for a, b in zip(native, patches, strict=True)
    ]
    print(f"largest difference of a gradient, relative to its largest entry: {max(apart):.1e}")


def main() -> None:
    """Compares the two objectives."""
    batch = int(sys.argv[1]) if len(sys.argv) > 1 else 64
    kept = "kept" if keep_freed_memory() else "returned"
    print(f"batch {batch} on {jax.devices()[0].device_kind}, freed memory {kept}")
    for objective in ROUNDS:
        compare(objective, batch)


if __name__ == "__main__":
    main()
