"""Joins a Ray cluster, or makes one of this machine."""

from __future__ import annotations

import importlib.util
import logging
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
from sfvae_jax.shipped import IS_INSTALLED

ROOT = Path(launch.__file__).resolve().parents[1]  # the folder that is shipped to other machines

# The slashes anchor the patterns at the top: sfvae_jax/data is code.
_NOT_SHIPPED = ("/.git", "/data", "/runs", "/.venv", "/build", "/dist", "/.pytest_cache", "/docs")
_SPECIAL = re.compile(r"[\\*?\[\]!# ]")
_OBJECT_STORE_BYTES = 100 * 2**20  # only exit statuses go through it


def check_installed() -> None:
    """Checks that Ray is installed.

    Raises:
        UsageError: with the command that installs it.
    """
    if importlib.util.find_spec("ray") is None:
        raise UsageError("--backend=ray requires Ray: pip install 'sfvae_jax[sweep]'")


def address_of(flag: str | None) -> str:
    """Returns the cluster's address: the flag, RAY_ADDRESS, or "local" for one of this sweep."""
    return flag or os.environ.get("RAY_ADDRESS") or "local"


def connect(address: str, folder: Path) -> None:
    """Joins the cluster, and ships the code to it unless it was made for this sweep.

    Args:
        address: what `address_of` returns.
        folder: the folder of the sweep, which is not shipped.

    Raises:
        UsageError: if there is no such cluster, or it cannot be used.
    """
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    import ray

    quiet = {"include_dashboard": False, "object_store_memory": _OBJECT_STORE_BYTES}
    if address == "local" and IS_INSTALLED:
        # Workers must find launch/ where it is installed.
        paths = [str(ROOT), os.environ.get("PYTHONPATH", "")]
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
    own = quiet if address == "local" else {"runtime_env": _shipped(folder)}
    handler = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(address, log_to_driver=False, logging_level=logging.ERROR, **own)
    except ConnectionError as error:
        raise UsageError(f"no Ray cluster at {address}: {first_line(error)}") from error
    except (ValueError, RuntimeError) as error:
        raise UsageError(f"cannot use the Ray cluster at {address}: {first_line(error)}") from error
    finally:
        signal.signal(signal.SIGTERM, handler)  # Ray replaces it with its own


def check_feasible(wanted: Mapping[str, float], address: str) -> None:
    """Checks that a machine of the cluster has what a run needs.

    Args:
        wanted: the resources of one run, by Ray's names.
        address: the address of the cluster; if it was not made for this sweep, it may grow, and
            a machine that is missing is only reported.

    Raises:
        UsageError: saying what the machines have.
    """
    import ray

    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    if any(all(node.get(key, 0) >= number for key, number in wanted.items()) for node in nodes):
        return
    there = " or ".join(_shown({key: node.get(key, 0) for key in wanted}) for node in nodes)
    message = f"a run needs {_shown(wanted)}, but the machines of the Ray cluster have {there}"
    if address == "local":
        raise UsageError(f"{message}; ask for less (--num_cpus, --num_gpus, --resources)")
    say(f"{message}; waiting for a machine that has enough", sys.stderr)


def _shown(resources: Mapping[str, float]) -> str:
    return ", ".join(f"{key} {number:g}" for key, number in resources.items())


def _shipped(folder: Path) -> dict[str, Any]:
    excludes = list(_NOT_SHIPPED)
    if folder.is_relative_to(ROOT):
        # Excludes are patterns as in .gitignore; what is special in them is escaped.
        excludes.append("/" + _SPECIAL.sub(r"\\\g<0>", str(folder.relative_to(ROOT))))
    return {"working_dir": str(ROOT), "excludes": excludes}
