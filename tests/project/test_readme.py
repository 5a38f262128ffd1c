"""README tells the truth: its code runs, its names exist."""

import re

import jax
import numpy as np
import pytest

from sfvae_jax import objectives


@pytest.fixture
def readme(root):
    return (root / "README.md").read_text()


def test_the_example_runs_and_its_gradient_is_right(readme):
    code = re.search(r"```python\n(.*?)```", readme, re.DOTALL).group(1)
    space = {}
    exec(code, space)
    np.testing.assert_allclose(space["value"], 553.9, atol=0.1)
    rng, x = jax.random.key(1), space["x"]
    value = jax.jit(lambda params: space["loss"](params, rng, x)[0])
    gradient = jax.grad(value)(space["params"])
    for name, weights in space["params"].items():
        step = 1e-2 * jax.random.normal(jax.random.key(2), weights.shape)
        at = lambda sign: value(space["params"] | {name: weights + sign * step})  # noqa: E731
        slope = np.sum(gradient[name] * step)
        np.testing.assert_allclose(slope, (at(1) - at(-1)) / 2, rtol=0.02)


def test_readme_is_short(readme):
    """900 words, those of tables included, those of code and the addresses of links not."""
    text = re.sub(r"^```.*?^```|<!--.*?-->", "", readme, flags=re.DOTALL | re.MULTILINE)
    text = re.sub(r"\]\([^)]*\)", "]", text)
    assert len(re.findall(r"\w[\w'.,-]*", text)) <= 900


def test_the_error_at_the_mean_stands_beside_that_at_a_sample(root, readme):
    """Without sampling the first is a small part of the sampling model's, the second is not."""
    assert (
        "| reconstruction error, step 1000 | reconstruction error at sample, step 1000 |" in readme
    )
    lines = (root / "docs/results/index.md").read_text().splitlines()
    told = [number for number, line in enumerate(lines) if "error, at the posterior mean" in line]
    assert told
    assert all("at a sample" in lines[number + 1] for number in told)


def test_every_function_in_the_table_exists(root):
    text = (root / "docs/objectives.md").read_text()
    table = text.partition("| functions in `objectives` |")[2].partition("\n\n")[0]
    names = re.findall(r"`(\w+)`", table)
    assert len(names) > 9
    assert all(callable(getattr(objectives, name)) for name in names)


def test_pictures_and_pages_exist(root):
    for page in (root / "README.md", *(root / "docs").rglob("*.md")):
        links = re.findall(r"\]\((?!http)([^)#]+)", page.read_text())
        assert all((page.parent / link).is_file() for link in links), links
    assert "![" in (root / "README.md").read_text()


def test_anchors_are_headings(root):
    """`#anchor` after a page or alone, as GitHub makes it of a heading."""
    pages = (root / "README.md", *(root / "docs").rglob("*.md"))
    links = [
        (page, *link)
        for page in pages
        for link in re.findall(r"\]\((?!http)([^)#]*)#([^)]+)\)", page.read_text())
    ]
    assert "where-the-decoder-is-straight" in _anchors(root / "docs" / "linearised.md")
    for page, other, anchor in links:
        assert anchor in _anchors(page.parent / other if other else page), (page.name, anchor)


def _anchors(page):
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    headings = re.findall(r"^#+ +(.*?) *$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_page_is_in_the_navigation(root):
    text = (root / "mkdocs.yml").read_text().partition("\nnav:\n")[2]
    named = re.findall(r"^ +- (?:.*: )?(\S+\.md)$", text, re.MULTILINE)
    assert len(set(named)) == len(named)
    docs = root / "docs"
    pages = {str(page.relative_to(docs)) for page in docs.rglob("*.md")}
    assert pages == {name for name in named if not name.startswith(("outside/", "api/"))} - {
        "index.md"
    }


def test_every_page_begins_with_what_it_answers(root):
    for page in (root / "docs").rglob("*.md"):
        assert "?" in page.read_text().split("\n\n")[1], page.name


def test_nothing_is_left_to_fill_in(readme, root):
    for text in (readme, *(path.read_text() for path in (root / "docs").rglob("*.md"))):
        assert "@@" not in text.replace("[C@@H]", "")  # chirality in SMILES
        assert "TODO" not in text
