"""Measures as curves over training steps or over a swept key: mean and deviation over seeds.

A curve is a method. All values come from results.json: curves over steps show the measures at the
steps in `evaluations.steps`, curves over a key the final ones. Measures are taken on a whole split
of the data, as in the papers' figures. Over steps these are the evidence bounds of SFVAE Figures 1
and C.2 (with gamma, which is a measure, too), the lower bounds of BACK Figures 4 and 8, and the
Frechet distances of RAE Figure 3 (left). Over `model.latent_size` they are the Frechet distance and
the log marginal likelihood of SFVAE Figures 4 and C.1, over `objective.beta` those of RAE Figure 3
(right). The loss and its terms in metrics.jsonl belong to single batches; figures/training.png of
each run shows them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import mean, median

from sfvae_jax.errors import UsageError
from sfvae_jax.reporting.measures import is_error, title, with_unit
from sfvae_jax.reporting.methods import by_method, swept_keys, value_of
from sfvae_jax.reporting.pictures.curve_pictures import (
    Curve,
    Panel,
    PublishedCurve,
    draw_curves,
    draw_panels,
)
from sfvae_jax.reporting.published_rows import PublishedFigure, PublishedRow
from sfvae_jax.reporting.runs import Run, by_step

__all__ = [
    "Curve",
    "Panel",
    "PublishedCurve",
    "curves_over_key",
    "curves_over_steps",
    "draw_curves",
    "draw_panels",
    "is_logarithmic",
    "panels_over_key",
    "panels_over_keys",
    "panels_over_measure",
    "panels_over_steps",
    "published_over_key",
    "published_over_steps",
]

Methods = Mapping[str, Sequence[Run]]
Rows = Mapping[str, PublishedRow]  # by method
# By method and value of a key: the runs, and their published row.
Swept = dict[str, dict[float, tuple[list[Run], PublishedRow]]]


def curves_over_steps(runs: Sequence[Run], *measures: str) -> list[Curve]:
    """Returns a curve for each method, over the steps at which all its runs have a measure.

    Args:
        runs: the contents of results.json, as from `read_run`.
        measures: names of measures; with several, the labels name them.
    """
    return _curves_over_steps(by_method(runs), measures)


def published_over_steps(runs: Sequence[Run], *measures: str) -> list[PublishedCurve]:
    """Returns the published figures beside `curves_over_steps`, those of the report's table.

    A figure for a step at which the runs were not measured, which the table shows beside their end,
    becomes a level.
    """
    methods = by_method(runs)
    return _published_over_steps(methods, measures, _rows(methods))


def curves_over_key(runs: Sequence[Run], measure: str, key: str) -> list[Curve]:
    """Returns a curve for each method over a numeric key, from the end of each run.

    Runs that only differ in this key and their seed are one curve. Values of the key at which some
    run lacks the measure are left out, and so are methods without numbers under the key.

    Args:
        runs: the contents of results.json, as from `read_run`.
        measure: the name of a measure.
        key: a config key, such as "model.latent_size".

    Raises:
        UsageError: if no method has numbers under the key.
    """
    return _curves_over_key(_swept(runs, key), measure)


def published_over_key(runs: Sequence[Run], measure: str, key: str) -> list[PublishedCurve]:
    """Returns the published figures beside `curves_over_key`.

    Raises:
        UsageError: if no method has numbers under the key.
    """
    return _published_over_key(_swept(runs, key), measure)


def panels_over_steps(runs: Sequence[Run], measures: Sequence[str] | None = None) -> list[Panel]:
    """Returns a panel for each measure that some method has at two steps or more.

    Args:
        runs: the contents of results.json, as from `read_run`.
        measures: names of measures; None: all but standard errors.
    """
    methods = by_method(runs)
    rows = _rows(methods)
    panels = [
        _panel(
            _curves_over_steps(methods, [measure]),
            _published_over_steps(methods, [measure], rows),
            "step",
            measure,
        )
        for measure in measures or _drawn(runs)
    ]
    return [panel for panel in panels if _has_a_line(panel)]


def panels_over_measure(runs: Sequence[Run], over: str, measures: Sequence[str]) -> list[Panel]:
    """Returns a panel for each measure, over another measure of the same steps.

    A point is a step that all seeds of a method share, at the mean of the other measure. With
    "training_seconds" methods can be compared after equal times.

    Args:
        runs: the contents of results.json, as from `read_run`.
        over: the name of the measure on the horizontal axis.
        measures: names of the others.
    """
    methods = by_method(runs)
    panels = [
        _panel(_curves_over_measure(methods, over, measure), [], with_unit(over), measure)
        for measure in measures
    ]
    return [panel for panel in panels if _has_a_line(panel)]


def panels_over_key(
    runs: Sequence[Run], key: str, measures: Sequence[str] | None = None
) -> list[Panel]:
    """Returns a panel for each measure that some method has at two values of a key or more.

    Args:
        runs: the contents of results.json, as from `read_run`.
        key: a config key, such as "model.latent_size".
        measures: names of measures; None: all but standard errors.

    Raises:
        UsageError: if no method has numbers under the key.
    """
    methods = _swept(runs, key)
    panels = [
        _panel(
            _curves_over_key(methods, measure),
            _published_over_key(methods, measure),
            key,
            measure,
        )
        for measure in measures or _drawn(runs)
    ]
    return [panel for panel in panels if _has_a_line(panel)]


def panels_over_keys(runs: Sequence[Run]) -> list[Panel]:
    """Returns the panels over each numeric key in which otherwise equal runs differ."""
    return [panel for key in swept_keys(runs) for panel in panels_over_key(runs, key)]


def is_logarithmic(xs: Sequence[float]) -> bool:
    """Returns whether values span two decades and are spread evenly in their logarithms."""
    if not xs or min(xs) <= 0 or max(xs) / min(xs) < 100:
        return False
    low, high, middle = min(xs), max(xs), median(xs)
    return abs(middle - (low * high) ** 0.5) < abs(middle - (low + high) / 2)


def _drawn(runs: Sequence[Run]) -> list[str]:
    measured = dict.fromkeys(m for run in runs for values in by_step(run).values() for m in values)
    return [measure for measure in measured if not is_error(measure)]


def _has_a_line(panel: Panel) -> bool:
    return any(len(curve.points) > 1 for curve in panel.curves)


def _panel(
    curves: list[Curve], published: list[PublishedCurve], x_name: str, measure: str
) -> Panel:
    xs = sorted({x for curve in curves for x in curve.points})
    return Panel(curves, x_name, with_unit(measure), is_logarithmic(xs), published)


def _curves_over_steps(methods: Methods, measures: Sequence[str]) -> list[Curve]:
    curves = [
        Curve(_label(measure, method, measures, methods), _over_steps(runs, measure))
        for measure in measures
        for method, runs in methods.items()
    ]
    return [curve for curve in curves if curve.points]


def _curves_over_measure(methods: Methods, over: str, measure: str) -> list[Curve]:
    curves = []
    for method, runs in methods.items():
        places, values = _over_steps(runs, over), _over_steps(runs, measure)
        points = {mean(places[step]): values[step] for step in places if step in values}
        curves.append(Curve(method, points))
    return [curve for curve in curves if curve.points]


def _rows(methods: Methods) -> Rows:
    return {method: PublishedRow(runs[0]) for method, runs in methods.items()}


def _published_over_steps(
    methods: Methods, measures: Sequence[str], rows: Rows
) -> list[PublishedCurve]:
    found = []
    for measure in measures:
        for method, runs in methods.items():
            row, steps = rows[method], list(_over_steps(runs, measure))
            figures = [(step, row.at(measure, str(step), last=step == steps[-1])) for step in steps]
            places = [(x if f.step == str(x) else None, f) for x, f in figures if f is not None]
            found += _published(_label(measure, method, measures, methods), places)
    return found


def _over_steps(runs: Sequence[Run], measure: str) -> dict[float, list[float]]:
    each = [
        {int(step): m[measure] for step, m in by_step(run).items() if m.get(measure) is not None}
        for run in runs
    ]
    shared = set(each[0]).intersection(*each[1:])
    return {step: [values[step] for values in each] for step in sorted(shared)}


def _label(measure: str, method: str, measures: Sequence[str], methods: Methods) -> str:
    if len(measures) == 1:
        return method
    return title(measure) if len(methods) == 1 else f"{title(measure)}, {method}"


def _swept(runs: Sequence[Run], key: str) -> Swept:
    """Returns the methods, apart from this key, all of whose runs have numbers under it."""
    found: Swept = {}
    for method, group in by_method(runs, key).items():
        by_value: dict[float, list[Run]] = {}
        for run in group:
            value = value_of(run, key)
            if value is None:
                break
            by_value.setdefault(value, []).append(run)
        else:
            found[method] = {
                x: (by_value[x], PublishedRow(by_value[x][-1])) for x in sorted(by_value)
            }
    if not found:
        raise UsageError(f"{key}: no method has numbers under this key; give a numeric config key")
    return found


def _curves_over_key(methods: Swept, measure: str) -> list[Curve]:
    curves = []
    for method, by_value in methods.items():
        points = {
            x: [run["metrics"].get(measure) for run in runs] for x, (runs, _) in by_value.items()
        }
        whole = {x: values for x, values in points.items() if None not in values}
        curves.append(Curve(method, whole))
    return [curve for curve in curves if curve.points]


def _published_over_key(methods: Swept, measure: str) -> list[PublishedCurve]:
    found = []
    for method, by_value in methods.items():
        figures = [
            (x, row.at(measure, str(runs[-1]["step"]), last=True))
            for x, (runs, row) in by_value.items()
            if runs[-1]["metrics"].get(measure) is not None
        ]
        found += _published(method, [(x, figure) for x, figure in figures if figure is not None])
    return found


def _published(
    label: str, figures: Sequence[tuple[float | None, PublishedFigure]]
) -> list[PublishedCurve]:
    """Returns a curve for each note; most often there is one."""
    found: dict[str, dict[float | None, tuple[float, float | None]]] = {}
    for x, figure in figures:
        note = "published" + (f" for {figure.data}" if figure.data else "")
        note += f" (step {figure.step})" if x is None else ""
        found.setdefault(note, {})[x] = (figure.mean, figure.std)
    return [PublishedCurve(label, points, note) for note, points in found.items()]
