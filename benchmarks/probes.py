"""Error and cost of probes in place of m tangents, for several latent sizes.

  python -m benchmarks.probes [--latents=16,64,256,1024] [--steps=200] [--json=FILE]

For each latent size m a tanh network (784-200-200-m and its reverse) is trained on digits by
`linearized` with one probe, and one by `log_evidence`. At these parameters, on a batch of other
digits, each number of probes is compared with m tangents:

- the step: seconds of loss and gradient, the fastest of several;
- the noise: the standard deviation of the value of one image, in nats;
- the error of the gradient of the batch's mean in one step: |g - g_m| / |g_m|, where g_m is that of
  m tangents, the root mean square over draws;
- what the Lanczos iteration leaves out: how much the value is too low, in nats per image, and the
  change of the gradient, against 64 steps with the same probes.

`sampling` with one sample is measured at the parameters of `linearized`: the root of its gradient's
variance, relative to the norm of the gradient of `linearized`.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import optax
from jax.flatten_util import ravel_pytree

from benchmarks.command import run
from benchmarks.implementations import ours
from benchmarks.measuring.papers import paper_config
from benchmarks.measuring.table import check_writable, duration, write_json
from benchmarks.measuring.timing import seconds_of
from sfvae_jax import data, models
from sfvae_jax.config import resolve
from sfvae_jax.errors import UsageError
from sfvae_jax.reporting.markdown import lines_of

BATCH = 32
DRAWS = 16
MOST_CALLS, MOST_SECONDS = 20, 4.0  # of timing
CONVERGED = 64  # Lanczos steps
ESTIMATORS: dict[str, list[dict[str, int]]] = {
    "linearized": [{}, {"num_probes": 1}, {"num_probes": 4}],
    "sampling_free": [
        {},
        {"num_probes": 1, "lanczos_steps": 8},
        {"num_probes": 4, "lanczos_steps": 8},
    ],
    "log_evidence": [{}, {"num_probes": 1, "lanczos_steps": 16}],
}
_SETTING = {
    "data.num_examples": 400,
    "model.hidden_sizes": (200, 200),
    "model.activation": "tanh",
    "train.batch_size": BATCH,
}
_HEADS = (
    "m",
    "objective",
    "probes",
    "steps",
    "step",
    "ratio",
    "noise, nats",
    "error of the gradient",
    "left out, nats",
    "left out of the gradient",
)

Step = Callable[[Any, jax.Array, jax.Array], tuple[jax.Array, Any]]


def config_of(latent_size: int, objective: str, **options: Any) -> ml_collections.ConfigDict:
    """Returns the resolved config of an objective with options of its group."""
    config = paper_config("mnist_collapse", "laptop")
    changes = {**_SETTING, "model.latent_size": latent_size, "objective.name": objective}
    changes["posterior.name"] = "none" if objective == "log_evidence" else "diagonal"
    changes |= {f"objective.{name}": value for name, value in options.items()}
    config.update_from_flattened_dict(changes)
    return resolve(config)


def digits() -> np.ndarray:
    """Returns images in [0, 1], [N, 28, 28, 1]."""
    return np.asarray(data.to_unit_interval(data.load(config_of(2, "linearized").data, "train")))


def trained(latent_size: int, objective: str, images: np.ndarray, steps: int) -> Any:
    """Returns the parameters after some steps of Adam, with one probe."""
    config, seen = config_of(latent_size, objective, num_probes=1), jnp.asarray(images)
    value_and_grad = ours.value_and_grad(config, images.shape[1:])
    optimizer = optax.adam(1e-3)

    def step(state: tuple[Any, Any], key: jax.Array) -> tuple[tuple[Any, Any], jax.Array]:
        params, moments = state
        chosen = jax.random.choice(key, len(seen), (BATCH,), replace=False)
        loss, gradient = value_and_grad(params, key, seen[chosen])
        updates, moments = optimizer.update(gradient, moments)
        return (optax.apply_updates(params, updates), moments), loss

    params = models.build(config, images.shape[1:]).init(jax.random.key(0), seen[0])
    keys = jax.random.split(jax.random.key(1), steps)
    run = jax.jit(lambda state: jax.lax.scan(step, state, keys))
    (params, _), losses = run((params, optimizer.init(params)))
    print(f"m = {latent_size}, {objective}: loss {losses[0]:.1f} to {losses[-1]:.1f}", flush=True)
    return params


def compiled(config: ml_collections.ConfigDict, params: Any, images: np.ndarray) -> Step:
    """Returns the compiled step of a config, (params, key, images) -> (loss, gradient)."""
    step = jax.jit(ours.value_and_grad(config, images.shape[1:]))
    return step.lower(params, jax.random.key(0), images).compile()


def _fastest(step: Step, params: Any, images: np.ndarray) -> float:
    """Returns the seconds of the fastest of some calls, of one if it takes seconds."""
    key = jax.random.key(3)
    seconds: list[float] = []
    while len(seconds) < MOST_CALLS and sum(seconds) < MOST_SECONDS:
        seconds.append(seconds_of(lambda: jax.block_until_ready(step(params, key, images))))
    return min(seconds)


def draws(step: Step, params: Any, images: np.ndarray, number: int) -> tuple[Any, Any]:
    """Returns the losses [number] and the gradients [number, parameters] of several keys."""
    keys = jax.random.split(jax.random.key(2), number)
    found = [jax.device_get(step(params, key, images)) for key in keys]
    losses, gradients = zip(*found, strict=True)
    return np.array(losses), np.array([ravel_pytree(gradient)[0] for gradient in gradients])


def _root_mean_square(errors: np.ndarray) -> float:
    """The root of the mean over draws of the squared norms."""
    return float(np.sqrt(np.mean(np.sum(np.square(errors), axis=1))))


def rows(
    latent_size: int,
    objective: str,
    estimators: Sequence[Mapping[str, int]],
    params: Any,
    images: np.ndarray,
    num_draws: int = DRAWS,
) -> list[dict[str, Any]]:
    """Measures the estimators of one objective, of which the first takes m tangents.

    Args:
        latent_size: m.
        objective: the name of the objective.
        estimators: options of the group `objective`.
        params: of the model that the objective describes.
        images: [B, ...].
        num_draws: draws of the noise.

    Returns:
        A dictionary for each estimator: latent_size, objective, its options, step_seconds, ratio,
        gradient_norm (of m tangents), noise, gradient_error, left_out and gradient_left_out; None
        where something does not apply.
    """

    def build(options: Mapping[str, int]) -> Step:
        return compiled(config_of(latent_size, objective, **options), params, images)

    steps = [build(options) for options in estimators]
    seconds = [_fastest(step, params, images) for step in steps]
    exact = draws(steps[0], params, images, 1)[1][0]
    norm, measured = float(np.linalg.norm(exact)), []
    for options, step, least in zip(estimators, steps, seconds, strict=True):
        row: dict[str, Any] = {"latent_size": latent_size, "objective": objective, **options}
        row |= {"step_seconds": least, "ratio": least / seconds[0], "gradient_norm": norm}
        row |= dict.fromkeys(("noise", "gradient_error", "left_out", "gradient_left_out"))
        if options:
            losses, gradients = draws(step, params, images, num_draws)
            row["noise"] = float(losses.std(ddof=1) * np.sqrt(len(images)))
            row["gradient_error"] = _root_mean_square(gradients - exact) / norm
        if options.get("num_probes") == 1 and "lanczos_steps" in options:
            converged = build({**options, "lanczos_steps": CONVERGED})
            better, better_gradients = draws(converged, params, images, num_draws)
            row["left_out"] = float(np.mean(losses - better))
            row["gradient_left_out"] = _root_mean_square(gradients - better_gradients) / norm
        measured.append(row)
    return measured


def sampling_row(
    latent_size: int, params: Any, images: np.ndarray, gradient_norm: float
) -> dict[str, Any]:
    """Measures the ELBO with one sample; its gradient relative to the norm of another's."""
    step = compiled(config_of(latent_size, "sampling"), params, images)
    losses, gradients = draws(step, params, images, DRAWS)
    variance = np.sum(gradients.var(axis=0, ddof=1))
    return {
        "latent_size": latent_size,
        "objective": "sampling",
        "step_seconds": _fastest(step, params, images),
        "noise": float(losses.std(ddof=1) * np.sqrt(len(images))),
        "gradient_error": float(np.sqrt(variance) / gradient_norm),
        "gradient_norm": gradient_norm,
    }


