"""Which runs a report reads: finished ones, each once, and none that is damaged."""

import json

import pytest
from finished_runs import RUNS, finished_run, write_runs

from sfvae_jax import report
from sfvae_jax.errors import UsageError
from sfvae_jax.reporting.runs import read_runs


def test_unfinished_runs_are_refused(tmp_path):
    path = tmp_path / "run" / "results.json"
    path.parent.mkdir()
    for content, message in (
        ({"config": RUNS[0]["config"], "history": {}}, "has no final measures"),
        ({**RUNS[0], "step": 100}, "holds measures of step 100 of 200; let the run end first"),
        ([], "does not hold a JSON object"),
    ):
        path.write_text(json.dumps(content))
        with pytest.raises(UsageError, match=message):
            report.read_run(path)
    path.unlink()
    path.parent.rmdir()
    with pytest.raises(UsageError, match="holds no results.json"):
        report.find_runs([tmp_path])


def test_a_run_that_stopped_early_has_the_step_that_was_measured(tmp_path):
    path = tmp_path / "results.json"
    path.write_text(json.dumps({**RUNS[0], "step": 100, "ended_at": 150}))
    run = report.read_run(path)
    assert (run["step"], run["measured_step"]) == (200, 100)
    path.write_text(json.dumps(RUNS[0]))
    assert report.read_run(path) == {**RUNS[0], "measured_step": 200}


def test_the_same_run_twice_is_refused(tmp_path):
    with pytest.raises(UsageError, match="have the same seed"):
        report.summarize([RUNS[0], RUNS[0]])
    (tmp_path / "results.json").write_text("{}")
    assert len(report.find_runs([tmp_path, tmp_path / ".." / tmp_path.name])) == 1


def test_a_copy_of_a_run_is_counted_once(tmp_path):
    older = {**RUNS[0], "config": {**RUNS[0]["config"]}}
    older["config"]["data"] = {k: v for k, v in older["config"]["data"].items() if k != "scale"}
    write_runs(tmp_path, [RUNS[0], older, RUNS[1]])
    runs, left_out = read_runs(report.find_runs([tmp_path]))
    assert [path.parent.name for path in runs] == ["run0", "run2"]
    ((path, reason),) = left_out.items()
    assert path.parent.name == "run1"
    assert f"same config and seed as {tmp_path}/run0/results.json, which is counted" in reason
    assert report.summarize(list(runs.values()))["methods"][0]["seeds"] == [0, 1]


def test_a_run_that_was_evaluated_again_is_the_same_method():
    more = finished_run("sampling", 0, 0.2, **{"evaluations.names": ("collapse", "bias")})
    (method,) = report.summarize([more, RUNS[1]])["methods"]
    assert method["seeds"] == [0, 1]
    assert method["method"] == "sampling"


def test_there_is_no_report_if_no_run_can_be_read(tmp_path):
    (tmp_path / "results.json").write_text('{"a":' * 10_000 + "1" + "}" * 10_000)
    with pytest.raises(UsageError, match="cannot read .*nested more than"):
        report.write_report([tmp_path / "results.json"], tmp_path / "report")
    assert not (tmp_path / "report").exists()


def test_linked_runs_are_found_once_and_loops_end(tmp_path):
    write_runs(tmp_path / "far")
    near = tmp_path / "near"
    near.mkdir()
    (near / "own").symlink_to(tmp_path / "far" / "run0")
    (near / "again").symlink_to(tmp_path / "far" / "run0")
    (near / "all").symlink_to(tmp_path / "far")
    (near / "loop").symlink_to(near)
    (near / "file").mkdir()
    (near / "file" / "results.json").symlink_to(tmp_path / "far" / "run1" / "results.json")
    (near / "gone").symlink_to(tmp_path / "nowhere")
    found = report.find_runs([near])
    assert found == [tmp_path / "far" / f"run{i}" / "results.json" for i in range(4)]
    assert report.find_runs([near / "own", near, tmp_path / "far"]) == found


def _paths(tree, path=()):
    yield path
    if isinstance(tree, dict):
        for key in tree:
            yield from _paths(tree[key], (*path, key))


def _replaced(tree, path, value):
    if not path:
        return value
    return {**tree, path[0]: _replaced(tree[path[0]], path[1:], value)}


def test_damaged_results_do_not_stop_the_others(tmp_path):
    """Each entry in turn has values of all kinds: the run is left out, or its report is right."""
    doubtful = {"caveats": {"collapse_fraction": "c"}, "texts": {"collapse_fraction": "t"}}
    whole = {**RUNS[0], **doubtful, "history_caveats": {"100": {"collapse_fraction": "c"}}}
    row = {"collapse_fraction": {"100": [0.99, 0.015], "end": [0.6, None]}, "where": {}}
    whole["published"] = {**whole["published"], "note": "n", "rows": {"sampling": row}}
    read = {"seed", "name", "names", "steps", "data", "train", "objective", "evaluations"}
    left_out = 0
    for path in _paths(whole):
        settings = path[:1] == ("config",) or path[:2] == ("published", "setting")
        if settings and len(path) > 1 and path[-1] not in read:
            continue
        for value in (None, {"a": []}, {"1": {"b": None}}, "x", True):
            (tmp_path / "results.json").write_text(json.dumps(_replaced(whole, path, value)))
            runs, reasons = read_runs([tmp_path / "results.json"])
            assert len(runs) + len(reasons) == 1
            assert all("\n" not in reason for reason in reasons.values())
            left_out += len(reasons)
            if runs:
                assert report.to_markdown(report.summarize([RUNS[3], *runs.values()]))
    assert left_out > 70
