"""What `train.parallelism` costs: calls, compiling and memory, by pmap and by jit.

  python -m benchmarks.parallelism [TURNS]
  XLA_FLAGS=--xla_force_host_platform_device_count=2 python -m benchmarks.parallelism

Uses the networks of SFVAE Table 3 (784-200-200-50 and its reverse, batches of 20) on the embedded
digits, with the sampling objective, on all devices. Prints a Markdown table:

- *call*: what a call takes of the Python thread that makes it, beside the steps; measured as the
  thread's own time in calls of one step that does nothing with the whole state;
- *steps*: a step in calls of 100;
- *compiling*: the processor's time for the first call, without caches;
- *data on a device*: the part of the training set that each device holds.

The two take TURNS (default 7) turns; medians are printed, and the ratio of the steps with its
lowest and highest value.
"""

from __future__ import annotations

import statistics
import sys
import time
from typing import Any

import jax
import numpy as np
from jax import Array

from benchmarks.loop import table_3
from benchmarks.measuring.machine import device_name
from benchmarks.measuring.table import duration, with_range
from sfvae_jax import data, models
from sfvae_jax.config import resolve
from sfvae_jax.training.options import PARALLELISMS
from sfvae_jax.training.parallel import AXIS_NAME, ParallelSteps
from sfvae_jax.training.state import TrainState, create_state, make_keys, make_optimizer
from sfvae_jax.training.step import make_train_step

CALLS = 50  # of the step that does nothing, in a turn
STEPS = 100  # in a call, and in a turn, of real steps


def _nothing(state: TrainState, batch: Array, rng: Array) -> tuple[TrainState, dict[str, Array]]:
    seen = jax.lax.pmean(batch.astype(np.float32).mean(), AXIS_NAME)
    return state, {"seen": seen, "key": jax.random.key_data(rng)[0]}


class Measured:
    """The steps of one kind of parallelism, and what they take."""

    def __init__(self, parallelism: str) -> None:
        """Compiles a call of real steps and one of nothing."""
        config = resolve(table_3("sampling"))
        images = data.load(config.data, "train")
        model = models.build(config, images.shape[1:])
        optimizer = make_optimizer(config.train)
        step = make_train_step(config, model, optimizer, axis_name=AXIS_NAME)
        size = config.train.batch_size
        rng = make_keys(config.seed).training
        self._indices = data.batch_indices(0, len(images), size, 0, STEPS)
        self._real, self._idle = (
            ParallelSteps(function, images, size, rng, parallelism=parallelism)
            for function in (step, _nothing)
        )
        state = create_state(config, model, optimizer, images.shape[1:])
        self.data_bytes = -(-images.nbytes // (jax.device_count() if parallelism == "jit" else 1))
        self._state = self._real.place(state)
        begin = time.process_time()
        self.seconds_of_steps()
        self.compile_seconds = time.process_time() - begin
        self.seconds_of_call()

    def seconds_of_call(self) -> float:
        """Returns the thread's time for one call that does nothing."""
        seconds = 0.0
        for _ in range(CALLS):
            begin = time.thread_time()
            self._state, metrics = self._idle(self._state, self._indices[:1])
            seconds += time.thread_time() - begin
            jax.block_until_ready((self._state, metrics))
        return seconds / CALLS

    def seconds_of_steps(self) -> float:
        """Returns the time of a step in one call of many."""
        begin = time.perf_counter()
        self._state, metrics = self._real(self._state, self._indices)
        jax.block_until_ready((self._state, metrics))
        return (time.perf_counter() - begin) / STEPS


def main() -> None:
    """Measures and prints."""
    jax.config.update("jax_enable_compilation_cache", False)
    turns = int(sys.argv[1]) if len(sys.argv) > 1 else 7
    measured = {name: Measured(name) for name in PARALLELISMS}
    taken: dict[str, Any] = {name: ([], []) for name in PARALLELISMS}
    for _ in range(turns):
        for name, steps in measured.items():
            taken[name][0].append(steps.seconds_of_call())
            taken[name][1].append(steps.seconds_of_steps())
    print(f"{device_name()}, {jax.device_count()} devices, jax {jax.__version__}\n")
    print("| by | call | steps | compiling | data on a device |\n| --- | --- | --- | --- | --- |")
    for name, steps in measured.items():
        call, step = map(statistics.median, taken[name])
        times = " | ".join(map(duration, (call, step, steps.compile_seconds)))
        print(f"| {name} | {times} | {steps.data_bytes / 2**20:.2f} MiB |")
    ratios = [jit / pmap for pmap, jit in zip(taken["pmap"][1], taken["jit"][1], strict=True)]
    print(f"\nsteps, jit / pmap: {with_range(ratios)}")


if __name__ == "__main__":
    main()
