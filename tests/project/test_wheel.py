"""The wheel: what it holds, and that it works in an empty folder without the repository."""

import email
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from helpers import ROOT

_spec = importlib.util.spec_from_file_location("sfvae_jax_setup", ROOT / "setup.py")
setup_file = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(setup_file)

_TRAIN_BRIEFLY = ("--config.train.steps=2", "--config.data.num_examples=40")
_EVALUATE_BRIEFLY = ("--config.evaluations.names=('collapse',)",)


@pytest.fixture(scope="module")
def metadata(wheel):
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        return email.message_from_bytes(archive.read(name))


def _files(*folders, suffixes):
    paths = [path for folder in folders for path in (ROOT / folder).rglob("*") if path.is_file()]
    return {path.relative_to(ROOT).as_posix() for path in paths if path.suffix in suffixes}


def test_the_wheel_holds_the_library_the_configs_and_launch_and_nothing_else(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
        library = _files("sfvae_jax", suffixes={".py", ".npz", ".smi", ".txt", ".typed"})
        copies = _files("configs", "launch", suffixes={".py", ".sh", ".sbatch"})
        assert names == library | {f"sfvae_jax/_shipped/{name}" for name in copies}
        for name in copies:
            there = archive.read(f"sfvae_jax/_shipped/{name}")
            assert there == (ROOT / name).read_bytes()
    assert wheel.stat().st_size < 2 * 2**20


def test_metadata(wheel, metadata):
    assert metadata["Author"] == "The sfvae_jax authors"
    extras = set(metadata.get_all("Provides-Extra"))
    assert extras >= {
        "molecules",
        "sweep",
        "tensorboard",
        "cuda12",
        "cuda13",
        "tpu",
        "test",
        "lint",
        "bench",
    }
    required = [line for line in metadata.get_all("Requires-Dist") if "extra ==" not in line]
    packages = {line.partition(">=")[0].strip() for line in required}
    assert not packages & {"mlxtend", "pandas", "bayesian-optimization", "ray", "rdkit", "torch"}
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith("/entry_points.txt"))
        assert b"sfvae_jax = sfvae_jax.command_line.console:main" in archive.read(name)
    licences = metadata.get_all("License-File")
    assert licences == ["LICENSE", "sfvae_jax/data/image_sources/mnist_5k.LICENSE.txt"]


def test_the_page_on_installation_names_every_extra(metadata):
    page = (ROOT / "docs" / "installation.md").read_text()
    table = page.partition("## Extras")[2].partition("## Size")[0]
    named = {name for row in table.splitlines() for name in re.findall(r"`(\w+)`", row[:30])}
    assert named == set(metadata.get_all("Provides-Extra"))


def test_the_long_description_is_readme_without_relative_links(metadata):
    text = metadata.get_payload(decode=True).decode()
    assert text.startswith("# sfvae_jax\n")
    assert setup_file.absolute_links(text, setup_file.REPOSITORY) == text
    assert "](docs/" not in text
    assert "](LICENSE)" not in text


def test_links_become_absolute():
    page = "[a](docs/a.md#b), ![c [d]](e.png), [f](https://g), [h](#i), [j `k[0]`](l)"
    assert setup_file.absolute_links(page, "https://x/y") == (
        "[a](https://x/y/blob/main/docs/a.md#b), ![c [d]](https://x/y/raw/main/e.png),"
        " [f](https://g), [h](#i), [j `k[0]`](https://x/y/blob/main/l)"
    )
    assert setup_file.absolute_links(page, "") == "a, c [d], [f](https://g), [h](#i), j `k[0]`"


def _runner(python, folder, **environment):
    """Runs a Python in an empty folder of its own, and returns what it prints."""
    (folder / "empty").mkdir()
    variables = {**os.environ, "PYTHONPATH": "", "HOME": str(folder), **environment}

    def run(*arguments):
        done = subprocess.run(
            [python, *arguments],
            capture_output=True,
            text=True,
            cwd=folder / "empty",
            env=variables,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    run.folder = folder / "empty"
    return run


def _install_alone(python, wheel, site):
    """Installs the wheel without the packages that it needs."""
    command = "pip install --no-deps --no-index --no-compile --quiet --target"
    subprocess.run([python, "-m", *command.split(), str(site), str(wheel)], check=True)


@pytest.fixture
def installed(wheel, tmp_path):
    """Runs Python with the installed wheel in an empty folder."""
    _install_alone(sys.executable, wheel, tmp_path / "site")
    run = _runner(sys.executable, tmp_path, PYTHONPATH=str(tmp_path / "site"))
    run.site = tmp_path / "site"
    return run


def test_the_installed_wheel_finds_its_own_files(installed):
    code = (
        "from sfvae_jax import shipped; from sfvae_jax.data.image_sources import mnist_5k;"
        "print(shipped.IS_INSTALLED, shipped.FOLDER, len(mnist_5k.open_mnist_5k()['train']));"
        "print(shipped.config_path('mnist_collapse:laptop'))"
    )
    shipped = installed.site / "sfvae_jax" / "_shipped"
    assert installed("-c", code) == (
        f"True {shipped} 5000\n{shipped}/configs/mnist_collapse.py:laptop\n"
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "config"),
    [
        (("{site}/bin/sfvae_jax",), "mnist_collapse:laptop"),
        (("-m", "sfvae_jax.main"), "configs/mnist_collapse.py"),
    ],
)
def test_the_installed_wheel_trains_in_an_empty_folder(installed, command, config):
    flags = (f"--config={config}", *_TRAIN_BRIEFLY, *_EVALUATE_BRIEFLY)
    installed(*(part.format(site=installed.site) for part in command), *flags)
    (run,) = (installed.folder / "runs").iterdir()
    assert run.name.startswith(f"mnist_collapse{'-laptop' * ('laptop' in config)},")
    assert (run / "results.json").is_file()
    assert "collapse" in installed("-m", "sfvae_jax.report", str(run))


