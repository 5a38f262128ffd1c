"""Every notebook runs in an empty folder with nothing but the wheel, and kept one whole run."""

import base64
import io
import itertools
import json
import os
import subprocess
import sys
import venv
from pathlib import Path

import pytest
from helpers import ROOT
from PIL import Image

from book import notebooks

NAMES = [path.stem for path in notebooks.notebooks()]
# What replaces the settings of each notebook, except in slow tests.
SMALL = {
    "first_vae": {"steps": 2, "batch_size": 4, "latent_size": 2, "hidden_size": 4},
    "jacobian_quality": {
        "steps": 4,
        "latent_size": 3,
        "hidden_sizes": (8,),
        "num_images": 3,
        "num_truth": 40,
        "sample_counts": (3, 6, 12),
        "widths": (0.5, 2.0),
    },
    "inference_gaps": {
        "steps": 4,
        "num_images": 6,
        "grid": 21,
        "search_steps": 2,
        "num_samples": 2,
    },
    "load_and_explore": {
        "steps": 4,
        "latent_size": 4,
        "hidden_sizes": (8,),
        "num_codes": 100,
        "num_compared": 10,
        "classifier_steps": 2,
    },
    "expressions": {
        "num_expressions": 300,
        "num_test": 10,
        "steps": 4,
        "latent_size": 4,
        "decoder_sizes": (8,),
        "grid": 5,
        "num_trials": 1,
        "num_start": 20,
        "num_parents": 5,
        "num_rounds": 1,
        "round_size": 4,
    },
    "posterior_collapse": {
        "steps": 2,
        "more_steps": 4,
        "num_images": 12,
        "latent_size": 2,
        "hidden_sizes": (4,),
    },
}


def _read(name):
    return json.loads((ROOT / "colabs" / f"{name}.ipynb").read_text(encoding="utf-8"))


def _code_cells(name):
    return [cell for cell in _read(name)["cells"] if cell["cell_type"] == "code"]


def _without_sfvae_jax(folder):
    """Makes an environment with the packages of this one, except sfvae_jax; returns its Python."""
    venv.create(folder, symlinks=True)
    (site,) = folder.glob("lib/python*/site-packages")
    for place in (path for path in sys.path if path.endswith("-packages")):
        for package in Path(place).iterdir():
            link = site / package.name
            if "sfvae_jax" not in package.name and not link.exists():
                link.symlink_to(package)
    return folder / "bin" / "python"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Runs Python in a new folder, in an environment that has no sfvae_jax at first."""
    python = _without_sfvae_jax(tmp_path_factory.mktemp("environment"))
    inherited = {name: text for name, text in os.environ.items() if name != "PYTHONPATH"}
    inherited |= {"PIP_NO_INDEX": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1", "MPLBACKEND": "agg"}

    def run(*arguments, wheel=None, **variables):
        folder = tmp_path_factory.mktemp("colab")
        if wheel:
            (folder / wheel.name).symlink_to(wheel)
        return subprocess.run(
            [str(python), *map(str, arguments)],
            capture_output=True,
            text=True,
            cwd=folder,
            env={**inherited, **variables},
        )

    return run


@pytest.fixture(scope="module")
def install(run):
    """Runs the install cell, beside a wheel or alone."""
    code = "".join(_code_cells("jacobian_quality")[0]["source"])
    code += "\nimport sfvae_jax; print(sfvae_jax.__file__)"
    return lambda wheel=None: run("-c", code, wheel=wheel)


@pytest.fixture(scope="module")
def refused(install):
    """What the install cell does where it finds no sfvae_jax."""
    return install()


@pytest.fixture(scope="module")
def run_notebooks(refused, install, wheel, run):
    """Installs the wheel by a notebook's install cell; returns a function that runs notebooks."""
    done = install(wheel=wheel)
    assert done.returncode == 0, done.stderr
    assert "site-packages" in done.stdout

    def run_notebooks(settings_of, **variables):
        program = Path(__file__).with_name("run_notebooks.py")
        paths = {str(ROOT / "colabs" / f"{name}.ipynb"): settings_of[name] for name in settings_of}
        return run(program, repr(paths), **variables)

    return run_notebooks


