"""The wheel, which several files test."""

import shutil
import subprocess
import sys

import pytest
from helpers import ROOT

_IGNORED = shutil.ignore_patterns("__pycache__", "*.pyc")


@pytest.fixture(scope="session")
def wheel(tmp_path_factory):
    """The path of a wheel, built without a network from a copy of what it is made of."""
    pytest.importorskip("setuptools", minversion="77")
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    for name in ("setup.py", "setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for name in ("sfvae_jax", "configs", "launch"):
        shutil.copytree(ROOT / name, source / name, ignore=_IGNORED)
    command = "pip wheel --no-deps --no-build-isolation --no-index --quiet --wheel-dir"
    done = subprocess.run(
        [sys.executable, "-m", *command.split(), str(folder), str(source)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    (found,) = folder.glob("*.whl")
    return found
