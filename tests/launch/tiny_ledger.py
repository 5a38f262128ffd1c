"""A table of tiny runs, and the files of runs and records that nobody has trained."""

import json

from tiny_sweeps import write_config

from launch.ledger.record import make_record
from launch.ledger.records import path_of
from launch.ledger.table import Part, Table
from sfvae_jax.runs.files.config_file import plain
from sfvae_jax.runs.published import with_differences
from sfvae_jax.runtime.files import write_json

LESS = {"evaluations.steps": (5, 12), "evaluations.names": ("kl_divergence",)}
RUNS = [{"seed": seed, "objective.name": "sampling"} for seed in range(3)]
PIECE = {
    "work": "train",
    "from_step": 0,
    "began": "2026-01-02T03:04:05+00:00",
    "machine": {"processor": "A", "cores": 2, "accelerator": None},
    "processes": 1,
    "versions": {"python": "3.11.4", "jax": "0.10.2"},
    "commit": "0123456789abcdef",
    "changed": False,
    "seconds": 10.0,
    "processor_seconds": 15.0,
}


def own_table(folder, runs=RUNS, part=(), **changes):
    config = write_config(folder, runs, **{**LESS, **changes})
    return Table("own-table1", "OWN Table 1: tiny runs", (Part(config, *part),))


def finish(entry, folder, pieces=(PIECE,), caveats=None, **metrics):
    """The files of a finished run, as far as a record needs them."""
    run = entry.run(folder)
    run.workdir.mkdir(parents=True)
    metrics = {"kl_divergence": 1.5, **metrics}
    config = plain(run.config)
    config["data"]["fingerprint"] = "train 40"
    results = {
        "config": config,
        "published": with_differences(run.config),
        "step": run.steps,
        "metrics": metrics,
        "not_applicable": {},
        "caveats": caveats or {},
        "texts": {},
        "history": {"5": metrics, "12": metrics},
        "history_caveats": {"5": {}, "12": caveats or {}},
    }
    write_json(run.workdir / "config.json", config)
    write_json(run.workdir / "results.json", results)
    lines = "".join(json.dumps(piece) + "\n" for piece in pieces)
    (run.workdir / "provenance.jsonl").write_text(lines)
    return run


def filed(entry, folder, records, pieces=(PIECE,), **changes):
    """A record in its place; returns its path."""
    metrics = {key: changes.pop(key) for key in ("kl_divergence",) if key in changes}
    record = make_record(entry, finish(entry, folder, pieces, **metrics), 8.0) | changes
    path = path_of(entry, records)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, record)
    return path
