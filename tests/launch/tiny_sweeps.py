"""Config files with a sweep of tiny runs, and the command that carries them out."""

import json
import os
import subprocess
import sys

from helpers import ROOT, TINY

# Of the runs: one device, and every program of the first is kept for the others.
ENVIRONMENT = {
    "XLA_FLAGS": "--xla_backend_optimization_level=0",
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
}

_FILE = """
import importlib.util

def get_config(preset=""):
    spec = importlib.util.spec_from_file_location("base", {base!r})
    base = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(base)
    config = base.get_config(preset)
    config.update_from_flattened_dict({tiny!r})
    return config
"""


def write_config(folder, runs, **changes):
    """Writes a config file of tiny runs whose sweep adds these runs (None: no sweep)."""
    base = str(ROOT / "configs" / "mnist_collapse.py")
    text = _FILE.format(base=base, tiny={**TINY, **changes})
    if runs is not None:
        text += f"\ndef sweep(add):\n    for run in {runs!r}:\n        add(**run)\n"
    path = folder / "own_config.py"
    path.write_text(text)
    return f"{path}:laptop"


def start_sweep(config, workdir, *arguments):
    """Starts `python -m launch.sweep` as a user would, in its own session."""
    flags = [f"--config={config}", f"--workdir={workdir}"]
    return subprocess.Popen(
        [sys.executable, "-m", "launch.sweep", *flags, *arguments],
        cwd=ROOT,
        env={**os.environ, **ENVIRONMENT},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def is_done(workdir):
    """Whether the final measures of a run are on disk."""
    results = workdir / "results.json"
    return results.exists() and "metrics" in json.loads(results.read_text())


def contents(workdir):
    """What a run computed, and when that was written."""
    files = [workdir / name for name in ("results.json", "metrics.jsonl", "config.json")]
    return {file: (file.read_bytes(), file.stat().st_mtime_ns) for file in files}
