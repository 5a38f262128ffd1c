"""One style for all pictures: the colours of methods, titles, sizes and frames."""

import itertools
import re

import numpy as np
import pytest

from sfvae_jax.evaluation import figures, style
from sfvae_jax.objectives import OBJECTIVES


def test_every_objective_has_a_look_of_its_own():
    assert set(style.METHODS) == set(OBJECTIVES)
    looks = set(style.METHODS.values())
    assert len(looks) == len(style.METHODS)
    palette = {*style.COLORS, style.GREY}
    assert {look.color for look in looks} <= palette


def test_methods_that_are_compared_have_different_colours():
    for together in (
        ("sampling_free", "sampling", "sticking_the_landing", "iwae", "control_variate"),
        ("sampling", "linearized", "log_evidence", "constant_variance", "bilbo", "bilbo_baggins"),
        ("sampling", "cv_vae", "wae_mmd", "rae_gp", "rae_l2", "rae_sn", "rae", "autoencoder"),
    ):
        assert len({style.METHODS[name].color for name in together}) == len(together)


def test_a_method_keeps_its_colour_whatever_else_is_drawn():
    few, many = style.looks(["iwae"]), style.looks(["sampling", "a plugin", "iwae", "rae"])
    assert few["iwae"] == many["iwae"] == style.METHODS["iwae"]
    free = style.looks(["sampling free ELBO"])["sampling free ELBO"]
    assert free == style.METHODS["sampling_free"]


@pytest.mark.parametrize(
    "labels",
    [
        [f"sampling (model.latent_size={i})" for i in range(20)],
        ["sampling_free", *(f"sampling (objective.beta={i})" for i in range(5))],
        ["sampling_free", "sampling, num_samples=16", "sampling", "mine", "yours (a=1)"],
        [f"method {i}" for i in range(30)],
    ],
)
def test_no_two_methods_look_the_same(labels):
    looks = style.looks(labels)
    assert sorted(looks) == sorted(labels)
    assert len(set(looks.values())) == len(labels)


def _luminance(color):
    """The relative luminance of WCAG 2."""
    parts = np.array([int(color[place : place + 2], 16) / 255 for place in (1, 3, 5)])
    linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    return linear @ [0.2126, 0.7152, 0.0722]


def test_colours_are_dark_enough_to_be_seen_on_white():
    for color in (*style.COLORS, style.GREY):
        assert 1.05 / (_luminance(color) + 0.05) > 2.0


@pytest.mark.parametrize(
    ("data", "title"),
    [
        ("mnist", "rae on mnist"),
        ("folder:/home/me/cats/", "rae on folder:cats"),
        ("npz:a/b.npz", "rae on npz:b.npz"),
        (r"folder:C:\data\cats", "rae on folder:cats"),
    ],
)
def test_titles_have_no_path(data, title):
    assert style.title_of("rae", data) == title
    assert not re.search(r"[/\\]", title)


def test_a_figure_is_dressed_and_own_sizes_stay():
    figure = figures.new_figure(6, 3)
    figure.suptitle("title")
    chart, image = figure.subplots(1, 2)
    chart.plot([0, 1], [0, 1], label="a")
    chart.plot([0, 1], [1, 1], linewidth=0.5)
    chart.set_xlabel("x")
    chart.set_ylabel("small", fontsize=7)
    chart.legend()
    image.imshow(np.zeros((2, 2)))
    style.dress(figure)
    assert figure._suptitle.get_fontsize() == style.TITLE
    assert chart.xaxis.label.get_fontsize() == style.LABEL
    assert chart.yaxis.label.get_fontsize() == 7
    assert {label.get_fontsize() for label in chart.get_xticklabels()} == {style.TICK}
    assert chart.get_legend().get_texts()[0].get_fontsize() == style.LEGEND
    assert [line.get_linewidth() for line in chart.lines] == [2.0, 0.5]
    sides = list(itertools.product((chart, image), ("top", "left")))
    visible = [axes.spines[side].get_visible() for axes, side in sides]
    assert visible == [False, True, True, True]


def test_large_numbers_that_differ_little_are_written_without_an_offset():
    axes = figures.new_figure(3, 3).subplots()
    axes.plot([0, 1], [-7110.2, -7109.7])
    style.dress(axes.figure)
    axes.figure.draw_without_rendering()
    assert axes.yaxis.get_offset_text().get_text() == ""
    low, *_, high = [float(text.get_text()[1:]) for text in axes.get_yticklabels()]
    assert 7109 < high < low < 7111


@pytest.mark.parametrize(
    ("values", "numbers"),
    [([0.03, 0.6], ["0.05", "0.1", "0.2", "0.5"]), ([11.0, 16.0], ["12", "14", "16"])],
)
def test_a_short_logarithmic_scale_has_plain_numbers(values, numbers):
    axes = figures.new_figure(3, 3).subplots()
    axes.plot(values, values)
    axes.set_yscale("log")
    style.dress(axes.figure)
    axes.figure.draw_without_rendering()
    low, high = axes.get_ylim()
    ticks = zip(axes.get_yticks(), axes.get_yticklabels(), strict=True)
    assert [text.get_text() for place, text in ticks if low < place < high] == numbers
