"""Joining a Ray cluster, or making one of this machine."""

from __future__ import annotations

import importlib.util
import os
import re
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import launch
from sfvae_jax.errors import UsageError, first_line
from sfvae_jax.runtime.output import say

ROOT = Path(launch.__file__).resolve().parents[1]  # what is shipped to other machines

# Anchored: sfvae_jax/data is code.
_NOT_SHIPPED = ("/.git", "/data", "/runs", "/.venv", "/build", "/dist", "/.pytest_cache", "/docs")
_OF_PATTERNS = re.compile(r"[\\*?\[\]!# ]")
_OBJECT_STORE_BYTES = 100 * 2**20  # nothing but exit statuses goes through it


def check_installed() -> None:
    """Refuses to go on without Ray.

    Raises:
        UsageError: with the command that installs it.
    """
    if importlib.util.find_spec("ray") is None:
        raise UsageError("--backend=ray needs Ray: pip install -e '.[sweep]'")


def address_of(flag: str | None) -> str:
    """Where the cluster is: the flag, RAY_ADDRESS, or "local", one made for this sweep."""
    return flag or os.environ.get("RAY_ADDRESS") or "local"


def connect(address: str, folder: Path) -> None:
    """Joins the cluster; one that is not this sweep's own is shipped the code.

    Args:
        address: as from `address_of`.
        folder: of the sweep, which is not shipped.

    Raises:
        UsageError: if there is no cluster, or it cannot be used.
    """
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    import ray

    quiet = {"include_dashboard": False, "object_store_memory": _OBJECT_STORE_BYTES}
    own = quiet if address == "local" else {"runtime_env": _shipped(folder)}
    handler = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(address, log_to_driver=False, logging_level="ERROR", **own)
    except ConnectionError as error:
        raise UsageError(f"no Ray cluster at {address}: {first_line(error)}") from error
    except (ValueError, RuntimeError) as error:
        raise UsageError(f"cannot use the Ray cluster at {address}: {first_line(error)}") from error
    finally:
        signal.signal(signal.SIGTERM, handler)  # Ray puts one of its own in its place


def check_feasible(wanted: Mapping[str, float], address: str) -> None:
    """Refuses what no machine of this sweep's own cluster has; of another one, it warns.

    Args:
        wanted: resources of one run, by Ray's names.
        address: of the cluster that is joined.

    Raises:
        UsageError: saying what there is.
    """
    import ray

    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    if any(all(node.get(key, 0) >= number for key, number in wanted.items()) for node in nodes):
        return
    there = " or ".join(_shown({key: node.get(key, 0) for key in wanted}) for node in nodes)
    message = f"no machine of the Ray cluster has {_shown(wanted)} for a run, but {there}"
    if address == "local":
        raise UsageError(f"{message}; ask for less (--num_cpus, --num_gpus, --resources)")
    say(f"{message}; waiting for one that has", sys.stderr)  # it may grow


def _shown(resources: Mapping[str, float]) -> str:
    return ", ".join(f"{key} {number:g}" for key, number in resources.items())


def _shipped(folder: Path) -> dict[str, Any]:
    excludes = list(_NOT_SHIPPED)
    if folder.is_relative_to(ROOT):
        # As .gitignore has it, where brackets, stars and backslashes are patterns.
        excludes.append("/" + _OF_PATTERNS.sub(r"\\\g<0>", str(folder.relative_to(ROOT))))
    return {"working_dir": str(ROOT), "excludes": excludes}
