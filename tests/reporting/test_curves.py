"""Curves over steps and over swept keys: their points, and what is drawn."""

import json
import math

import numpy as np
import pytest
from PIL import Image

from sfvae_jax.errors import UsageError
from sfvae_jax.reporting import curves
from sfvae_jax.reporting.curves import Curve, PublishedCurve
from sfvae_jax.reporting.measures import with_unit
from sfvae_jax.reporting.methods import swept_keys
from sfvae_jax.reporting.pictures import curve_pictures


def _run(seed, bound, objective="sampling", history=None, published=None, **keys):
    config = {"seed": seed, "objective": {"name": objective}, "train": {"steps": 100}}
    for key, value in ({"model.latent_size": 8} | keys).items():
        group, _, name = key.partition(".")
        config.setdefault(group, {})[name] = value
    at = {step: {"lower_bound": value} for step, value in (history or {}).items()}
    run = {"config": config, "step": 100, "metrics": {"lower_bound": bound}, "history": at}
    return run | ({"published": published} if published else {})


def test_a_curve_over_steps_has_all_seeds_at_the_steps_that_all_have():
    runs = [
        _run(0, -3.0, history={"10": -9.0, "50": -5.0}),
        _run(1, -4.0, history={"10": -8.0, "50": None}),
        _run(0, -2.0, "bilbo", history={"20": -6.0}),
    ]
    assert curves.curves_over_steps(runs, "lower_bound") == [
        Curve("sampling", {10: [-9.0, -8.0], 100: [-3.0, -4.0]}),
        Curve("bilbo", {20: [-6.0], 100: [-2.0]}),
    ]
    assert curves.curves_over_steps(runs, "elbo_gap") == []


def test_a_curve_over_seconds_has_the_mean_time_of_each_step():
    """Seeds of one method share their steps, not their times; the other method is slower."""
    runs = [_run(0, -3.0), _run(1, -4.0), _run(0, -2.0, "bilbo")]
    for run, (early, late) in zip(runs, ((1.0, 10.0), (3.0, 14.0), (8.0, 80.0)), strict=True):
        run["history"] = {"10": {"lower_bound": -9.0, "training_seconds": early}}
        run["history"]["20"] = {"lower_bound": -8.0, "training_seconds": None}
        run["metrics"]["training_seconds"] = late
    (panel,) = curves.panels_over_measure(runs, "training_seconds", ["lower_bound"])
    assert panel.curves == [
        Curve("sampling", {2.0: [-9.0, -9.0], 12.0: [-3.0, -4.0]}),
        Curve("bilbo", {8.0: [-9.0], 80.0: [-2.0]}),
    ]
    assert (panel.x_name, panel.y_name) == ("training time (seconds)", "lower bound (nats)")
    assert curves.panels_over_measure(runs, "training_seconds", ["elbo_gap"]) == []


def test_several_measures_share_a_picture():
    runs = [_run(0, -3.0)]
    runs[0]["metrics"]["elbo_gap"] = 1.0
    both = curves.curves_over_steps(runs, "lower_bound", "elbo_gap")
    assert [curve.label for curve in both] == ["lower bound", "ELBO gap"]
    runs.append(_run(0, -2.0, "bilbo"))
    both = curves.curves_over_steps(runs, "lower_bound", "elbo_gap")
    labels = ["lower bound, sampling", "lower bound, bilbo", "ELBO gap, sampling"]
    assert [curve.label for curve in both] == labels


def test_runs_that_differ_in_a_key_and_the_seed_are_one_curve_over_the_key():
    runs = [
        *(_run(s, -float(m + s), **{"model.latent_size": m}) for m in (16, 2) for s in (0, 1)),
        _run(0, None, **{"model.latent_size": 32}),
        _run(0, -1.0, "bilbo", **{"model.latent_size": 2, "objective.tau": 1.0}),
        _run(0, -7.0, "bilbo", **{"model.latent_size": 2, "objective.tau": 3.0}),
    ]
    assert curves.curves_over_key(runs, "lower_bound", "model.latent_size") == [
        Curve("sampling", {2: [-2.0, -3.0], 16: [-16.0, -17.0]}),
        Curve("bilbo (objective.tau=1.0)", {2: [-1.0]}),
        Curve("bilbo (objective.tau=3.0)", {2: [-7.0]}),
    ]
    assert list(curves.curves_over_key(runs, "lower_bound", "model.latent_size")[0].points) == [
        2,
        16,
    ]
    with pytest.raises(UsageError, match="objective.name: no method has numbers under this key"):
        curves.curves_over_key(runs, "lower_bound", "objective.name")


