"""Shipped config files are found by name from any folder, and launch/ is imported from there."""

import os
import subprocess
import sys

import pytest
from helpers import ROOT

from launch.configs import load_sweep, parse_config
from sfvae_jax import shipped
from sfvae_jax.errors import UsageError

SHIPPED = f"{ROOT}/configs/mnist_collapse.py"
NAMES = tuple(f"{folder}mnist_collapse{end}" for folder in ("", "configs/") for end in ("", ".py"))


@pytest.mark.parametrize("preset", ["", ":laptop", ":a:b"])
@pytest.mark.parametrize("name", NAMES)
def test_a_shipped_file_is_found_by_name(monkeypatch, tmp_path, name, preset):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mnist_collapse").mkdir()  # such as a workdir; only files count
    assert shipped.config_path(name + preset) == SHIPPED + preset
    assert shipped.config_name(name + preset) == f"configs/mnist_collapse.py{preset}"


@pytest.mark.parametrize("name", NAMES)
def test_a_file_of_this_name_comes_first(monkeypatch, tmp_path, name):
    monkeypatch.chdir(tmp_path)
    file = tmp_path / name
    file.parent.mkdir(exist_ok=True)
    file.write_text("")
    assert shipped.config_path(f"{name}:laptop") == f"{name}:laptop"
    assert shipped.config_name(f"{name}:laptop") == f"{name}:laptop"


@pytest.mark.parametrize(
    "given",
    [
        *("", ":laptop", "configs/", ".py", "none", "configs/none.py", "./mnist_collapse.py"),
        *("own/rae.py", "configs/../configs/rae.py", "/configs/rae.py", "rae.py\0", "ra*"),
    ],
)
def test_anything_else_is_left_as_it_is(monkeypatch, tmp_path, given):
    monkeypatch.chdir(tmp_path)
    assert shipped.config_path(given) == given
    assert shipped.config_name(given) == given


def test_in_the_repository_names_mean_the_same_file(monkeypatch):
    monkeypatch.chdir(ROOT)
    assert shipped.config_path("configs/rae.py:laptop") == "configs/rae.py:laptop"
    assert shipped.config_path("rae:laptop") == f"{ROOT}/configs/rae.py:laptop"
    assert shipped.config_name("rae:laptop") == "configs/rae.py:laptop"


def test_sweeps_find_shipped_files(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    flags = ("--config.seed=3",)
    expected = parse_config((f"--config={SHIPPED}:laptop", *flags))
    for name in NAMES:
        assert parse_config((f"--config={name}:laptop", *flags)) == expected
        assert load_sweep(f"{name}:laptop") == load_sweep(f"{SHIPPED}:laptop")
    with pytest.raises(UsageError, match=r"No such file.*none\.py"):
        parse_config(("--config=none.py",))


def test_main_finds_shipped_files_and_names_the_run_as_in_the_repository(tmp_path):
    """In a process, because absl's flags are those of the process."""
    code = """
import sys
from pathlib import Path
import sfvae_jax.main as m
m._parse(sys.argv)
print(m._workdir().relative_to(Path.cwd()), m._CONFIG.value.seed, m._CONFIG.value.data.name)
"""
    arguments = ["--config=mnist_collapse:laptop", "--config.seed=4"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=environment,
    )
    assert done.stdout == "runs/mnist_collapse-laptop,seed=4 4 mnist_5k\n", done.stderr


def test_launch_is_put_on_the_path_once(monkeypatch):
    others = [path for path in sys.path if path != str(ROOT)]
    monkeypatch.setattr(sys, "path", others.copy())
    shipped.put_launch_on_path()
    shipped.put_launch_on_path()
    assert sys.path == [str(ROOT), *others]
    assert not shipped.IS_INSTALLED
