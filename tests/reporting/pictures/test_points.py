"""The picture of a report's table."""

import numpy as np
import pytest
from finished_runs import RUNS, finished_run

from sfvae_jax import report
from sfvae_jax.evaluation import style
from sfvae_jax.reporting.pictures import points


@pytest.fixture
def drawn(monkeypatch):
    figures = []
    monkeypatch.setattr(points, "save", lambda figure, path: figures.append(figure))
    return figures


def _draw(runs):
    points.draw_report(report.summarize(runs)["methods"], runs, None)


def _intervals(axes):
    """(mean, lower end, upper end) of each point with or without an interval, by its height."""
    found = {}
    for bar in axes.containers:
        (mean,), (place,) = bar.lines[0].get_data()
        ends = bar.lines[2][0].get_segments()[0][:, 0] if bar.lines[2] else (None, None)
        found[round(float(place), 6)] = (mean, *ends)
    return [found[place] for place in sorted(found)]


def test_points_and_intervals_are_at_the_numbers_of_the_table(drawn):
    """At step 100 all runs have collapsed; the published figures are those of the config."""
    _draw(RUNS)
    axes = drawn[0].axes[0]
    rows = ["step 100", "sampling", "sampling_free", "step 200\n(published: 1000)"]
    assert [text.get_text() for text in axes.get_yticklabels()] == rows + rows[1:3]
    assert axes.get_title() == "collapse fraction"
    assert axes.get_xlabel() == "less is better"
    expected = [
        (1.0, 1.0, 1.0),
        (0.99, 0.975, 1.005),
        (1.0, None, None),
        (0.284, 0.242, 0.326),
        (0.4, 0.2, 0.6),
        (0.6, 0.443, 0.757),
        (0.0, None, None),
        (0.006, 0.0, 0.012),
    ]
    for found, wanted in zip(_intervals(axes), expected, strict=True):
        np.testing.assert_allclose(
            np.array(found, float), np.array(wanted, float), atol=1e-6, err_msg=str(wanted)
        )
    singles = [line.get_xdata() for line in axes.lines if line.get_alpha() == 0.5]
    np.testing.assert_array_equal(singles, [[1.0, 1.0, 1.0], [0.2, 0.4, 0.6]])
    colors = {bar.lines[0].get_color() for bar in axes.containers}
    assert colors == {style.METHODS[name].color for name in ("sampling", "sampling_free")}


def test_steps_without_published_figures_are_left_to_the_curves(drawn):
    run = finished_run("rae", 0, 0.2)
    _draw([run])
    rows = [text.get_text() for text in drawn[0].axes[0].get_yticklabels()]
    assert rows == ["step 200", "rae"]
    shown = [text.get_text() for text in drawn[0].legends[0].get_texts()]
    assert shown == ["obtained"]


@pytest.mark.parametrize("factor", [1.0, 1000.0])
def test_values_far_from_one_another_have_a_logarithmic_scale(drawn, factor):
    runs = [finished_run("rae", 0, None), finished_run("cv_vae", 0, None)]
    for run, scale in zip(runs, (1.0, factor), strict=True):
        run.update(metrics={"reconstruction_error": 2.0 * scale}, history={})
    _draw(runs)
    assert drawn[0].axes[0].get_xscale() == ("log" if factor > 1.0 else "linear")


@pytest.mark.parametrize("name", ["mnist", "folder:" + "/a_folder" * 30])
def test_names_and_the_legend_stay_within_the_picture(drawn, name):
    runs = [finished_run("sampling", seed, 0.2, **{"data.name": name}) for seed in (0, 1)]
    other = finished_run("sampling", 0, 0.2)
    other["metrics"] = {"fid_gmm": 3.0}
    _draw([*runs, other])
    (figure,) = drawn
    style.dress(figure)
    figure.draw_without_rendering()
    box = figure.legends[0].get_window_extent()
    assert 0 <= box.x0 <= box.x1 <= figure.bbox.width
    labels = [text for text in figure.axes[0].get_yticklabels() if text.get_text()]
    assert name in "".join(text.get_text() for text in labels).replace("\n", "")
    assert all(text.get_window_extent().x0 >= 0 for text in labels)
    assert figure.axes[0].get_window_extent().width > 100
    shown = [text.get_text() for text in figure.legends[0].get_texts()]
    assert ("published for mnist" in shown) == name.startswith("folder")