def test_the_install_cell_says_in_a_line_what_to_do(refused):
    assert refused.returncode == 1
    *_, last = refused.stderr.splitlines()
    assert last == "pip failed, see above; it also takes a wheel from the folder of this notebook"
    assert "sfvae_jax" in refused.stderr


def test_every_cell_of_every_notebook_runs(run_notebooks):
    """In one process, so that packages are imported once."""
    done = run_notebooks(SMALL, JAX_NUMPY_RANK_PROMOTION="raise")
    assert done.returncode == 0, done.stderr
    assert [line[4:] for line in done.stdout.splitlines() if line[:4] == "ran "] == list(SMALL)
    assert set(SMALL) == set(NAMES)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_the_whole_notebook_runs(name, run_notebooks):
    done = run_notebooks({name: {}}, XLA_FLAGS="")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", NAMES)
def test_what_is_kept_is_one_whole_run(name):
    cells = _code_cells(name)
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    outputs = list(itertools.chain.from_iterable(cell["outputs"] for cell in cells))
    assert not [output for output in outputs if output["output_type"] == "error"]
    assert notebooks.picture(_read(name))
    assert (ROOT / "colabs" / f"{name}.ipynb").stat().st_size < 300_000


@pytest.mark.parametrize("name", NAMES)
def test_badge_install_cell_and_picture_are_as_written(name):
    """`python -m book.notebooks` writes them."""
    text = (ROOT / "colabs" / f"{name}.ipynb").read_text(encoding="utf-8")
    notebook = json.loads(text)
    framed = notebooks.with_frame(notebook, name, notebooks.repository())
    assert notebooks.as_text(framed) == text
    assert (notebooks.FIGURES / f"{name}.png").read_bytes() == notebooks.picture(notebook)


def test_an_address_on_github_gives_a_badge_and_where_to_install_from():
    address = "https://github.com/owner/sfvae_jax"
    notebook = {**_read(NAMES[0]), "metadata": {"packages": ["equinox"]}}
    framed = notebooks.with_frame(notebook, "first", address)
    badge, title, install, *_ = framed["cells"]
    assert (
        "colab.research.google.com/github/owner/sfvae_jax/blob/main/colabs/first.ipynb"
        in (badge["source"][0])
    )
    assert title == notebook["cells"][0]
    needed = f'{{"sfvae_jax": "sfvae_jax @ git+{address}", "equinox": "equinox"}}'
    assert f"NEEDED = {needed}\n" in install["source"]
    assert notebooks.with_frame(framed, "first", address) == framed
    assert notebooks.with_frame(framed, "first", "")["cells"][0] == title
    elsewhere = notebooks.with_frame(notebook, "first", "https://example.org/sfvae_jax")
    assert elsewhere["cells"][0] == title


def test_outputs_are_kept_small():
    made = io.BytesIO()
    Image.effect_noise((40, 40), 60).convert("RGBA").save(made, format="png")
    picture = {"image/png": base64.b64encode(made.getvalue()).decode()}
    pieces = [{"name": "stdout", "output_type": "stream", "text": [text]} for text in ("a\n", "b")]
    outputs = [*pieces, {"output_type": "display_data", "data": picture}]
    cells = [{"outputs": outputs, "metadata": {}}, {"metadata": {}}]
    small = notebooks.with_small_outputs({"cells": cells})
    assert small["cells"][0]["outputs"][0] == {**pieces[0], "text": ["a\n", "b"]}
    assert len(small["cells"][0]["outputs"]) == 2
    assert len(notebooks.picture(small)) < 0.7 * len(made.getvalue())
    assert notebooks.with_small_outputs(small) == small


def test_the_page_on_notebooks_shows_each():
    page = (ROOT / "docs" / "notebooks.md").read_text(encoding="utf-8")
    for name in NAMES:
        assert f"(../colabs/{name}.ipynb)" in page
        assert f"(figures/notebooks/{name}.png)" in page
