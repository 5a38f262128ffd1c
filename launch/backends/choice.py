"""Chooses the backend that the flags of a command name."""

from __future__ import annotations

import argparse
from pathlib import Path

from launch.backends.base import Backend
from launch.backends.local import LocalBackend
from launch.backends.ray import RayBackend
from launch.backends.ray_cluster import address_of
from launch.drive import ended_without_start
from launch.flags import resources_of
from launch.runs import Run


def backend_of(flags: argparse.Namespace, runs: list[Run], logs: Path) -> Backend:
    """Makes the backend that carries out runs.

    Args:
        flags: the flags that `launch.flags` has parsed.
        runs: the runs to carry out.
        logs: the folder for their logs.

    Raises:
        UsageError: if there is no such cluster, or no machine of it has what a run needs.
    """
    if flags.backend == "local":
        return LocalBackend(runs, logs, flags.jobs or 1, ended_without_start)
    return RayBackend(
        runs,
        logs,
        address=address_of(flags.address),
        resources=resources_of(flags),
        retries=3 if flags.retries is None else flags.retries,
    )
