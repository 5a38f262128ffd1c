"""Memory that a sampling-free step needs, by the number of examples it takes at a time.

  python -m benchmarks.memory

For the full batch of SFVAE Table 4 (m = 200, 1,000 images) and for convolutional networks with m =
64 and 256 images of 64 x 64 x 3, prints the memory that XLA plans for the library's step with
several values of `train.microbatch` (0: the library's choice for this machine) and for the same
step in plain JAX. Steps are compiled, but not run.
"""

from __future__ import annotations

import jax

from benchmarks.implementations import jax_step, ours, plain
from benchmarks.measuring import cases
from benchmarks.measuring.cases import Case
from benchmarks.measuring.machine import device_name

CASES = [(cases.relu_mlp(200, 1000), (0, 200, 50)), (cases.conv(64, 256), (0, 64, 16, 4))]


def planned(case: Case, microbatch: int | None) -> int:
    """Returns the bytes that the library's step needs, or with None those of the plain step."""
    config = case.config()
    with config.unlocked():
        config.train.microbatch = microbatch or 0
    implementation = plain if microbatch is None else ours
    step = implementation.value_and_grad(config, case.data_shape)
    arguments = case.params(), jax.random.key(2), case.batch()
    return jax_step.planned_bytes(jax.jit(step).lower(*arguments).compile())


def main() -> None:
    """Prints a Markdown table."""
    print(f"{device_name()}, jax {jax.__version__}\n")
    print("| model | m | batch | step | peak memory |\n| --- | --- | --- | --- | --- |")
    for case, microbatches in CASES:
        for microbatch in (None, *microbatches):
            step = "plain" if microbatch is None else f"ours, `train.microbatch={microbatch}`"
            size = planned(case, microbatch) / 2**30
            sizes = f"{case.latent_size} | {case.batch_size}"
            print(f"| {case.model} | {sizes} | {step} | {size:.2f} GiB |", flush=True)


if __name__ == "__main__":
    main()
