"""Pictures of sequences: what is drawn, and that texts lie where they can be read."""

import dataclasses
import re

import numpy as np
import pytest
from matplotlib.text import Text
from sequence_models import (
    CHARACTERS,
    EQUATIONS,
    LAYERS,
    MOLECULES,
    NETWORKS,
    TEXTS,
    encoded,
    networks,
    trained_copy,
)

from sfvae_jax import data, evaluation

X = encoded(EQUATIONS, TEXTS)


@pytest.fixture
def figures(monkeypatch):
    """Collects the figures by file name; checks that texts lie inside and do not overlap."""
    from sfvae_jax.evaluation.sequences import drawing

    drawn, save = {}, drawing.save

    def keep(figure, path):
        save(figure, path)
        drawn[path.name] = figure
        figure.set_dpi(120)  # as saved: hinting makes text of another size a little wider
        texts = _placed(figure)
        boxes = [text.get_window_extent() for text in texts]
        canvas = figure.bbox.padded(1)
        for text, box in zip(texts, boxes, strict=True):
            inside = canvas.contains(box.x0, box.y0) and canvas.contains(box.x1, box.y1)
            assert inside, text.get_text()
        for i, box in enumerate(boxes):
            for j in range(i):
                shared = box.intersection(box, boxes[j])
                touch = shared is not None and min(shared.width, shared.height) > 1
                assert not touch, (texts[i].get_text(), texts[j].get_text())

    monkeypatch.setattr(drawing, "save", keep)
    return drawn


def _placed(figure):
    """Returns all texts of a figure but the numbers at ticks."""
    groups = [figure.texts, *(legend.findobj(_is_text) for legend in figure.legends)]
    for axes in figure.axes:
        groups.append([axes.title, axes.xaxis.label, axes.yaxis.label, *axes.texts])
    texts = {id(text): text for group in groups for text in group if text.get_text()}
    return list(texts.values())


def _is_text(artist):
    return isinstance(artist, Text)


def _draw(trained, folder, **options):
    trained.config.names = ("sequence_pictures",)
    trained.config.sequence_pictures.update(**options)
    title = "a title that is long enough to be broken"
    evaluation.draw(trained, "sequence_pictures", {}, title, folder)
    return {path.name for path in folder.iterdir()}


FILES = {"reconstructions.png", "sentences.png", "interpolations.png"}


def _texts(figure):
    return [text.get_text() for text in _placed(figure)]


@pytest.fixture
def curves(monkeypatch):
    """Replaces the values of expressions by x, with a pole at 0."""
    kind = data.sequence_kind("equations")
    drawing = dataclasses.replace(kind.drawing, values=lambda text, x: np.where(x == 0, np.inf, x))
    kind = dataclasses.replace(kind, drawing=drawing)
    monkeypatch.setattr(data, "sequence_kind", lambda name: kind)


def test_pictures_of_equations(tmp_path, figures, curves):
    trained = trained_copy(EQUATIONS, X, parts={"train": X}, stddev=0.4)
    assert _draw(trained, tmp_path, num_steps=3) == FILES
    shown = _texts(figures["reconstructions.png"])
    assert all(shown.count(text) == 2 for text in TEXTS)
    assert "\N{BALLOT X}" not in shown
    panels = figures["interpolations.png"].axes
    assert len(panels) == 2 * 3
    assert [panels[i].get_title() for i in (0, 2, 3, 5)] == [TEXTS[i] for i in (0, 2, 1, 3)]
    assert np.isnan(panels[0].lines[0].get_ydata()).sum() == 1


def test_pictures_mark_wrong_and_invalid_sequences(tmp_path, figures, curves):
    texts = ["x+1", "(x)", "x", "1+x"]
    x = encoded(CHARACTERS, texts)
    trained = trained_copy(CHARACTERS, x, parts={"train": x}, shift=1.0)  # ( for +, + for 1 ...
    assert _draw(trained, tmp_path, sources=("prior", "gmm"), num_steps=2) == FILES
    shown = _texts(figures["reconstructions.png"])
    assert shown.count("\N{BALLOT X}") == len(texts)
    assert "0 of 4 sequences" in re.sub(r"\s+", " ", shown[0])
    sentences = _texts(figures["sentences.png"])  # of the mixture alone: there is no prior
    assert "from gmm" in sentences
    assert "from prior" not in sentences
    listed = [text for text in sentences if re.fullmatch("[x1+()]+", text)]
    crosses = sum(not evaluation.is_valid(CHARACTERS, text) for text in listed)
    assert sentences.count("\N{BALLOT X}") == crosses > 0
    assert "no expression" in _texts(figures["interpolations.png"])


def test_pictures_of_molecules(tmp_path, figures):
    pytest.importorskip("rdkit")
    x = encoded(MOLECULES, ["CO", "c1cc1", "CC(C)O", "N"])
    trained = trained_copy(MOLECULES, x, parts={"train": x}, stddev=0.4)
    assert _draw(trained, tmp_path, num_steps=2, sources=("prior",)) == FILES
    panels = figures["interpolations.png"].axes
    assert [len(axes.images) for axes in panels] == [1, 1, 0, 1]  # c1cc1 is none
    assert panels[2].texts[0].get_text() == "no molecule"


def test_pictures_of_networks(tmp_path, figures):
    examples = networks(*LAYERS, [("conv", 0.0), ("conv", 1.0)])
    trained = trained_copy(NETWORKS, examples, parts={"train": examples}, stddev=0.4)
    assert _draw(trained, tmp_path, num_steps=2) == FILES
    shown = _texts(figures["reconstructions.png"])
    assert shown.count("conv(0.5) pool(2) dense(-1)") == 2
    figure = figures["interpolations.png"]
    bars = [len(axes.patches) for axes in figure.axes]
    assert bars == [3 + 2, 1 + 2]  # of the first and the third, the second and the fourth
    heights = [patch.get_height() for patch in figure.axes[0].patches[:3]]
    np.testing.assert_allclose(np.diff(heights), [1.5 * 0.68 / 4, -3 * 0.68 / 4])  # of -1 to 3
    legend = {text.get_text() for text in figure.legends[0].get_texts()}
    assert legend == {"conv", "pool", "dense"}


@pytest.mark.parametrize("text", ["", "x" * 300, "$x^2$ \\frac", "ab " * 80])
def test_any_text_fits_a_table(tmp_path, figures, text):
    from sfvae_jax.evaluation.sequences.drawing import Cell, draw_table

    rows = [(Cell(text), Cell("x", True)), (Cell("y"), Cell(text, True))]
    draw_table(("a", "b"), rows, "title " * 30, tmp_path / "table.png")
    whole = "".join(_texts(figures["table.png"]))
    assert re.sub(r"\s", "", text) in re.sub(r"\s", "", whole)
