"""Trains and evaluates an autoencoding generative model.

  python -m sfvae_jax.main --config=configs/mnist_collapse.py:laptop [--workdir=runs/collapse]

--config names a file, with an optional preset after a colon (without a preset: the paper's own
setting; laptop: minutes on two CPU cores, no download). A file of configs/ ships with the library:
in any folder without a file of this name, --config=mnist_collapse:laptop means the same. Any value
can be changed:

  --config.objective.name=sampling    another objective; docs/objectives.md lists them
  --config.seed=1                     another initialisation, order of batches and noise
  --config.data.name=fashion_mnist    mnist_5k, sprites, sprites_gray, npz:PATH of your own arrays,
                                      folder:PATH of image files, or a TFDS name (in TFDS_DATA_DIR)
  --config.model.latent_size=32       and so on; an unknown key is an error

Without --workdir a run goes to runs/NAME, where NAME is made of the config, its preset and what the
command line changes about the training; the first line of the log shows it. The same command again
resumes from the last checkpoint; with a larger --config.train.steps a run in --workdir goes on to
them. --workdir=DIR --mode=evaluate measures a run that is there; it needs no --config, and
--config.evaluations.names=... chooses other measures.
A workdir holds config.json, example.json (the shape of an example), metrics.jsonl, checkpoints/,
results.json, figures/*.png and provenance.jsonl (versions, machine, time taken). --tensorboard adds
event files in tensorboard/, and --profile=100:110 a trace of these steps in profile/. Nothing is
written outside of it except compiled programs, which are kept in ~/.cache/sfvae_jax unless
--config.train.compilation_cache=false.
Compare runs with: python -m sfvae_jax.report runs/A runs/B

One run over many hosts: the same command on each with --distributed, which finds the others on
Cloud TPU, SLURM and Kubernetes; elsewhere add --coordinator_address=HOST:PORT --num_processes=N
--process_id=I. All need the same --workdir, on a file system that they share; process 0 writes.
At SIGINT, SIGTERM or SIGHUP, training saves a checkpoint and ends (exit status 130, 143 or 129); a
second SIGINT ends it at once. Anything other than training ends at once.
"""

from __future__ import annotations

import gc

from sfvae_jax.runtime.memory import computes_on_cpu, keep_freed_memory
from sfvae_jax.runtime.signals import Stopped, StopSignals, let_interrupts_end_the_process

if __name__ == "__main__":
    let_interrupts_end_the_process()  # before JAX is imported, which takes seconds
    gc.disable()  # until all is imported, in `_run`; searches take a tenth of the start
    # A setting of the whole process; callers of `train` keep their own.
    if computes_on_cpu():
        keep_freed_memory()

import logging
import sys
import traceback
from pathlib import Path
from typing import NoReturn

import jax
from absl import app, flags
from ml_collections import config_flags

from sfvae_jax.command_line.flag_errors import check_overrides, one_line
from sfvae_jax.command_line.plugin_flags import import_named_plugins, import_plugins_of_config
from sfvae_jax.command_line.tuples import with_tuples
from sfvae_jax.errors import RunError, UsageError, in_one_line
from sfvae_jax.paths import local_path, shown
from sfvae_jax.runs.run_names import name_of_command
from sfvae_jax.runtime import display, output, processes
from sfvae_jax.runtime.devices import check_devices
from sfvae_jax.runtime.lock import check_free
from sfvae_jax.runtime.quiet_orbax import hush
from sfvae_jax.shipped import config_name, find_shipped_configs
from sfvae_jax.watching.profile import Steps, parse_steps

log = logging.getLogger("sfvae_jax")

_CONFIG = config_flags.DEFINE_config_file(
    "config", None, "Config file with an optional preset, FILE.py[:PRESET].", lock_config=True
)
find_shipped_configs(flags.FLAGS["config"])
_WORKDIR = flags.DEFINE_string(
    "workdir", None, "Folder that the run reads and writes; default: runs/NAME, see above."
)
_DISTRIBUTED = flags.DEFINE_bool(
    "distributed",
    False,
    "Whether this is one process of a run on many hosts, which find each other.",
)
_COORDINATOR = flags.DEFINE_string(
    "coordinator_address",
    None,
    "HOST:PORT of process 0, for processes that do not find each other; implies --distributed.",
)
_NUM_PROCESSES = flags.DEFINE_integer(
    "num_processes", None, "Number of processes; implies --distributed."
)
_PROCESS_ID = flags.DEFINE_integer(
    "process_id", None, "Number of this process, from 0; implies --distributed."
)
_MODE = flags.DEFINE_enum(
    "mode",
    "train_and_evaluate",
    ["train", "evaluate", "train_and_evaluate"],
    "Whether to train, to evaluate the last checkpoint, or both.",
)
_TENSORBOARD = flags.DEFINE_bool(
    "tensorboard",
    False,
    "Whether to write event files for TensorBoard to WORKDIR/tensorboard; requires tensorboardX.",
)
_PROFILE = flags.DEFINE_string(
    "profile",
    None,
    "FIRST:LAST, the steps that JAX's profiler traces, such as 100:110; to WORKDIR/profile.",
)

_RESUMES = "the same command resumes from the last checkpoint"


