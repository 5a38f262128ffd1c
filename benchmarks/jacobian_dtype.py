"""The error of a Jacobian in bfloat16: in the loss, in its gradient and after training.

  python -m benchmarks.jacobian_dtype [SEEDS]

The networks of SFVAE Table 4 with 100 latents (784-512-256-100 and its reverse, linear outputs,
LeCun's kernels) are trained on 100 digits for 200 steps, with objective.jacobian_dtype float32 and
bfloat16, for SEEDS (default 2) seeds. Loss and gradient are also compared at the float32 run's
parameters, at the start and at the end.
"""

from __future__ import annotations

import logging
import sys
import tempfile
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import optax

from benchmarks.implementations import ours
from benchmarks.measuring.papers import paper_config
from sfvae_jax import data, models
from sfvae_jax.config import resolve
from sfvae_jax.evaluate import evaluate, restore
from sfvae_jax.runs.workdir import Workdir
from sfvae_jax.train import train
from sfvae_jax.training.state import create_state, make_optimizer

DTYPES = ("float32", "bfloat16")
SETTING = {
    "model.latent_size": 100,
    "model.output_activation": "identity",
    "model.initializer": "lecun_normal",
    "train.steps": 200,
    "evaluations.steps": (100, 200),
}
MEASURES = ("collapse_fraction", "kl_divergence", "reconstruction_error")


def with_dtype(seed: int, dtype: str) -> ml_collections.ConfigDict:
    """Returns the experiment's config."""
    config = paper_config("mnist_collapse", "laptop")
    config.update_from_flattened_dict({**SETTING, "seed": seed, "objective.jacobian_dtype": dtype})
    return config


def run(config: ml_collections.ConfigDict, shape: tuple[int, ...]) -> tuple[Any, dict[str, Any]]:
    """Trains and evaluates; returns the trained parameters and the final measures."""
    with tempfile.TemporaryDirectory() as folder:
        train(config, folder)
        measures = evaluate(config, folder)
        _, state = restore(resolve(config), Workdir(folder), shape)
    return state.params, measures


def errors(seed: int, params: Any, images: np.ndarray) -> str:
    """Describes the loss in nats, and the error of bfloat16 in the loss and in its gradient."""
    found = {}
    for dtype in DTYPES:
        config = resolve(with_dtype(seed, dtype))
        step = jax.jit(ours.value_and_grad(config, images.shape[1:]))
        found[dtype] = step(params, jax.random.key(0), jnp.asarray(images))
    (value, gradient), (low_value, low_gradient) = found.values()
    apart = optax.tree.norm(optax.tree.sub(gradient, low_gradient)) / optax.tree.norm(gradient)
    return (
        f"loss {value:.3f} nats, which differs by {low_value - value:+.4f}; the gradient differs"
        f" by {apart:.2%}"
    )


def main() -> None:
    """Prints the errors and the measures."""
    logging.disable(logging.INFO)
    print(f"{jax.devices()[0].device_kind}, jax {jax.__version__}")
    for seed in range(int(sys.argv[1]) if len(sys.argv) > 1 else 2):
        config = resolve(with_dtype(seed, "float32"))
        images = data.load(config.data, "train")
        shape = images.shape[1:]
        start = create_state(
            config, models.build(config, shape), make_optimizer(config.train), shape
        )
        runs = {dtype: run(with_dtype(seed, dtype), shape) for dtype in DTYPES}
        print(f"seed {seed}, at the start: {errors(seed, start.params, images)}")
        print(f"seed {seed}, at the end:   {errors(seed, runs['float32'][0], images)}")
        for dtype, (_, measures) in runs.items():
            told = ", ".join(f"{name} {measures[name]:.4g}" for name in MEASURES)
            print(f"seed {seed}, trained in {dtype}: {told}", flush=True)


if __name__ == "__main__":
    main()
