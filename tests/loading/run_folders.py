"""Folders of runs as training leaves them, and how to tell whether one was changed."""

import dataclasses
import shutil

import jax.numpy as jnp
import numpy as np

from sfvae_jax import data, models
from sfvae_jax.config import base_config, resolve
from sfvae_jax.runs.checkpoints.saving import Checkpoints
from sfvae_jax.runs.data_fingerprint import with_fingerprint
from sfvae_jax.runs.files import example_file
from sfvae_jax.runs.plugin_files import keep_plugins
from sfvae_jax.runs.workdir import Workdir
from sfvae_jax.training.early_stopping import with_best
from sfvae_jax.training.state import create_state, make_optimizer


def save_untrained(config, folder, step=1):
    """A run with the parameters it starts with, for which no step is compiled; its config."""
    config = resolve(config)
    splits = data.Splits(config.data)
    config = with_fingerprint(config, splits)
    shape = splits.open_examples("train").shape[1:]
    optimizer = make_optimizer(config.train)
    state = create_state(config, models.build(config, shape), optimizer, shape)
    state = with_best(dataclasses.replace(state, step=jnp.int32(step)), config.train)
    files = Workdir(folder)
    with (
        files.claimed(config, base_config(plugins=config.plugins)),
        Checkpoints(files.checkpoints, 3, files.check_owner) as checkpoints,
    ):
        example_file.write(files, shape)
        keep_plugins(config, files)
        checkpoints.save(state)
    return config


def save_images(path, shape, number=20, seed=0):
    """Random images as a file that `data.name=npz:PATH` takes; returns them."""
    images = np.random.default_rng(seed).integers(0, 256, (number, *shape), np.uint8)
    np.savez(path, x_train=images, x_test=images[:5])
    return images


def of_early_version(folder, target):
    """A copy of a run that does not record the shape of an example."""
    shutil.copytree(folder, target)
    (target / "example.json").unlink()
    return target


def content(folder):
    """The times of everything in a folder, and the bytes of its files."""
    return {
        path: (path.stat().st_mtime_ns, path.read_bytes() if path.is_file() else b"")
        for path in (folder, *folder.rglob("*"))
    }