def main(argv: list[str]) -> None:
    """Runs what the flags ask for; an error ends in one line and exit status 2 or 1."""
    if len(argv) > 1:
        _fail(f"unexpected argument {argv[1]!r}; give values as --flag=value", 2)
    if _CONFIG.value is None:
        _fail(
            "--config=FILE.py[:PRESET] is needed, except for --workdir=DIR --mode=evaluate; see"
            " --help",
            2,
        )
    _set_up_logging()
    try:
        profile = _profile()
        workdir = _workdir()
        _join_processes(workdir)
        # Not earlier, because JAX installs handlers of its own when it joins processes.
        with StopSignals(_end_at_once) as signals:
            _run(workdir, profile, signals)
    except (UsageError, RunError) as error:
        _fail(str(error), error.exit_status)
    except OSError as error:  # a full disk, or a folder in place of a file
        _fail(in_one_line(error), RunError.exit_status)
    except Stopped as stop:
        _fail(f"{stop}; {_RESUMES}", stop.exit_status)
    except Exception as error:
        if not jax.distributed.is_initialized():
            raise
        _fail(processes.failure(error), RunError.exit_status)


def _run(workdir: Path, profile: Steps | None, signals: StopSignals) -> None:
    check_devices()
    # Imported here so that a mistyped flag does not wait for Orbax.
    from sfvae_jax.command_line.unread import unread
    from sfvae_jax.evaluate import evaluate
    from sfvae_jax.runtime.compilation_cache import use_compilation_cache
    from sfvae_jax.runtime.start_up_time import process_start
    from sfvae_jax.train import train

    if not gc.isenabled():
        gc.freeze()  # what is imported stays, and need not be searched again
        gc.enable()
    if _CONFIG.value.train.compilation_cache:
        use_compilation_cache()
    for sentence in unread(_CONFIG.value, config_flags.get_override_values(flags.FLAGS["config"])):
        log.info(sentence)
    began: float | None = process_start()
    if _MODE.value != "evaluate":
        train(
            _CONFIG.value,
            workdir,
            tensorboard=_TENSORBOARD.value,
            profile=profile,
            began=began,
            signals=signals,
        )
        began = None  # training has recorded the time so far
    if _MODE.value != "train":
        evaluate(_CONFIG.value, workdir, tensorboard=_TENSORBOARD.value, began=began)


def _profile() -> Steps | None:
    """Returns the steps to trace, if any."""
    if _PROFILE.value is None:
        return None
    if _MODE.value == "evaluate":
        raise UsageError("--profile traces training, and --mode=evaluate does not train")
    return parse_steps(_PROFILE.value)


def _workdir() -> Path:
    """Returns the folder of the run: --workdir, or one named by how the run is trained."""
    if _WORKDIR.value is not None:
        return local_path(_WORKDIR.value, "--workdir")
    # Imported here so that --help does not wait for the data sets.
    from sfvae_jax.runs.files.config_file import decides_training

    flag = flags.FLAGS["config"]
    given = config_flags.get_override_values(flag)
    changes = {key: value for key, value in given.items() if decides_training(key)}
    name = name_of_command(config_name(config_flags.get_config_filename(flag)), changes)
    workdir = local_path(Path("runs", name), "--workdir")
    log.info("no --workdir is given: this run goes to %s", shown(workdir))
    return workdir


def _join_processes(workdir: Path) -> None:
    given = (_COORDINATOR.value, _NUM_PROCESSES.value, _PROCESS_ID.value)
    if _DISTRIBUTED.value or any(value is not None for value in given):
        # Processes that connect to the coordinator of another run would end that run.
        check_free(workdir)
        processes.start(*given)
        if not processes.is_main():
            log.setLevel(logging.WARNING)
            display.hide()


def _set_up_logging() -> None:
    hush()  # Orbax and TFDS log every file
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(message)s"))
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    log.propagate = False


def _parse(argv: list[str]) -> list[str]:
    if _asks_for_help(argv):
        with output.reader_may_leave():
            app.parse_flags_with_usage(argv)
        sys.exit()
    try:
        check_overrides(argv)
        import_named_plugins(argv)
        argv = _with_config(argv)
        import_plugins_of_config(flags.FLAGS["config"], argv)
        rest = flags.FLAGS(with_tuples(argv))
        if _CONFIG.value is not None:
            _CONFIG.value.keys()  # a file that cannot be read only fails when it is used
    except Exception as error:  # a bad flag or value, or any error in the config file
        _fail(one_line(error, argv), 2)
    return rest


def _with_config(argv: list[str]) -> list[str]:
    """Adds the configuration of a run that is there, if it is evaluated without --config."""
    if any(arg.lstrip("-").startswith("config=") for arg in argv):
        return argv
    # Imported here so that a command with --config does not wait for it.
    from sfvae_jax.command_line.recorded import with_recorded_config

    return with_recorded_config(argv)


def _asks_for_help(argv: list[str]) -> bool:
    return any(arg.lstrip("-").startswith("help") for arg in argv[1:])


def _end_at_once(stop: Stopped) -> NoReturn:
    """Ends the process at a signal that need not wait; all files on disk are whole."""
    if sys.stderr.isatty():
        output.say("", sys.stderr)  # to a line below a progress bar
    _fail(f"{stop}; {_RESUMES}", stop.exit_status)


def _fail(message: str, status: int) -> NoReturn:
    try:
        output.say_error(message)
    finally:
        processes.abandon(status)


if __name__ == "__main__":
    output.prepare()
    try:
        app.run(main, flags_parser=_parse)
    except Exception:
        traceback.print_exc()
        processes.abandon(1)  # a clean end could wait for threads for minutes
