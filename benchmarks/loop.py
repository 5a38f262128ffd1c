"""What the training loop adds to the bare step, as a ratio that is measured in one run.

  python -m benchmarks.loop [SECONDS [OBJECTIVE ...]]

Uses the model of SFVAE Table 3 (configs/mnist_estimators.py on the embedded digits: 784-200-200-50
and its reverse, tanh, batches of 20) with the sampling and the sampling-free objective. The loop is
`train` in a workdir of its own, for about SECONDS (default 6) in calls of 500 steps; its rate is
read from its metrics, from the second call on. The bare step is value, gradient and Adam's update
under `jax.jit`, with donated state and the batch on the device, called from Python. The two take
turns; medians are printed, with the extremes of the ratios.
"""

from __future__ import annotations

import logging
import math
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

import jax
import ml_collections
import numpy as np
import optax

from benchmarks.measuring.papers import paper_config
from sfvae_jax import data, models
from sfvae_jax.config import resolve
from sfvae_jax.runs.workdir import Workdir
from sfvae_jax.train import train
from sfvae_jax.training.losses.base import build_loss, weights_at
from sfvae_jax.training.losses.model_functions import model_functions
from sfvae_jax.training.schedules import make_schedules
from sfvae_jax.training.state import create_state, make_keys, make_optimizer

ROUNDS = 5
WARM_STEPS = 50


def table_3(objective: str) -> ml_collections.ConfigDict:
    """Returns the experiment's config with one objective, on the embedded digits."""
    config = paper_config("mnist_estimators")
    config.data.name = "mnist_5k"
    config.data.num_test = 500
    config.objective.name = objective
    return config


def bare_step(config: ml_collections.ConfigDict) -> Callable[[int], float]:
    """Returns a function that takes a number of jitted steps and returns the seconds they took."""
    config = resolve(config)
    images = data.load(config.data, "train")
    model = models.build(config, images.shape[1:])
    optimizer = make_optimizer(config.train)
    schedules = make_schedules(config.objective, config.train.steps)
    batch_loss, rng = build_loss(config, None), make_keys(config.seed).training

    @jax.jit
    def start() -> tuple[Any, Any]:
        state = create_state(config, model, optimizer, images.shape[1:])
        return state.params, state.opt_state

    def step(params: Any, opt_state: Any, x: jax.Array) -> tuple[Any, Any, jax.Array]:
        number = optax.tree.get(opt_state, "count")

        def loss(params: Any) -> jax.Array:
            functions = model_functions(model, params, {})
            step_rng = jax.random.fold_in(rng, number)
            return batch_loss(step_rng, functions, x, weights_at(schedules, number))[0]

        with jax.default_matmul_precision(config.train.matmul_precision):
            value, grads = jax.value_and_grad(loss)(params)
        updates, opt_state = optimizer.update(grads, opt_state, params)
        return optax.apply_updates(params, updates), opt_state, value

    step = jax.jit(step, donate_argnums=(0, 1))
    x = jax.device_put(data.to_unit_interval(images[: config.train.batch_size]))
    state = list(start())

    def seconds(num_steps: int) -> float:
        begin = time.perf_counter()
        for _ in range(num_steps):
            *state[:], value = step(*state, x)
        jax.block_until_ready((state, value))
        return time.perf_counter() - begin

    return seconds


def loop_rate(config: ml_collections.ConfigDict, num_steps: int) -> float:
    """Returns the steps per second of `train` after its first call."""
    per_call = config.train.steps_per_call
    config = config.copy_and_resolve_references()
    with config.unlocked():
        config.train.steps = per_call * (1 + math.ceil(num_steps / per_call))
    with tempfile.TemporaryDirectory() as folder:
        train(config, folder)
        records = Workdir(folder).read_metrics()
    rates = {record["step"]: record["steps_per_second"] for record in records}
    return 1.0 / np.mean([1.0 / rate for step, rate in rates.items() if step > per_call])


def rates(
    config: ml_collections.ConfigDict, seconds: float, rounds: int = ROUNDS
) -> list[tuple[float, float]]:
    """Returns the steps per second of the bare step and of the loop, for each round."""
    bare = bare_step(config)
    bare(WARM_STEPS)
    num_steps = math.ceil(seconds * WARM_STEPS / bare(WARM_STEPS))
    measured = []
    for _ in range(rounds):
        before = num_steps / bare(num_steps)
        looped = loop_rate(config, num_steps)
        after = num_steps / bare(num_steps)
        measured.append((0.5 * (before + after), looped))
    return measured


def compare(objective: str, seconds: float) -> str:
    """Returns one line of the table: steps per second of both, and their ratio."""
    measured = rates(table_3(objective), seconds)
    bare_rate, loop = np.median(measured, axis=0)
    ratios = [b / a for a, b in measured]
    return (
        f"{objective:14s} {bare_rate:8.1f} {loop:8.1f}   {np.median(ratios):.3f}"
        f"  ({min(ratios):.3f} to {max(ratios):.3f})"
    )


if __name__ == "__main__":
    logging.disable(logging.INFO)
    print(f"{jax.devices()[0].device_kind}, jax {jax.__version__}; steps per second")
    print("objective          bare     loop   loop / bare")
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 6.0
    for name in sys.argv[2:] or ("sampling", "sampling_free"):
        print(compare(name, seconds), flush=True)
