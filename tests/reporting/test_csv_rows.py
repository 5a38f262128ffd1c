"""report.csv has the same numbers and texts if other programs read it."""

import csv
import io
import math
from pathlib import Path

import numpy as np
import pytest

from sfvae_jax.reporting.csv_rows import COLUMNS, run_names, to_csv

PUBLISHED = {
    "source": "A paper",
    "num_runs": 2,
    "setting": {"data": {"name": "mnist"}},
    "rows": {"sampling": {"lower_bound": {"50": [-4.5, 0.1 + 0.2], "9000": [-2.5, None]}}},
}


def _run(seed, objective="sampling", data="mnist", **metrics):
    config = {"seed": seed, "objective": {"name": objective}, "data": {"name": data}}
    config |= {"train": {"steps": 100}, "evaluations": {"part": "valid"}}
    return {
        "config": config,
        "step": 100,
        "metrics": {"lower_bound": -3.0} | metrics,
        "history": {"50": {"lower_bound": -1e-300 / 3, "collapse_fraction": None}},
        "published": PUBLISHED,
        "not_applicable": {"collapse_fraction": 'no posterior, so none;\r\nsee "kinds"'},
        "caveats": {"lower_bound": "it says 'not yet', a lot"},
        "history_caveats": {"50": {"lower_bound": "early"}},
    }


NUMBERS = [0.1 + 0.2, 1 / 3, 5e-324, 1.7976931348623157e308, -0.0, 12345678, 2**-30]
RUNS = {
    Path("/a/second, with/results.json"): _run(1, **{f"m{i}": x for i, x in enumerate(NUMBERS)}),
    Path("/a/other/results.json"): _run(0, "rae", "npz:a,b", amortization_gap_test=1.5),
    Path("/a/first/results.json"): _run(0, collapse_fraction=None, fid_gmm=8.0, valid_prior=0.5),
}


def _read(text):
    return list(csv.DictReader(io.StringIO(text, newline="")))


def test_every_number_is_read_back_unchanged():
    rows = _read(to_csv(RUNS))
    by_run = {path.parent.name: run for path, run in RUNS.items()}
    found = {name: {} for name in by_run}
    for row in rows:
        value = float(row["value"]) if row["value"] else None
        found[row["run"]][row["step"], row["measure"]] = value
    for name, run in by_run.items():
        points = {**run["history"], "100": run["metrics"]}
        expected = {(s, m): value for s, values in points.items() for m, value in values.items()}
        assert found[name] == expected
        numbers = [value for value in expected.values() if value is not None]
        signs = [math.copysign(1, value) for value in found[name].values() if value is not None]
        np.testing.assert_array_equal(signs, np.copysign(1, numbers))


def test_the_columns_say_what_a_value_is():
    rows = {(row["run"], row["step"], row["measure"]): row for row in _read(to_csv(RUNS))}
    row = rows["first", "50", "lower_bound"]
    assert row == {
        "method": "sampling",
        "run": "first",
        "seed": "0",
        "measure": "lower_bound",
        "step": "50",
        "measured_step": "50",
        "value": repr(-1e-300 / 3),
        "reason": "",
        "caveat": "early",
        "published_mean": "-4.5",
        "published_std": repr(0.1 + 0.2),
        "published_step": "50",
        "published_data": "",
        "part": "valid",
    }
    last = rows["first", "100", "lower_bound"]
    assert (last["caveat"], last["published_step"]) == ("it says 'not yet', a lot", "9000")
    assert (last["published_mean"], last["published_std"]) == ("-2.5", "")
    null = rows["first", "100", "collapse_fraction"]
    assert (null["value"], null["published_mean"]) == ("", "")
    assert null["reason"] == 'no posterior, so none;\r\nsee "kinds"'
    assert rows["other", "100", "amortization_gap_test"]["part"] == "test"
    assert rows["first", "100", "fid_gmm"]["part"] == "test"
    assert rows["first", "100", "valid_prior"]["part"] == ""


@pytest.mark.parametrize(
    ("measure", "part"),
    [
        ("amortization_gap_test_standard_error", "test"),
        ("ais_step_size_train", "train"),
        ("prd_f8_prior", "test"),
        ("gmm_held_out_log_density", "valid"),
        ("gmm_held_out_log_density_minus_training", "train and valid"),
        ("search_valid", "train"),
        ("simulated_sandwich", ""),
        ("lower_bound", "valid"),
    ],
)
def test_the_column_part_has_the_split_that_was_measured(measure, part):
    rows = _read(to_csv({Path("/a/results.json"): _run(0, **{measure: 1.0})}))
    assert {row["part"] for row in rows if row["measure"] == measure} == {part}


def test_a_run_that_stopped_early_says_which_step_was_measured():
    run = _run(0) | {"measured_step": 40}
    rows = _read(to_csv({Path("/a/results.json"): run}))
    assert [(row["step"], row["measured_step"]) for row in rows] == [
        ("50", "50"),
        ("50", "50"),
        ("100", "40"),
    ]


def test_published_figures_of_other_data_name_them():
    path = Path("/a/results.json")
    rows = _read(to_csv({path: _run(0, data="npz:a,b")}))
    assert {row["published_data"] for row in rows if row["published_mean"]} == {"mnist"}


def test_the_text_follows_rfc_4180():
    text = to_csv(RUNS)
    assert text.endswith("\r\n")
    assert text.splitlines()[0] == ",".join(COLUMNS)
    assert '"second, with"' in text
    assert '"no posterior, so none;\r\nsee ""kinds"""' in text
    lengths = {len(row) for row in csv.reader(io.StringIO(text, newline=""), strict=True)}
    assert lengths == {len(COLUMNS)}
    methods = [row["method"] for row in _read(text)]
    assert list(dict.fromkeys(methods)) == ["sampling", "rae"]


def test_folders_of_the_same_name_are_told_apart():
    paths = [Path(f"/runs/{name}/results.json") for name in ("a/seed=0", "b/seed=0")]
    assert run_names(paths) == ["a/seed=0", "b/seed=0"]
    assert run_names(paths[:1]) == ["seed=0"]
