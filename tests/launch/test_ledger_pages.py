"""The results pages agree with the records, and say so when they do not."""

import dataclasses
import json

import pytest
from helpers import ROOT
from tiny_ledger import PIECE, filed
from tiny_sweeps import write_config

from launch.ledger.entries import entries_of
from launch.ledger.pages import writing as pages
from launch.ledger.pages.account import account_of
from launch.ledger.pages.blocks import front
from launch.ledger.pages.plots import digest_in, pictures_of
from launch.ledger.records import path_of
from launch.ledger.table import Part, Table
from launch.ledger.times import between, duration
from launch.ledger.views import Curves, Grid, Measures, Pictures, Steps
from sfvae_jax.errors import UsageError

PAGE = "# Tiny\n\nBefore.\n\n{}\nBetween, by hand.\n\n{}"
BLOCK = "<!-- generated: {} -->\n<!-- end -->\n"
MADE = {
    "machine": {"processor": "A processor", "cores": 2, "accelerator": None},
    "versions": {"python": "3.11.9", "jax": "0.8.0", "flax": "0.12.0", "numpy": "2.0"},
}


def _file(entry, runs, records, collapse):
    """The record of a run of 200 steps, as `launch.reproduce` files it."""
    seed = entry.config.seed
    last = {"collapse_fraction": collapse, "kl_divergence": 2.0 + seed}
    history = {"100": {**last, "collapse_fraction": 1.0}, "200": last}
    piece = {**PIECE, **MADE, "seconds": 60.0 * (1 + seed), "processor_seconds": 36.0}
    caveats = {"collapse_fraction": "it is odd"} if seed == 1 else {}
    return filed(entry, runs, records, (piece,), metrics=last, history=history, caveats=caveats)


@pytest.fixture
def ledger(tmp_path):
    """A paper of two tables, one with three of four records; its folder, and the records."""
    runs = [{"seed": seed, "objective.name": "sampling"} for seed in range(3)]
    runs.append({"seed": 0, "objective.name": "sampling_free"})
    steps = {"train.steps": 200, "evaluations.steps": (100, 200)}
    part = Part(write_config(tmp_path, runs, **steps), setting="half of it", hours=3.0)
    shows = (
        Measures((("collapse_fraction", "end"), ("kl_divergence", "100"))),
        Grid("collapse_fraction", "seed", "objective.name", (("seed", "1"),)),
        Curves(("collapse_fraction",)),
        Pictures(("latent_kl.png",)),
    )
    table = Table("tiny-table1", "TINY Table 1: A title", (part,), "The rest is far.", shows)
    papers = {"tiny": (table, Table("tiny-figure1", "TINY Figure 1: B", obstacle="Not here."))}
    folder = tmp_path / "results"
    records = folder / "records"
    folder.mkdir()
    entries = entries_of(table)
    for entry, collapse in zip(entries[:3], (0.2, 0.4, 0.6), strict=True):
        _file(entry, tmp_path / "runs", records, collapse)
    blocks = (BLOCK.format(name) for name in ("tiny-table1", "tiny-others"))
    (folder / "tiny.md").write_text(PAGE.format(*blocks))
    (folder / "index.md").write_text(BLOCK.format("overview"))
    return folder, papers, [path_of(entry, records) for entry in entries]


def _change(path, **changes):
    """Changes entries of a record, each given by the keys that lead to it."""
    record = json.loads(path.read_text())
    for keys, value in changes.items():
        *groups, last = keys.split("__")
        group = record
        for key in groups:
            group = group[key.removeprefix("at_")]
        group[last] = value
    path.write_text(json.dumps(record))


def test_a_page_is_its_text_and_what_the_records_say(ledger):
    folder, papers, _ = ledger
    changed = pages.write_pages(folder, papers)
    picture = folder / "figures" / "tiny-table1.png"
    assert sorted(changed) == sorted([folder / "tiny.md", folder / "index.md", picture])
    assert pages.check_pages(folder, papers) == []
    assert pages.write_pages(folder, papers) == []
    text = (folder / "tiny.md").read_text()
    assert text.startswith("# Tiny\n\nBefore.\n\n<!-- generated: tiny-table1 -->\n## TINY Table 1")
    assert "\nBetween, by hand.\n" in text
    assert "| `sampling` | 3 | 40.0% ± 20.0% † / 60.0% ± 15.7% (step 1000) | 3.0 ± 1.0 " in text
    assert "| `seed` | `sampling` |\n| --- | --- |\n| 1 | 40.0% † / 60.0% ± 15.7%" in text
    assert text.count(": it is odd.") == 2
    # What differs from the paper stands once, before the tables.
    size, differing, first = text.partition("These runs differ from the paper's")
    assert size.endswith("Smaller than the paper's: half of it.\n\n")
    assert differing
    assert "These runs differ" not in first
    assert "\n- train.steps 200 (paper: 1000)\n" in first[: first.index("| method |")]
    assert "![TINY Table 1: A title](figures/tiny-table1.png)" in text
    assert "`python -m launch.reproduce tiny-table1`" in text
    assert "3 of 4 runs, seeds 0 to 2; 2.0 minutes per run (60 s to 3.0 minutes), 36 s" in text
    made = "A processor, 2 cores; python 3.11.9, jax 0.8.0, flax 0.12.0; commit 0123456789."
    assert made in text
    assert "1 run without a record, an estimated 3.0 hours on two cores: `own_config" in text
    assert "The rest is far." in text
    assert "- **TINY Figure 1: B.** Not here." in text
    row = "| [TINY Table 1: A title](tiny.md#tiny-table-1-a-title) | 3 | 4 |"
    assert row in (folder / "index.md").read_text()