def test_a_key_is_swept_if_runs_differ_in_nothing_else():
    pairs = [(2, 0.1), (4, 0.1), (4, 0.2)]
    keys = [{"model.latent_size": m, "likelihood.variance": c} for m, c in pairs]
    runs = [_run(seed, -1.0, **key) for key in keys for seed in (0, 1)]
    assert swept_keys(runs) == ["likelihood.variance", "model.latent_size"]
    assert swept_keys(runs[:4]) == ["model.latent_size"]
    assert swept_keys([*runs[:2], *runs[4:]]) == []  # both change at once
    assert swept_keys([_run(0, -1.0, **{"model.deep": deep}) for deep in (False, True)]) == []


PUBLISHED = {
    "source": "A paper",
    "num_runs": 3,
    "setting": {"data": {"name": "mnist"}},
    "rows": {
        "sampling": {"lower_bound": {"50": [-4.5, 0.5], "9000": [-2.5, None]}},
        "bilbo": {"lower_bound": {"end": [-1.5, 0.1], "runs": [-1.4, -1.6]}},
    },
}


def test_published_figures_are_where_the_table_has_them():
    data = {"data.name": "mnist_5k"}
    history = {"50": -5.0}
    runs = [
        _run(0, -3.0, history=history, published=PUBLISHED, **data),
        _run(0, -2.0, "bilbo", published=PUBLISHED, **data),
    ]
    assert curves.published_over_steps(runs, "lower_bound") == [
        PublishedCurve("sampling", {50: (-4.5, 0.5)}),
        PublishedCurve("sampling", {None: (-2.5, None)}, "published (step 9000)"),
        PublishedCurve("bilbo", {100: (-1.5, 0.1)}),
    ]
    other = _run(0, -2.0, "bilbo", published=PUBLISHED, **{"data.name": "npz:a"})
    (of_other,) = curves.published_over_steps([other], "lower_bound")
    assert of_other.note == "published for mnist"


def test_published_figures_over_a_swept_key_are_at_its_values():
    rows = {
        str(m): {"where": {"model": {"latent_size": m}}, "lower_bound": {"end": [-float(m), None]}}
        for m in (2, 16)
    }
    paper = PUBLISHED | {"rows": rows}
    data = {"data.name": "mnist"}
    runs = [_run(0, -1.0, published=paper, **data, **{"model.latent_size": m}) for m in (2, 16, 32)]
    (line,) = curves.published_over_key(runs, "lower_bound", "model.latent_size")
    assert line == PublishedCurve("sampling", {2: (-2.0, None), 16: (-16.0, None)})


@pytest.mark.parametrize(
    ("xs", "expected"),
    [
        ([1, 5, 20, 50, 100, 200], True),
        ([10, 25, 50, 100, 200, 500, 1000], True),
        (list(range(10, 1001, 10)), False),
        ([12, 16, 24, 32, 64], False),
        ([0, 1, 1000], False),
        ([5], False),
        ([], False),
    ],
)
def test_an_axis_is_logarithmic_if_its_values_are_spread_evenly_in_logarithms(xs, expected):
    assert curves.is_logarithmic(xs) is expected


def test_a_report_has_panels_over_steps_and_over_swept_keys():
    runs = [_run(0, -3.0, history={"10": -9.0}), _run(0, -2.0, **{"model.latent_size": 16})]
    for run in runs:
        run["metrics"] |= {"collapse_fraction": 0.5, "elbo_gap_standard_error": 0.1}
    panels = [*curves.panels_over_steps(runs), *curves.panels_over_keys(runs)]
    assert [(panel.x_name, panel.y_name) for panel in panels] == [
        ("step", "lower bound (nats)"),
        ("model.latent_size", "lower bound (nats)"),
        ("model.latent_size", "collapse fraction"),
    ]
    assert curves.panels_over_steps(runs[1:]) == curves.panels_over_keys(runs[1:]) == []


def test_a_run_without_the_swept_key_has_no_point():
    runs = [_run(0, -1.0, **{"objective.tau": tau}) for tau in (1.0, 2.0)]
    (panel,) = curves.panels_over_keys([*runs, _run(0, -2.0, "bilbo")])
    assert [curve.label for curve in panel.curves] == ["sampling"]


@pytest.mark.parametrize(
    ("measure", "name"),
    [
        ("kl_divergence", "KL divergence (nats)"),
        ("sampling_free_elbo", "sampling free ELBO (nats)"),
        ("iwae_bound_test", "IWAE bound test (nats)"),
        ("amortization_gap_train", "amortization gap train (nats)"),
        ("nll_without_constant", "NLL without constant (nats)"),
        ("fid_gmm", "FID GMM"),
        ("reconstruction_error", "reconstruction error"),
        ("effective_sample_size", "effective sample size"),
        ("gamma", "gamma"),
    ],
)
def test_axes_in_nats_say_so(measure, name):
    assert with_unit(measure) == name


@pytest.fixture
def drawn(monkeypatch):
    figures = []
    monkeypatch.setattr(curve_pictures, "save", lambda figure, *_: figures.append(figure))
    return figures


def _draw(lines, published=(), **options):
    options = {"x_name": "step", "y_name": "bound (nats)", "published": published} | options
    curves.draw_curves(lines, None, **options)


