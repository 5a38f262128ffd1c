"""README tells the truth: its code runs, its names exist."""

import re

import jax
import numpy as np
import pytest

from sfvae_jax import evaluation, objectives
from sfvae_jax.config import base_config
from sfvae_jax.data import SPLITS
from sfvae_jax.evaluation.generation.features import FEATURES
from sfvae_jax.evaluation.generation.sources import SOURCES
from sfvae_jax.evaluation.inference_gaps.families import FAMILIES


@pytest.fixture
def readme(root):
    return (root / "README.md").read_text()


def test_the_example_runs_and_its_gradient_is_right(readme):
    code = re.search(r"```python\n(.*?)```", readme, re.DOTALL).group(1)
    space = {}
    exec(code, space)
    loss, weights, batch = space["loss"], space["weights"], space["batch"]
    assert np.mean(space["gradient"] != 0.0) > 0.9
    total = lambda w: jax.vmap(loss, (None, 0, 0, 0))(w, *batch).mean()  # noqa: E731
    direction = jax.random.normal(jax.random.key(1), weights.shape)
    slope = np.sum(space["gradient"] * direction)
    step = 1e-2 * direction
    difference = (total(weights + step) - total(weights - step)) / 2e-2
    np.testing.assert_allclose(slope, difference, rtol=0.02)


@pytest.mark.parametrize("page", ["README.md", "docs/results/sfvae.md"])
def test_the_error_at_the_mean_stands_beside_that_at_a_sample(root, page):
    """Without sampling the first is a sixteenth of the sampling model's, the second most of it."""
    paragraphs = (root / page).read_text().split("\n\n")
    telling = [text for text in paragraphs if "64.3" in text or "sixteenth" in text]
    assert telling
    assert all("48.8" in text and "35.9" in text for text in telling)


def test_every_name_in_the_readme_is_a_function_or_an_objective(readme):
    families = readme[readme.index("| family |") : readme.index("[docs/objectives.md]")]
    rows = [line.split("|")[2:4] for line in families.splitlines()[2:] if line.startswith("|")]
    functions, names = (
        set(re.findall(r"`(\w+)`", " ".join(cells))) for cells in zip(*rows, strict=True)
    )
    assert all(callable(getattr(objectives, name)) for name in functions)
    settings = base_config().objective
    assert names - set(settings) == set(objectives.OBJECTIVES)


def test_every_config_is_in_the_readme(readme, root):
    for path in (root / "configs").glob("*.py"):
        assert f"`configs/{path.name}`" in readme


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
    assert "the-linearised-decoder" in _anchors(root / "docs" / "evaluations.md")
    for page, other, anchor in links:
        assert anchor in _anchors(page.parent / other if other else page), (page.name, anchor)


def _anchors(page):
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    headings = re.findall(r"^#+ +(.*?) *$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_table_of_evaluations_is_that_of_the_code(root):
    """A row for each, with all its measures and no other; K and SOURCE stand for what varies."""
    text, _, _ = (root / "docs" / "evaluations.md").read_text().partition("\n## ")
    rows = dict(re.findall(r"^\| `(\w+)` \| (.*?) \|", text, re.MULTILINE))
    assert rows.keys() == evaluation.EVALUATIONS.keys()
    for name, cell in rows.items():
        known = _measures(name)
        patterns = [_pattern(measure) for measure in re.findall(r"`([^`]+)`", cell)]
        matched = [{m for m in known if re.fullmatch(pattern, m)} for pattern in patterns]
        assert [p for p, found in zip(patterns, matched, strict=True) if not found] == [], name
        assert known - set().union(*matched) == set(), name


def _measures(name):
    """Of an evaluation, with either kind of features and of every source."""
    options, measures = base_config().evaluations, set()
    for group in ("frechet", "precision_recall"):
        options[group].sources = SOURCES
    for features in FEATURES:
        options.generated.features = features
        measures.update(evaluation.metric_names(options, name))
    return measures


def _pattern(measure):
    """As a regular expression; sources, parts and families are the code's, K a number or so."""
    measure = re.sub("_K$", r"_(\\d+|linearized)", measure)
    if measure.endswith(("_bound_PART", "_gap_PART", "_gain_PART", "log_evidence_PART")):
        measure += "(_standard_error)?"
    names = {"SOURCE": SOURCES, "PART": SPLITS, "FAMILY": FAMILIES}
    for place, known in names.items():
        measure = measure.replace(place, f"({'|'.join(known)})")
    return measure


def test_nothing_is_left_to_fill_in(readme, root):
    for text in (readme, *(path.read_text() for path in (root / "docs").rglob("*.md"))):
        assert "@@" not in text
        assert "TODO" not in text
