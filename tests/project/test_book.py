"""The site of the documentation: formulas, links out of docs/, and the reference of the API."""

import html
import importlib
import json
import os
import re
import subprocess
import sys
import types

import pytest
from helpers import ROOT

pytest.importorskip("mkdocs", reason="the extra `docs` is not installed")
pytest.importorskip("latex2mathml", reason="the extra `docs` is not installed")

from book import formulas, notebook_pages, outside_pages, public_names


def _page(uri):
    return types.SimpleNamespace(file=types.SimpleNamespace(src_uri=uri))


@pytest.mark.parametrize(
    ("uri", "link", "led"),
    [
        ("index.md", "docs/results/sfvae.md#a", "results/sfvae.md#a"),
        ("index.md", "docs/figures/front.png", "figures/front.png"),
        ("index.md", "LICENSE", "outside/LICENSE.md"),
        ("data.md", "../configs/vae.py", "outside/configs/vae.py.md"),
        ("notebooks.md", "../colabs/a.ipynb", "outside/colabs/a.md"),
        ("results/gaps.md", "../evaluations.md", "../evaluations.md"),
        ("results/gaps.md", "../../README.md", "../index.md"),
        ("outside/CONTRIBUTING.md", "docs/extending.md", "../extending.md"),
        ("data.md", "https://jax.dev", "https://jax.dev"),
        ("data.md", "#arrays", "#arrays"),
    ],
)
def test_links_lead_to_the_page_in_the_site(uri, link, led):
    config = types.SimpleNamespace(docs_dir=str(ROOT / "docs"))
    code = f"```\n[as it is]({link})\n```\n"
    text = outside_pages.on_page_markdown(f"[a]({link})\n{code}", _page(uri), config)
    assert text == f"[a]({led})\n{code}"


def test_mkdocs_finds_what_the_hook_imports(tmp_path):
    """It runs the file by its path, from any folder, and `book` is not installed."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [sys.executable, ROOT / "book" / "outside_pages.py"]
    subprocess.run(command, cwd=tmp_path, env=environment, check=True)


def test_formulas_become_mathml():
    content = '<p>a <span class="arithmatex">\\(x &lt; \\frac{1}{2}\\)</span></p>'
    made = formulas.on_page_content(content, _page("a.md"))
    assert made.startswith(
        '<p>a <math xmlns="http://www.w3.org/1998/Math/MathML" display="inline">'
    )
    assert "<mfrac>" in made


@pytest.mark.parametrize("unknown", ["\\sgima", "&"])
def test_formulas_that_cannot_be_set_are_refused(unknown):
    wrong = f'<div class="arithmatex">\\[\n{html.escape(unknown)} + 1\n\\]</div>'
    with pytest.raises(ValueError, match=re.escape(f"a.md: unknown {unknown} in the formula")):
        formulas.on_page_content(wrong, _page("a.md"))


def test_every_public_name_has_a_place_in_the_reference():
    for module, names in (pair for page in public_names.PAGES.values() for pair in page.items()):
        package = importlib.import_module(module)
        assert set(names or public_names.exported(module)) <= set(dir(package)), module
        if not names:
            assert public_names.exported(module) == package.__all__
    html = "<p><code>objectives.rae_loss</code> <code>objectives.beta</code></p>"
    linked = '<autoref identifier="sfvae_jax.objectives.rae_loss"><code>objectives.rae_loss</code>'
    assert public_names.on_page_content(html) == (
        f"<p>{linked}</autoref> <code>objectives.beta</code></p>"
    )


def test_a_notebook_becomes_a_page_with_its_outputs(tmp_path):
    outputs = [
        {"output_type": "stream", "text": ["3 steps\n"]},
        {"output_type": "display_data", "data": {"image/png": "iVBO\nRw==", "text/plain": ["F"]}},
        {"output_type": "execute_result", "data": {"text/plain": ["(1, 2)"]}},
    ]
    cells = [
        {"id": "c0", "cell_type": "markdown", "source": ["# Title\n", "\n", "Text $x$."]},
        {"id": "install", "cell_type": "code", "source": ["import pip"], "outputs": []},
        {"id": "c1", "cell_type": "code", "source": ["run()"], "outputs": outputs},
    ]
    path = tmp_path / "my.ipynb"
    path.write_text(json.dumps({"cells": cells}))
    assert notebook_pages.as_page(path).split("\n\n") == [
        "# Title",
        '<a href="../my.ipynb" download>Download this notebook</a>',
        "Text $x$.",
        "````python\nrun()\n````",
        "````text\n3 steps\n````",
        '<p><img alt="" src="data:image/png;base64,iVBORw=="></p>',
        "````text\n(1, 2)\n````\n",
    ]
