"""Pictures show what they are given; how they look is not tested."""

import dataclasses
import struct

import matplotlib
import numpy as np
import pytest
from matplotlib.backends.backend_agg import RendererAgg

from sfvae_jax.data.sequences.architectures import ARCHITECTURES
from sfvae_jax.data.sequences.kind import Blocks
from sfvae_jax.evaluation import figures
from sfvae_jax.evaluation.pictures import latent_codes
from sfvae_jax.evaluation.pictures.latent_codes import Encoded
from sfvae_jax.evaluation.sequences import drawing


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((28, 28, 1), (28, 28)),
        ((8, 6, 3), (8, 6, 3)),
        ((5, 4), (5, 4)),
        ((784,), (28, 28)),
        ((10,), (1, 10)),
        ((4, 4, 2), (1, 32)),
    ],
)
def test_every_example_becomes_a_picture(shape, expected):
    assert figures.as_picture(np.zeros(shape)).shape == expected


def test_values_are_clipped_not_stretched():
    picture = figures.as_picture(np.array([[-1.0, 0.25], [0.5, 7.0]]))
    np.testing.assert_array_equal(picture, [[0.0, 0.25], [0.5, 1.0]])


def test_a_picture_leaves_no_partial_files(tmp_path):
    figure = figures.new_figure(2, 2)
    figures.save(figure, tmp_path / "new" / "a.png")
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a.png"]
    assert (tmp_path / "new" / "a.png").read_bytes().startswith(b"\x89PNG")


def test_a_figure_of_very_many_rows_is_still_written(tmp_path):
    """matplotlib refuses 2^16 pixels and more in a direction."""
    figures.save(figures.new_figure(0.5, 600), tmp_path / "long.png")
    header = (tmp_path / "long.png").read_bytes()[16:24]
    assert struct.unpack(">II", header) == (25, 30_000)