@pytest.mark.slow
def test_the_installed_wheel_sweeps_in_an_empty_folder(installed):
    flags = ("--config=mnist_collapse:laptop", "--workdir=runs", "--filter=seed=0")
    dry = installed("-m", "sfvae_jax", "sweep", *flags, "--dry-run")
    assert "sfvae_jax.main --config=mnist_collapse:laptop" in dry
    table = installed("-m", "sfvae_jax", "sweep", *flags, *_TRAIN_BRIEFLY, *_EVALUATE_BRIEFLY)
    assert "collapse" in table
    assert "sfvae-table4" in installed("-m", "sfvae_jax", "reproduce", "--list")


VERSIONS = ("3.11", "3.12", "3.13")
RUNNING = f"{sys.version_info.major}.{sys.version_info.minor}"


def _python(version):
    """The path of a Python of this version, on the PATH or by pyenv; skips where there is none."""
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    found = [sys.executable, shutil.which(f"python{version}")]
    found += sorted(pyenv.glob(f"versions/{version}.*/bin/python"))
    code = "import sys, pip, venv; print(sys.version_info[:2] == tuple(map(int, sys.argv[1:])))"
    for path in filter(None, found):
        command = [str(path), "-c", code, *version.split(".")]
        if subprocess.run(command, capture_output=True, text=True).stdout == "True\n":
            return str(path)
    pytest.skip(f"there is no Python {version} with pip on this machine")


def test_every_supported_python_is_named(metadata):
    assert metadata["Requires-Python"] == f">={VERSIONS[0]}"
    prefix = "Programming Language :: Python :: 3."
    named = [line for line in metadata.get_all("Classifier") if line.startswith(prefix)]
    assert [f"3.{line.removeprefix(prefix)}" for line in named] == list(VERSIONS)


@pytest.mark.parametrize("version", VERSIONS)
def test_each_python_at_hand_installs_the_wheel(wheel, metadata, tmp_path, version):
    """Without the packages that it needs: all modules compile, and the package is imported."""
    python, site = _python(version), tmp_path / "site"
    _install_alone(python, wheel, site)
    subprocess.run([python, "-m", "compileall", "-q", str(site)], check=True)
    code = "import sys, sfvae_jax; print(*sys.version_info[:2], sfvae_jax.__version__)"
    found = _runner(python, tmp_path, PYTHONPATH=str(site))("-c", code)
    assert found == f"{version.replace('.', ' ')} {metadata['Version']}\n"


@pytest.mark.slow
@pytest.mark.parametrize("version", [version for version in VERSIONS if version != RUNNING])
def test_other_pythons_at_hand_train_with_the_wheel(wheel, tmp_path, version):
    """In a fresh environment with all packages, which takes minutes and a gigabyte."""
    environment = tmp_path / "environment"
    subprocess.run([_python(version), "-m", "venv", str(environment)], check=True)
    pip = [str(environment / "bin" / "pip"), "--disable-pip-version-check"]
    reachable = subprocess.run(
        [*pip, "download", "--quiet", "--no-deps", "--dest", str(tmp_path / "any"), "absl-py"],
        capture_output=True,
        text=True,
    )
    if reachable.returncode:
        pytest.skip("there is no package index here")
    subprocess.run([*pip, "install", "--quiet", str(wheel)], check=True)
    # Its jaxlib may be another release, which does not know the flags of these tests.
    run = _runner(str(environment / "bin" / "python"), tmp_path, XLA_FLAGS="")
    flags = ("--config=mnist_collapse:laptop", *_TRAIN_BRIEFLY, *_EVALUATE_BRIEFLY)
    run("-m", "sfvae_jax", *flags)
    (workdir,) = (run.folder / "runs").iterdir()
    assert "collapse" in run("-m", "sfvae_jax", "report", str(workdir))
    assert "mnist_collapse" in run("-m", "sfvae_jax", "list", "configs")
    assert "sfvae-table4" in run("-m", "sfvae_jax", "reproduce", "--list")
    sweep = ("sweep", "--config=mnist_collapse:laptop", "--workdir=runs/table4", "--dry-run")
    assert "sfvae_jax.main --config=mnist_collapse:laptop" in run("-m", "sfvae_jax", *sweep)
