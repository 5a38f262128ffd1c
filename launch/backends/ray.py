"""Carries out runs as tasks of a Ray cluster."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, redirect_stdout
from pathlib import Path
from typing import Any

from launch.backends import ray_cluster, ray_task
from launch.backends.base import Ended
from launch.runs import Run
from sfvae_jax.errors import UsageError, first_line
from sfvae_jax.plugins import is_file
from sfvae_jax.shipped import config_path

_PASSED = ("JAX_", "XLA_", "TFDS_DATA_DIR")


class RayBackend:
    """Carries out as many runs at a time as the cluster has room for, with logs `logs`/NAME.log.

    A run whose worker dies is tried again and goes on from its checkpoint. `close` leaves the
    cluster.
    """

    def __init__(
        self,
        runs: Sequence[Run],
        logs: Path,
        *,
        address: str,
        resources: Mapping[str, float],
        retries: int,
    ) -> None:
        """Joins the cluster and submits the runs.

        Args:
            runs: the runs; their workdirs are absolute and shared by all machines of the cluster.
            logs: the folder for the logs, which the machines share as well.
            address: the address of the cluster, or "local".
            resources: what each run takes, by Ray's names: CPU, GPU, or others of the cluster.
            retries: how often a run is tried again.

        Raises:
            UsageError: if there is no such cluster, or no machine of it has what a run needs.
        """
        import ray

        self._logs = logs
        shipped = address != "local"
        commands = [_shipped_arguments(run) if shipped else run.arguments for run in runs]
        with ExitStack() as stack:
            # Ray reports dead workers on stdout, which is for the table.
            file = stack.enter_context((logs / "ray.log").open("a", encoding="utf-8"))
            stack.enter_context(redirect_stdout(file))
            ray_cluster.connect(address, logs.parent)
            stack.callback(ray.shutdown)
            ray_cluster.check_feasible(resources, address)
            self._sizes = {run.name: self._log_size(run) for run in runs}
            task = ray.remote(ray_task.carry_out).options(
                **_options(resources),
                max_retries=retries,
                retry_exceptions=[ray_task.Killed],
            )
            environment = environment_of(resources)
            folder = None if shipped else os.getcwd()
            self._runs = {
                task.remote(arguments, str(self._log(run)), environment, folder): run
                for run, arguments in zip(runs, commands, strict=True)
            }
            self._held = stack.pop_all()

    def poll(self) -> list[Ended]:
        """Returns the runs that have ended since the last call."""
        import ray

        if not self._runs:
            return []
        done, _ = ray.wait(list(self._runs), num_returns=len(self._runs), timeout=0)
        return [self._ended(task) for task in done]

    def running(self) -> list[Run]:
        """Returns the runs that are being carried out now, as their logs show."""
        return [run for run in self._runs.values() if self._log_size(run) > self._sizes[run.name]]

    def stop(self) -> None:
        """Lets the active runs save and end; no other run is started."""
        self._cancel(force=False)

    def kill(self) -> None:
        """Kills the active runs at once."""
        self._cancel(force=True)

    @property
    def is_over(self) -> bool:
        """Whether no run is being carried out or waits for room."""
        return not self._runs

    def close(self) -> None:
        """Leaves the cluster; one that was made for this sweep ends."""
        self._held.close()

    def _cancel(self, *, force: bool) -> None:
        import ray

        for task in self._runs:
            ray.cancel(task, force=force)

    def _ended(self, task: Any) -> Ended:
        import ray

        run = self._runs.pop(task)
        try:
            return Ended(run, *ray.get(task))
        except ray_task.Killed as error:
            cause = getattr(error, "cause", error)  # Ray raises a subclass with the cause
            return Ended(run, -9, f"{first_line(cause)}, on its last try")
        except ray.exceptions.WorkerCrashedError:
            return Ended(run, -9, "its worker died on its last try")
        except ray.exceptions.TaskCancelledError:
            return Ended(run, -15, "stopped")
        except ray.exceptions.RayError as error:
            return Ended(run, 1, first_line(error))

    def _log(self, run: Run) -> Path:
        return self._logs / f"{run.name}.log"

    def _log_size(self, run: Run) -> int:
        try:
            return self._log(run).stat().st_size
        except OSError:
            return 0


def environment_of(resources: Mapping[str, float]) -> dict[str, str]:
    """Returns the variables that a run gets in addition to those of its worker."""
    passed = {key: value for key, value in os.environ.items() if key.startswith(_PASSED)}
    # Ray does not hide the GPUs from a task that asks for none.
    hidden = {} if resources.get("GPU") else {"CUDA_VISIBLE_DEVICES": ""}
    return passed | hidden


def _options(resources: Mapping[str, float]) -> dict[str, Any]:
    own = {key: number for key, number in resources.items() if key not in ("CPU", "GPU")}
    return {
        "num_cpus": resources.get("CPU", 0),
        "num_gpus": resources.get("GPU", 0),
        "resources": own,
    }


def _shipped_arguments(run: Run) -> tuple[str, ...]:
    """Returns the arguments of a run for shipped code, in which files are paths in its folder."""
    file, colon, preset = config_path(run.config_file).partition(":")
    config = f"--config={_in_shipped_folder(file, '--config')}{colon}{preset}"
    named = [
        _in_shipped_folder(name, "plugins") if is_file(name) else name
        for name in run.config.plugins
    ]
    plugins = (f"--config.plugins={tuple(named)!r}",) if named else ()
    others = (flag for flag in run.arguments[1:] if not flag.startswith("--config.plugins="))
    return (config, *others, *plugins)


def _in_shipped_folder(file: str, flag: str) -> str:
    path = Path(file).resolve()
    if not path.is_relative_to(ray_cluster.ROOT):
        raise UsageError(
            f"{flag}={file} is not in {ray_cluster.ROOT}, which is shipped to the cluster"
        )
    return str(path.relative_to(ray_cluster.ROOT))
