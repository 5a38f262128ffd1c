"""The command `sfvae_jax`: which module a subcommand runs, and with which arguments."""

import configparser
import importlib
import subprocess
import sys

import pytest
from helpers import HANG, ROOT

from sfvae_jax.command_line import console


@pytest.fixture
def ran(monkeypatch):
    """What would be run: the module and its arguments."""
    calls = []
    monkeypatch.setattr(sys, "argv", ["sfvae_jax"])

    def run_module(name, run_name, alter_sys):
        assert (run_name, alter_sys) == ("__main__", True)
        calls.append((name, sys.argv[1:]))

    monkeypatch.setattr(console.runpy, "run_module", run_module)
    return calls


@pytest.mark.parametrize(
    ("arguments", "module", "rest"),
    [
        (["--config=a.py", "--workdir=x"], "sfvae_jax.main", ["--config=a.py", "--workdir=x"]),
        (["--helpfull"], "sfvae_jax.main", ["--helpfull"]),
        (["report", "runs", "--latex"], "sfvae_jax.report", ["runs", "--latex"]),
        (["sweep", "--config=a.py"], "launch.sweep", ["--config=a.py"]),
        (["reproduce", "--list"], "launch.reproduce", ["--list"]),
    ],
)
def test_a_subcommand_runs_its_module(ran, arguments, module, rest):
    assert console.main(arguments) == 0
    assert ran == [(module, rest)]


def test_launch_is_found_from_any_folder(ran, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path not in ("", str(ROOT))])
    console.main(["sweep", "--config=a.py"])
    assert str(ROOT) in sys.path


@pytest.mark.parametrize("arguments", [[], ["--help"], ["help"]])
def test_help_names_every_subcommand(ran, capsys, arguments):
    assert console.main(arguments) == 0
    text = capsys.readouterr().out
    for name in ("--config", "report", "sweep", "reproduce", "list", "show"):
        assert f"sfvae_jax {name}" in text


def test_an_unknown_subcommand_gets_a_suggestion(ran, capsys):
    assert console.main(["reprot"]) == 2
    error = capsys.readouterr().err
    assert "unknown subcommand 'reprot'; did you mean 'report'?" in error
    assert not ran


def test_the_entry_point_is_this_function():
    settings = configparser.ConfigParser()
    settings.read(ROOT / "setup.cfg")
    name, _, place = settings["options.entry_points"]["console_scripts"].strip().partition(" = ")
    module, _, function = place.partition(":")
    assert name == "sfvae_jax"
    assert getattr(importlib.import_module(module), function) is console.main


def test_as_a_process():
    """`python -m sfvae_jax` runs the flags of `main`; `list` imports no TensorFlow."""
    command = [sys.executable, "-m", "sfvae_jax", "--mode=tain"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=HANG)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "--mode=tain" in done.stderr
    code = (
        "import sys; from sfvae_jax.command_line.console import main; main(['list', 'configs'])\n"
        "assert 'jax' not in sys.modules\n"
        "main(['list']); assert not {'tensorflow', 'orbax', 'matplotlib'} & set(sys.modules)"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=HANG)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_plugin_in_the_current_folder_is_found_by_the_name_of_its_module(
    tmp_path, monkeypatch, no_plugins, capsys, request
):
    """As by `python -m sfvae_jax`; a script has its own folder on sys.path instead."""
    monkeypatch.setattr(sys, "path", [place for place in sys.path if place])
    request.addfinalizer(lambda: sys.modules.pop("my_active_units", None))
    monkeypatch.chdir(tmp_path)
    source = ROOT / "examples" / "plugins" / "active_units.py"
    (tmp_path / "my_active_units.py").write_bytes(source.read_bytes())
    assert console.main(["list", "--plugins=my_active_units", "plugins"]) == 0
    assert "active_units" in capsys.readouterr().out
