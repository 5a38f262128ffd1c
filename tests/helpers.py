"""What several tests share: the tiny experiment, config files, and waiting for other processes."""

import importlib.util
import json
import os
import resource
import time
from contextlib import contextmanager
from pathlib import Path

import jax
import pytest

ROOT = Path(__file__).resolve().parent.parent
# Only guards against a hang: more than ten times what the slowest machine needs.
HANG = 600

TINY = {
    "data.num_examples": 40,
    "model.latent_size": 4,
    "model.hidden_sizes": (8,),
    "model.output_activation": "identity",  # which every likelihood takes
    "model.initializer": "lecun_normal",
    "objective.name": "sampling",  # compiles faster than sampling_free
    "train.steps": 12,
    "train.steps_per_call": 3,
    "train.log_every": 2,
    "train.checkpoint_every": 4,
    "evaluations.steps": (5, 12),
    "evaluations.step_pictures": False,
}


def make_tiny_config(**changes):
    """Returns the config of the fixture `tiny_config`."""
    config = load_config("mnist_collapse").get_config("laptop")
    for key, value in {**TINY, **changes}.items():
        value = tuple(value) if isinstance(value, list) else value  # as JSON has it
        config.update_from_flattened_dict({key: value})
    return config


def parallel_steps(config, model, optimizer, examples, batch_size, num_devices=1):
    """The train steps of a resolved config, with its seed's key, on the first of the devices."""
    from sfvae_jax.training.parallel import AXIS_NAME, ParallelSteps
    from sfvae_jax.training.state import make_keys
    from sfvae_jax.training.step import make_train_step

    step = make_train_step(config, model, optimizer, axis_name=AXIS_NAME)
    devices = jax.local_devices()[:num_devices]
    assert len(devices) == num_devices
    return ParallelSteps(step, examples, batch_size, make_keys(config.seed).training, devices)


def text_file(name):
    """A file of the folder SFVAE_TEXT_DIR, or ../shared/data/text; skips where it is not there."""
    folder = Path(os.environ.get("SFVAE_TEXT_DIR") or ROOT.parent / "shared" / "data" / "text")
    if not (folder / name).is_file():
        pytest.skip(f"there is no {name} in {folder}")
    return folder / name


def wait_for(holds, *processes):
    """Waits until `holds()`; fails if that takes far too long or a process ends first."""
    deadline = time.monotonic() + HANG
    while not holds():
        for process in processes:
            assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)


@contextmanager
def largest_file(size):
    """Limits the files of this process to this number of bytes, as if the disk were full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def checkpoint_steps(workdir):
    """Returns the steps of a run's checkpoints whose names are those of complete ones."""
    return {int(path.name) for path in (workdir / "checkpoints").glob("*") if path.name.isdigit()}


def records(workdir):
    """Returns the records in metrics.jsonl of a run."""
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


def load_config(name):
    """Imports a file of configs/ by its path, as the command line does."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "configs" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def equations(jaxpr):
    """Yields all equations of a jaxpr, including those of called functions."""
    for eqn in jaxpr.eqns:
        yield eqn
        for value in jax.tree.leaves(eqn.params, is_leaf=lambda v: hasattr(v, "eqns")):
            inner = getattr(value, "jaxpr", value)
            if hasattr(inner, "eqns"):
                yield from equations(inner)
