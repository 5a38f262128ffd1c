"""The list of tables has all tables of the papers, and what it refers to exists."""

import re
from pathlib import Path

import pytest

from launch.ledger.entries import entries_of
from launch.ledger.tables import PAPERS, TABLES
from launch.ledger.views import Curves, EqualTimes, Grid, Measures, Steps, is_in
from launch.runs import expand, select
from sfvae_jax import evaluation
from sfvae_jax.runs.files.config_file import flatten, plain

# The numbers in the captions, typed from the papers.
CAPTIONS = {
    "sfvae": {
        *(f"Table {n}" for n in range(1, 6)),
        *(f"Figure {n}" for n in (1, 2, 3, 4, "A.1", *(f"C.{n}" for n in range(1, 9)))),
    },
    "back": {f"Figure {n}" for n in range(1, 18)},
    "gaps": {*(f"Table {n}" for n in range(1, 11)), *(f"Figure {n}" for n in (1, 2, 3))},
    "rae": {"Table 1", "Table 2", *(f"Figure {n}" for n in range(1, 7))},
    "flow": set(),
}
PARTS = [(table, part) for table in TABLES for part in table.parts]


def test_every_table_and_figure_of_the_papers_is_listed():
    """A word after the number, as in "Figure 2, bend", is of runs that the paper does not have."""
    numbered = re.compile(r"(\w+) ((?:Table|Figure|Section) [\w.]+(?:, \w+)?): ")
    for paper, tables in PAPERS.items():
        listed = [numbered.match(table.title) for table in tables]
        assert all(match and match[1] == paper.upper() for match in listed)
        numbers = [match[2] for match in listed]
        assert len(set(numbers)) == len(numbers)
        of_paper = {n for n in numbers if not n.startswith("Section") and "," not in n}
        assert of_paper == CAPTIONS[paper]
        names = [f"{paper}-{n.replace(', ', '-').replace(' ', '').lower()}" for n in numbers]
        assert [table.name.lower() for table in tables] == names


def test_names_are_unique_and_those_that_are_mentioned_exist():
    names = [table.name for table in TABLES]
    assert len({name.lower() for name in names}) == len(names)
    for table in TABLES:
        mentioned = re.findall(r"\b(?:sfvae|back|gaps|rae|flow)-\w+\d(?:\.\d)*\b", table.obstacle)
        assert set(mentioned) <= set(names), table.name
        assert table.parts or table.obstacle, table.name
        assert bool(table.parts) == bool(table.shows), table.name
        assert not table.obstacle or table.obstacle.endswith("."), table.name


@pytest.mark.parametrize("name", [table.name for table in TABLES if table.parts])
def test_parts_are_runs_that_can_be_made_and_measure_what_is_shown(name, monkeypatch):
    """The first and the last of each; `test_no_run_is_in_a_part_twice` makes all of them."""
    few = lambda runs, filters: (chosen := select(runs, filters))[:1] + chosen[1:][-1:]  # noqa: E731
    monkeypatch.setattr("launch.runs.select", few)
    (table,) = (table for table in TABLES if table.name == name)
    runs = [run for part in table.parts for run in _runs(part)]
    measured = {
        measure
        for options in (run.config.evaluations for run in runs)
        for evaluated in options.names
        for measure in evaluation.metric_names(options, evaluated)
    }
    assert _shown(table) <= measured
    assert all(part.hours and part.hours > 0 for part in table.parts)
    number = re.search(r" Table ([\w.]+): ", table.title)
    assert not number or all(
        re.search(rf"Tables?[^(]* {number[1]}\b", run.config.published.source) for run in runs
    )


def test_a_cell_of_a_grid_is_one_method_and_curves_have_a_table_beside_them():
    for table in TABLES:
        kinds = [type(view) for view in table.shows]
        assert Curves not in kinds or Measures in kinds, table.name
        grids = [view for view in table.shows if isinstance(view, Grid)]
        entries = entries_of(table) if grids else []
        configs = [flatten(plain(entry.config)) for entry in entries]
        for grid in grids:
            cells = {}
            for config in (config for config in configs if is_in(config, grid.where)):
                method = repr({key: value for key, value in config.items() if key != "seed"})
                cells.setdefault((config[grid.down], config[grid.across]), set()).add(method)
            assert cells, grid
            assert all(len(methods) == 1 for methods in cells.values()), grid


@pytest.mark.slow
@pytest.mark.parametrize("name", [table.name for table in TABLES if table.parts])
def test_no_run_is_in_a_part_twice(name):
    (table,) = (table for table in TABLES if table.name == name)
    assert all(_runs(part) for part in table.parts)


def _runs(part):
    overrides = [f"--config.{override}" for override in part.overrides]
    return expand(part.config, Path("/nowhere"), overrides, part.filters)


def _shown(table):
    shown = set()
    for view in table.shows:
        if isinstance(view, Measures):
            shown |= {measure for measure, _ in view.columns}
        elif isinstance(view, Grid):
            shown.add(view.measure)
        elif isinstance(view, Curves | EqualTimes):
            shown |= set(view.measures)
        elif isinstance(view, Steps):
            shown |= {measure for _, measure in view.rows}
    return shown
