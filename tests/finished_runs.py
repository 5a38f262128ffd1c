"""Finished runs, made by hand."""

import json

from helpers import load_config

from sfvae_jax.runs.files.config_file import plain
from sfvae_jax.runs.published import with_differences


def finished_run(objective, seed, collapse, **changes):
    config = load_config("mnist_collapse").get_config("laptop")
    small = {"model.latent_size": 100, "train.steps": 200, "evaluations.steps": (100, 200)}
    changes = {"objective.name": objective, "seed": seed, **small, **changes}
    config.update_from_flattened_dict(changes)
    last = {"collapse_fraction": collapse, "reconstruction_error_at_sample": 30.0 + seed}
    return {
        "config": plain(config),
        "step": 200,
        "metrics": last,
        "history": {"100": {**last, "collapse_fraction": 1.0}, "200": last},
        "published": json.loads(json.dumps(with_differences(config))),
    }


RUNS = [
    finished_run("sampling", 0, 0.2),
    finished_run("sampling", 1, 0.4),
    finished_run("sampling", 2, 0.6),
    finished_run("sampling_free", 0, 0.0),
]


def write_runs(folder, runs=RUNS):
    for i, run in enumerate(runs):
        (folder / f"run{i}").mkdir(parents=True, exist_ok=True)
        (folder / f"run{i}" / "results.json").write_text(json.dumps(run))