def test_training_curves_have_a_panel_for_each_part_of_the_loss(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(figures, "save", lambda figure, path: drawn.append(figure))
    records = [{"step": s, "loss": 1.0, "squared_error": 2.0, "grad_norm": 3.0} for s in (1, 2)]
    figures.draw_training(records, "title", tmp_path / "a.png")
    labels = [axes.get_ylabel() for axes in drawn[0].axes]
    assert labels == ["loss per example", "squared error", "gradient norm"]


def _drawn(monkeypatch, module):
    figures = []
    monkeypatch.setattr(module, "save", lambda figure, *rest, **panel: figures.append(figure))
    return figures


@pytest.mark.parametrize("sampled", [False, True])
def test_samples_stand_beside_the_means(tmp_path, monkeypatch, sampled):
    drawn = _drawn(monkeypatch, latent_codes)
    means, samples = np.random.default_rng(0).normal(size=(2, 30, 2))
    encoded = Encoded(means, np.ones((30, 2)), samples if sampled else None)
    latent_codes.draw_latent_plane(encoded, np.arange(30) % 3, "title", tmp_path / "a.png")
    axes = drawn[0].axes
    assert [a.get_xlabel() for a in axes] == ["mean of latent 1", "sample of latent 1"][
        : 1 + sampled
    ]
    for panel, codes in zip(axes, (means, samples), strict=False):
        np.testing.assert_allclose(panel.collections[0].get_offsets(), codes)
    assert len(axes[-1].get_legend().get_texts()) == 3


def test_each_variance_is_drawn_against_each_mean(tmp_path, monkeypatch):
    """They are in units of the prior, and many images are thinned out evenly."""
    drawn = _drawn(monkeypatch, latent_codes)
    means = np.random.default_rng(0).normal(size=(2001, 3))
    encoded = Encoded(means, np.exp(means), None)
    prior = np.array([1.0, 2.0, 4.0])
    latent_codes.draw_posterior_variances(encoded, prior, [0, 2], None, "title", tmp_path / "a")
    axes = np.reshape(drawn[0].axes, (2, 2))
    for row, i in enumerate((0, 2)):
        for column, j in enumerate((0, 2)):
            expected = np.stack([means[:, j] / prior[j], np.exp(means[:, i]) / prior[i] ** 2], 1)
            found = axes[row, column].collections[0].get_offsets()
            assert len(found) == 2000
            np.testing.assert_allclose(found[[0, -1]], expected[[0, -1]])
    assert [axes[0, 0].get_ylabel(), axes[1, 1].get_xlabel()] == [
        "variance of latent 1",
        "mean of latent 3",
    ]
    assert not Encoded(means, np.ones((2001, 3)), None).are_varied
    assert Encoded(means, np.exp(means), None).are_varied


def test_a_plane_without_labels_or_samples(tmp_path):
    encoded = Encoded(np.zeros((3, 2)), None, None)
    latent_codes.draw_latent_plane(encoded, None, "title", tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


ODD = r"$\frac{$ on npz:/a$b$/x_{1}^2 %&#~\alpha \$ $$"


def test_texts_are_drawn_literally(tmp_path, monkeypatch):
    """This holds even if the user's matplotlibrc asks for LaTeX."""
    records = [{"step": step, "loss": 1.0, "grad_norm": 3.0} for step in (1, 2)]
    kl = np.full((3, 4), 0.1)
    drawn = []
    draw_text = RendererAgg.draw_text

    def noted(renderer, gc, x, y, text, *rest, ismath=False, mtext=None):
        drawn.append((text, ismath))
        draw_text(renderer, gc, x, y, text, *rest, ismath=ismath, mtext=mtext)

    monkeypatch.setattr(RendererAgg, "draw_text", noted)
    with matplotlib.rc_context({"text.usetex": True}):
        figures.draw_training(records, ODD, tmp_path / "training.png")
        figures.draw_images({"_{$": np.zeros((2, 4, 4))}, ODD, tmp_path / "images.png")
        arguments = {"epsilon": 0.01, "delta": 0.05, "fraction": 0.5, "title": ODD}
        figures.draw_latent_kl(kl, **arguments, path=tmp_path / "kl.png")
        drawing.draw_table([ODD], [[drawing.Cell("a$b$")]], ODD, tmp_path / "t")
        blocks = Blocks(lambda text: [("_conv$x$", 1.0), (ODD, 2.0)])
        kind = dataclasses.replace(ARCHITECTURES, drawing=blocks)
        drawing.draw_rows(kind, [["a network"]], ODD, tmp_path / "networks.png")
    texts = [text for text, is_formula in drawn if not is_formula]
    assert texts.count(ODD) >= 3  # titles, a layer's type; others are wrapped
    assert {"_{$", "_conv$x$", "a$b$"} <= set(texts)
    # The powers of ten at a logarithmic scale are matplotlib's, and formulas.
    formulas = {text for text, is_formula in drawn if is_formula}
    assert formulas
    assert all(text.startswith(r"$\mathdefault{") for text in formulas)


def test_a_title_of_a_long_path_stays_within_the_picture(tmp_path, monkeypatch):
    drawn = []
    draw_text = RendererAgg.draw_text

    def noted(renderer, gc, x, y, text, font, angle, ismath=False, mtext=None):
        width, _, _ = renderer.get_text_width_height_descent(text, font, ismath)
        if not angle and not ismath and not text.replace(".", "").isdecimal():
            drawn.append(text)
            assert 0 <= x <= x + width <= renderer.width
        draw_text(renderer, gc, x, y, text, font, angle, ismath=ismath, mtext=mtext)

    monkeypatch.setattr(RendererAgg, "draw_text", noted)
    title = "rae on folder:" + "/a_long_folder" * 12
    records = [{"step": step, "loss": 1.0} for step in (1, 2)]
    figures.draw_training(records, title, tmp_path / "training.png")
    figures.draw_manifold(np.zeros((2, 2, 4, 4)), title, tmp_path / "manifold.png")
    assert "".join(drawn).replace(" ", "").count(title.replace(" ", "")) == 2


def test_a_name_that_is_not_utf_8_is_drawn(tmp_path):
    figure = figures.new_figure(2, 2)
    figure.suptitle("folder:/caf\udce9")
    figures.save(figure, tmp_path / "a.png")
    assert figure._suptitle.get_text() == "folder:/caf\udce9"  # as it was