@pytest.mark.parametrize("keys", ["metrics", "history__at_100"])
def test_a_record_that_changes_makes_page_and_picture_disagree(ledger, keys):
    folder, papers, (path, *_) = ledger
    pages.write_pages(folder, papers)
    before, there = digest_in(folder / "figures" / "tiny-table1.png"), path.read_text()
    _change(path, seconds=61.0)
    assert pages.check_pages(folder, papers) == ["tiny.md is not what the records say"]
    path.write_text(there)
    assert pages.check_pages(folder, papers) == []
    _change(path, **{f"{keys}__collapse_fraction": 0.3})
    assert "tiny-table1.png was drawn from other records" in pages.check_pages(folder, papers)
    pages.write_pages(folder, papers)
    assert pages.check_pages(folder, papers) == []
    assert digest_in(folder / "figures" / "tiny-table1.png") != before


def test_text_within_a_block_and_pictures_of_no_table_are_faults(ledger):
    folder, papers, records = ledger
    pages.write_pages(folder, papers)
    page = folder / "tiny.md"
    page.write_text(page.read_text().replace("± 20.0%", "± 10.0%"))
    (folder / "figures" / "old.png").write_bytes(b"")
    (folder / "figures" / "tiny-table1.png").unlink()
    (folder / "records" / "tiny-table0").mkdir()
    assert pages.check_pages(folder, papers) == [
        "tiny.md is not what the records say",
        "tiny-table1.png is missing",
        "figures/old.png belongs to no table",
        "records/tiny-table0 belongs to no table",
    ]
    for path in records[:3]:
        path.unlink()
    pages.write_pages(folder, papers)
    assert list((folder / "figures").iterdir()) == []
    text = page.read_text()
    assert "No record yet: 4 runs, an estimated 12 hours on two cores." in text
    assert "Between, by hand." in text


@pytest.mark.parametrize("name", ["tiny-table1", "tiny-others"])
def test_a_table_without_a_block_and_a_block_without_a_table_are_refused(ledger, name):
    folder, papers, _ = ledger
    page = folder / "tiny.md"
    page.write_text(page.read_text().replace(f"generated: {name}", "generated: tiny-table7"))
    with pytest.raises(UsageError, match=f"wrong: {name}, tiny-table7|wrong: tiny-table7, {name}"):
        pages.check_pages(folder, papers)


def test_records_that_do_not_hold_are_left_out_and_named(ledger):
    folder, papers, (first, second, *_) = ledger
    record = json.loads(first.read_text())
    record["settings"]["objective.beta"] = 7.0
    first.write_text(json.dumps(record))
    second.rename(second.with_name("a_run_of_old.json"))
    pages.write_pages(folder, papers)
    text = (folder / "tiny.md").read_text()
    assert "1 of 4 runs, seed 2; 3.0 minutes per run, 36 s of processor time." in text
    assert f"`{first.stem}`: stale: objective.beta" in text
    assert "Records of runs that the table no longer has: `a_run_of_old.json`." in text
    assert f"3 runs without a record, an estimated 3.0 hours on two cores: `{first.stem}`" in text


def test_the_times_of_objectives_are_apart(ledger, tmp_path):
    folder, papers, _ = ledger
    *_, entry = entries_of(papers["tiny"][0])
    _file(entry, tmp_path / "more", folder / "records", 0.0)
    pages.write_pages(folder, papers)
    text = (folder / "tiny.md").read_text()
    sampling = "`sampling` 2.0 minutes per run (60 s to 3.0 minutes), 36 s of processor time"
    sampling_free = "`sampling_free` 60 s per run, 36 s of processor time."
    assert f"4 of 4 runs, seeds 0 to 2. Time: {sampling}; {sampling_free}" in text


