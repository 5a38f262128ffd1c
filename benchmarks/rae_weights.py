"""Weights of the deterministic losses, chosen on held-out digits.

  python -m benchmarks.rae_weights

The RAE paper gives neither beta nor lambda. For each loss a small autoencoder (784-256-128-16) is
trained on 3,000 of the embedded digits with every weight of a grid. Then a Gaussian is fitted to
the training codes (for wae_mmd it is N(0, I)), 3,000 samples of it are decoded, and their Frechet
distance to 1,000 held-out digits is computed in pixel space: |mu - mu'|^2 + tr(C + C' - 2 (C
C')^1/2). This is the measure of the paper's Table 1 without the Inception network, so these numbers
can only be compared with each other. Beta is searched first, for rae, rae_sn and cv_vae; then
lambda, for rae_l2 and rae_gp at the best beta of rae. Prints a Markdown table.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable

import jax
import ml_collections
import numpy as np

from sfvae_jax import data
from sfvae_jax.config import base_config, resolve
from sfvae_jax.evaluate import restore
from sfvae_jax.measuring.trained import trained_model
from sfvae_jax.runs.workdir import Workdir
from sfvae_jax.train import train

GRIDS = {
    "rae": (1e-2, 1e-1, 1.0, 10.0),
    "rae_sn": (1e-4, 1e-3, 1e-2, 1e-1),
    "cv_vae": (1e-4, 1e-3, 1e-2, 1e-1),
    "rae_l2": (1e-4, 1e-3, 1e-2, 1e-1),
    "rae_gp": (1e-4, 1e-3, 1e-2, 1e-1),
    "wae_mmd": (1.0, 10.0, 100.0, 1000.0),
}
SEEDS = (0, 1)


def frechet_distance(first: np.ndarray, second: np.ndarray) -> float:
    """Returns the Frechet distance of Gaussians with the moments of two samples [N, n]."""
    mean = np.sum(np.square(first.mean(axis=0) - second.mean(axis=0)))
    a, b = np.cov(first.T), np.cov(second.T)
    values, vectors = np.linalg.eigh(a)
    root = vectors * np.sqrt(np.maximum(values, 0.0)) @ vectors.T
    cross = np.sqrt(np.maximum(np.linalg.eigvalsh(root @ b @ root), 0.0)).sum()
    return float(mean + np.trace(a) + np.trace(b) - 2.0 * cross)


def config_of(name: str, seed: int, **weights: float) -> ml_collections.ConfigDict:
    """Returns the config of a run."""
    config = base_config()
    settings = {
        "seed": seed,
        "data.num_examples": 3000,
        "data.num_valid": 1000,
        "data.num_test": 1000,  # those that configs/rae.py:laptop measures; nothing sees them here
        "model.latent_size": 16,
        "model.hidden_sizes": (256, 128),
        "objective.name": name,
        "train.steps": 2000,
        "train.batch_size": 100,
        "train.steps_per_call": 500,
        "train.checkpoint_every": 2000,
        "evaluations.part": "valid",
        **{f"objective.{key}": value for key, value in weights.items()},
    }
    config.update_from_flattened_dict(settings)
    return resolve(config.lock())


def run(name: str, seed: int, **weights: float) -> tuple[float, float]:
    """Returns the Frechet distance of samples and the error on held-out digits."""
    config = config_of(name, seed, **weights)
    with tempfile.TemporaryDirectory() as folder:
        train(config, folder)
        model, state = restore(config, Workdir(folder), (28, 28, 1))
    held_out = trained_model(config, model, state, data.load(config.data, "valid"))
    training = trained_model(config, model, state, data.load(config.data, "train"))

    codes = training.map_images(lambda params, x, key: training.encode(params, x).mean)
    mean, covariance = codes.mean(axis=0), np.cov(codes.T)
    if name == "wae_mmd":
        mean, covariance = np.zeros(16), np.eye(16)
    z = np.random.default_rng(seed).multivariate_normal(mean, covariance, 3000)
    decode = jax.jit(jax.vmap(training.reconstruct, (None, 0)))
    samples = np.asarray(decode(training.params, z.astype(np.float32))).reshape(3000, -1)

    def error(params: dict, x: jax.Array, key: jax.Array) -> jax.Array:
        del key
        code = held_out.encode(params, x).mean
        return ((held_out.reconstruct(params, code) - x) ** 2).sum()

    images = held_out.images.reshape(1000, -1) / 255.0
    return frechet_distance(samples, images), float(held_out.map_images(error).mean())


def search(name: str, key: str, grid: Iterable[float], **fixed: float) -> float:
    """Prints a row for each value; returns the value with the least mean distance."""
    scores = {}
    for value in grid:
        results = np.array([run(name, seed, **{key: value}, **fixed) for seed in SEEDS])
        distance, error = results.mean(axis=0)
        scores[value] = distance
        others = "".join(f", {other}={number:g}" for other, number in fixed.items())
        spread = np.ptp(results[:, 0])
        row = f"| `{name}` | {key}={value:g}{others} | {distance:.2f} ({spread:.2f})"
        print(f"{row} | {error:.2f} |", flush=True)
    return min(scores, key=scores.get)


def main() -> None:
    """Runs the searches."""
    print("| loss | weights | Frechet distance, mean (range) of two seeds | held-out error |")
    print("| --- | --- | --- | --- |")
    search("rae", "beta", (0.0,))  # the plain autoencoder
    beta = search("rae", "beta", GRIDS["rae"])
    for name in ("rae_sn", "cv_vae"):
        search(name, "beta", GRIDS[name])
    for name in ("rae_l2", "rae_gp"):
        search(name, "penalty_weight", GRIDS[name], beta=beta)
    search("wae_mmd", "penalty_weight", GRIDS["wae_mmd"])


if __name__ == "__main__":
    main()
