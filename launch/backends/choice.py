"""The backend that a command's flags choose."""

from __future__ import annotations

import argparse
from pathlib import Path

from launch.backends.base import Backend
from launch.backends.local import LocalBackend
from launch.backends.ray import RayBackend
from launch.backends.ray_cluster import address_of
from launch.drive import without_start
from launch.flags import resources_of
from launch.runs import Run


def backend_of(flags: argparse.Namespace, runs: list[Run], logs: Path) -> Backend:
    """The backend that carries out runs.

    Args:
        flags: those of `launch.flags`.
        runs: what it carries out.
        logs: folder of their logs.

    Raises:
        UsageError: if there is no such cluster, or its machines lack what a run needs.
    """
    if flags.backend == "local":
        return LocalBackend(runs, logs, flags.jobs or 1, without_start)
    return RayBackend(
        runs,
        logs,
        address=address_of(flags.address),
        resources=resources_of(flags),
        retries=3 if flags.retries is None else flags.retries,
    )