def _values(num_points):
    rng = np.random.default_rng(0)
    return {10 * x: list(rng.normal(size=3)) for x in rng.permutation(num_points) + 1}


def test_a_line_of_few_points_has_intervals_and_its_runs(drawn):
    points = _values(3)
    _draw([Curve("a", points)])
    axes = drawn[0].axes[0]
    xs, means = axes.lines[0].get_data()
    np.testing.assert_array_equal(xs, [10, 20, 30])
    np.testing.assert_allclose(means, [np.mean(points[x]) for x in xs])
    segments = axes.containers[0].lines[2][0].get_segments()
    for x, segment in zip(xs, segments, strict=True):
        mean, deviation = np.mean(points[x]), np.std(points[x], ddof=1)
        np.testing.assert_allclose(segment, [[x, mean - deviation], [x, mean + deviation]])
    dots = [line for line in axes.lines if line.get_alpha() == 0.5 and len(line.get_xdata())]
    singles = [line.get_data() for line in dots]
    np.testing.assert_array_equal(singles, [[[x] * 3, points[x]] for x in xs])
    assert [text.get_text() for text in axes.get_xticklabels()] == ["10", "20", "30"]


def test_a_line_of_many_points_has_a_band(drawn):
    points = _values(20)
    _draw([Curve("a", points)])
    (band,) = drawn[0].axes[0].collections
    corners = band.get_paths()[0].vertices
    for x in sorted(points)[1:-1]:
        heights = corners[corners[:, 0] == x, 1]
        mean, deviation = np.mean(points[x]), np.std(points[x], ddof=1)
        ends = (heights.min(), heights.max())
        assert ends == pytest.approx((mean - deviation, mean + deviation))


def test_a_value_that_is_not_finite_is_a_gap(drawn):
    _draw([Curve("a", {1: [1.0, 2.0], 2: [math.nan, 1.0], 3: [math.inf], 4: [3.0]})])
    np.testing.assert_array_equal(drawn[0].axes[0].lines[0].get_ydata(), [1.5, np.nan, np.nan, 3.0])


def test_published_levels_and_points_have_their_curves_colour(drawn):
    lines = [Curve("a", {1: [1.0], 100: [2.0]}), Curve("b", {1: [0.0], 100: [1.0]})]
    published = [
        PublishedCurve("b", {None: (5.0, 0.5)}, "published (step 9)"),
        PublishedCurve("a", {1: (3.0, None), 100: (4.0, 0.1)}),
    ]
    _draw(lines, published, log_x=True)
    axes = drawn[0].axes[0]
    assert axes.get_xscale() == "log"
    a, b, level, points = axes.lines[:4]
    assert level.get_ydata() == [5.0, 5.0]
    np.testing.assert_array_equal(points.get_ydata(), [3.0, 4.0])
    assert (level.get_color(), points.get_color()) == (b.get_color(), a.get_color())
    shown = [text.get_text() for text in drawn[0].legends[0].get_texts()]
    assert shown == ["a", "b", "b, published (step 9)", "a, published"]


def test_methods_that_share_a_colour_have_different_lines(drawn):
    lines = [Curve(f"method {i}", {1: [float(i)], 2: [float(i)]}) for i in range(16)]
    _draw(lines)
    looks = {(line.get_color(), line.get_linestyle()) for line in drawn[0].axes[0].lines}
    assert len(looks) == len(lines)


def test_the_picture_has_all_labels_and_the_given_metadata(tmp_path):
    label = "sampling (data.name=folder:" + "/a_$folder" * 30 + ")"
    lines = [Curve(label, {1: [1.0]}), Curve("_hidden", {1: [math.nan]}), Curve("none", {})]
    path = tmp_path / "figures" / "curves.png"
    options = {"x_name": "step", "y_name": "a measure " * 9, "metadata": {"Records": "abc"}}
    curves.draw_curves(lines, path, **options)
    assert [found.name for found in path.parent.iterdir()] == ["curves.png"]
    assert Image.open(path).text["Records"] == "abc"


def test_the_legend_stays_within_the_picture(drawn):
    label = "sampling (data.name=folder:" + "/a_folder" * 30 + ")"
    _draw([Curve(label, {1: [1.0], 2: [2.0]}), Curve("b", {1: [1.0]})])
    drawn[0].draw_without_rendering()
    box = drawn[0].legends[0].get_window_extent()
    assert 0 <= box.x0 <= box.x1 <= drawn[0].bbox.width
    assert drawn[0].axes[0].get_window_extent().height > 100


def test_a_report_draws_published_figures_read_from_json():
    paper = json.loads(json.dumps(PUBLISHED))
    runs = [_run(0, -3.0, history={"50": -5.0}, published=paper, **{"data.name": "mnist"})]
    (panel,) = curves.panels_over_steps(runs)
    assert panel.published[0] == PublishedCurve("sampling", {50: (-4.5, 0.5)})