def test_the_end_of_a_run_is_no_earlier_step(ledger):
    """A measure that not all runs have at their end has no number there."""
    folder, papers, (path, *_) = ledger
    history = json.loads(path.read_text())["history"]
    history["200"] = {"kl_divergence": 2.0}
    _change(path, metrics=history["200"], history=history)
    pages.write_pages(folder, papers)
    text = (folder / "tiny.md").read_text()
    assert "collapse fraction, step" not in text.partition("Measures that some runs")[0]
    assert "`sampling` lack are left out: collapse fraction, step 200 (2 of 3)" in text


def test_a_view_over_steps_has_a_table_for_each_run(ledger):
    folder, papers, (path, *_) = ledger
    ((table, other),) = papers.values()
    taken = {"lower_bound": -1.23, "lower_bound_standard_error": 0.5, "collapse_fraction": 0.4}
    history = {"100": {"lower_bound": -4.0}, "200": taken}
    _change(path, metrics=taken, history=history)
    rows = (("its bound", "lower_bound"), ("its collapse", "collapse_fraction"))
    shows = (Steps("Bounds", rows), Steps("Collapse", rows[1:]))
    pages.write_pages(folder, {"tiny": (dataclasses.replace(table, shows=shows), other)})
    text = (folder / "tiny.md").read_text()
    head = "Bounds, `sampling` with seed 0:\n\n| step | 100 | 200 |\n| --- | --- | --- |\n"
    assert f"{head}| its bound | -4.0 | -1.2 ± 0.5 |\n| its collapse | — | 40.0% |" in text
    assert "Collapse, `sampling` with seed 1:\n\n| step | 100 | 200 |" in text
    assert "| its collapse | 100.0% | 40.0% † |" in text
    assert text.count("Each number is that of one run, ± its standard error.") == 1
    assert text.count(": it is odd.") == 1


def test_curves_may_leave_out_the_first_steps(ledger):
    folder, papers, _ = ledger
    ((table, _),) = papers.values()
    records = account_of(table, folder / "records").by_setting()
    for since, steps in ((100, {100, 200}), (101, {200})):
        curves = dataclasses.replace(table, shows=(Curves(("kl_divergence",), since=since),))
        panels = [panel for one in pictures_of(curves, records).values() for panel in one.panels]
        drawn = [set(curve.points) for panel in panels for curve in panel.curves]
        assert drawn == ([steps] if len(steps) > 1 else [])  # one point is no curve


def test_a_table_may_show_some_of_the_runs(ledger):
    folder, papers, _ = ledger
    ((table, other),) = papers.values()
    columns = (("kl_divergence", "end"),)
    shows = (Measures(columns, (("seed", "2"),)), Measures(columns, (("seed", "9"),)))
    pages.write_pages(folder, {"tiny": (dataclasses.replace(table, shows=shows), other)})
    text = (folder / "tiny.md").read_text()
    assert "`seed=2`:\n\n| method | runs | KL divergence, step 200 |" in text
    assert "| `sampling` | 1 | 4.0 " in text
    assert "seed=9" not in text


def test_a_cell_of_a_grid_is_one_method(ledger):
    folder, papers, _ = ledger
    ((table, *_),) = papers.values()
    grid = Grid("collapse_fraction", "objective.name", "data.name")
    other = Part(table.parts[0].config, ("seed=0",), ("likelihood.variance=0.1",), "half of it")
    parts = (Part(table.parts[0].config, ("seed=[12]",), setting="half of it"), other)
    table = Table(table.name, table.title, parts, shows=(grid,))
    _file(entries_of(table)[2], folder / "runs", folder / "records", 0.1)
    with pytest.raises(UsageError, match=r"tiny-table1: a cell of the grid of collapse_fraction"):
        pages.write_pages(folder, {"tiny": (table, papers["tiny"][1])})


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.4, "0 s"),
        (99.4, "99 s"),
        (120, "2.0 minutes"),
        (5400, "90 minutes"),
        (5972, "1.7 hours"),
        (7200, "2.0 hours"),
        (360_000, "100 hours"),
    ],
)
def test_a_duration_in_words(seconds, words):
    assert duration(seconds) == words


def test_a_range_of_times_has_its_unit_once():
    assert between("10 minutes", "13 minutes") == "10 to 13 minutes"
    assert between("~60 s", "~3.0 minutes") == "~60 s to ~3.0 minutes"


def test_the_pages_are_what_the_records_say():
    """If not: python -m launch.reproduce --write-docs."""
    assert pages.check_pages(ROOT / "docs" / "results") == []


def test_readme_shows_records_and_the_papers_other_methods(ledger, tmp_path):
    folder, papers, _ = ledger
    table = papers["tiny"][0]
    part = dataclasses.replace(table.parts[0], setting="")
    shown = dataclasses.replace(table, parts=(part,), front=(("kl_divergence", "100"),))
    account = pages.account_of(shown, folder / "records")
    text = front(shown, account)
    assert "| `sampling` | 3 | 3.0 ± 1.0" in text
    assert front(shown, dataclasses.replace(account, filed=())) == "No record yet.\n"