def markdown(measured: Sequence[Mapping[str, Any]]) -> str:
    """Formats rows as a table."""
    return lines_of(_HEADS, list(map(_cells, measured)))


def _cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    tangents = "m tangents" if row["objective"] in ESTIMATORS else "1 sample"
    return (
        str(row["latent_size"]),
        f"`{row['objective']}`",
        str(row.get("num_probes", tangents)),
        str(row.get("lanczos_steps", "")),
        duration(row["step_seconds"]),
        _number(row.get("ratio"), "{:.2f}"),
        _number(row["noise"], "{:.3g}"),
        _number(row["gradient_error"], "{:.0%}"),
        _number(row.get("left_out"), "{:.1g}"),
        _number(row.get("gradient_left_out"), "{:.1g}"),
    )


def _number(value: float | None, style: str) -> str:
    return "" if value is None else style.format(value)


def main() -> None:
    """Trains, measures and prints.

    Raises:
        UsageError: if the file cannot be written.
    """
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--latents", default="16,64,256,1024", help="latent sizes m")
    parser.add_argument("--steps", type=int, default=200, help="steps of training")
    parser.add_argument("--json", metavar="FILE", help="where to write the rows")
    flags = parser.parse_args()
    if flags.json:
        check_writable(flags.json)
    print(f"{jax.devices()[0].device_kind}, jax {jax.__version__}, batch {BATCH}")
    images, measured = digits(), []
    for latent_size in map(int, flags.latents.split(",")):
        for objective, estimators in ESTIMATORS.items():
            if objective != "sampling_free":  # which takes the model of `linearized`
                params = trained(latent_size, objective, images[BATCH:], flags.steps)
            found = rows(latent_size, objective, estimators, params, images[:BATCH])
            if objective == "linearized":
                norm = found[0]["gradient_norm"]
                found.append(sampling_row(latent_size, params, images[:BATCH], norm))
            measured += found
            print(markdown(found), flush=True)
            if flags.json:
                write_json(measured, flags.json)
    print("\n" + markdown(measured))


if __name__ == "__main__":
    run(main, UsageError)
