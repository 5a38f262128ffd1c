"""The report's numbers, by hand."""

import json
import subprocess
import sys

import pytest
from conftest import load_config

from sfvae_jax import report
from sfvae_jax.errors import UsageError
from sfvae_jax.training.settings import plain


def _run(objective, seed, collapse, **changes):
    config = load_config("mnist_collapse").get_config("laptop")
    config.update_from_flattened_dict({"objective.name": objective, "seed": seed, **changes})
    last = {"collapse_fraction": collapse, "reconstruction_error_at_sample": 30.0 + seed}
    return {
        "config": plain(config),
        "step": 200,
        "metrics": last,
        "history": {"100": {**last, "collapse_fraction": 1.0}, "200": last},
        "published": json.loads(json.dumps(config.published.to_dict())),
    }


RUNS = [
    _run("sampling", 0, 0.2),
    _run("sampling", 1, 0.4),
    _run("sampling", 2, 0.6),
    _run("sampling_free", 0, 0.0),
]


def test_mean_and_standard_deviation_over_seeds():
    sampling, free = report.summarize(RUNS)["methods"]
    assert (sampling["method"], sampling["runs"], sampling["seeds"]) == ("sampling", 3, [0, 1, 2])
    cell = sampling["measures"]["collapse_fraction"]["200"]
    assert (cell["mean"], cell["std"]) == pytest.approx((0.4, 0.2))
    assert cell["published"] == [0.6, 0.157]
    assert cell["published_step"] == "1000"
    assert sampling["measures"]["collapse_fraction"]["100"]["published"] == [0.99, 0.015]
    assert (free["runs"], free["measures"]["collapse_fraction"]["200"]["std"]) == (1, None)


def test_markdown():
    text = report.to_markdown(report.summarize(RUNS))
    rows = [line for line in text.splitlines() if line.startswith("| `")]
    assert len(rows) == 2
    assert "40.0% ± 20.0% / 60.0% ± 15.7% (step 1000)" in rows[0]
    assert "| 31.0 ± 1.0 |" in rows[0]
    assert "| 0.0% / 0.6% ± 0.6% (step 1000) |" in rows[1]
    assert "SFVAE, Table 4 (10 runs)" in text
    assert "model.latent_size 100 (paper: 200)" in text


def test_a_doubtful_measure_says_so():
    caveat = "it has not converged"
    doubtful = {**RUNS[1], "caveats": {"collapse_fraction": caveat}}
    summary = report.summarize([RUNS[0], doubtful, RUNS[3]])
    text = report.to_markdown(summary)
    assert "30.0% ± 14.1% † / 60.0%" in text
    assert f"† collapse fraction of sampling: {caveat}." in text
    assert text.count("†") == 2  # not of step 100, nor of the other method
    earlier = {**doubtful, "history_caveats": {"100": {"collapse_fraction": "too early"}}}
    text = report.to_markdown(report.summarize([RUNS[0], earlier]))
    assert "100.0% ± 0.0% † / 99.0%" in text
    assert "† collapse fraction of sampling: too early." in text


EXPRESSIONS = {
    "search_valid": (1.00, 0.00),
    "search_score": (3.22, 0.03),
    "search_best_1": (0.39, None),
}


def _searched(seed, valid, score):
    """A run's results, and a paper's row with deviations over its trials (RAE Figure 2)."""
    rows = {name: {"end": list(value)} for name, value in EXPRESSIONS.items()}
    config = _run("sampling", seed, 0.0)["config"]
    metrics = {"search_valid": valid, "search_valid_deviation": 0.03}
    metrics |= {"search_score": score, "search_score_deviation": 0.5, "search_best_1": 0.4321}
    published = {"source": "RAE, Figure 2", "num_runs": 1, "rows": {"sampling": rows}}
    texts = {"search_best_1": f"x + sin( {seed + 1} )"}
    found = {"metrics": metrics, "texts": texts, "published": published}
    return {"config": config, "step": 200, **found}


def test_a_search_stands_beside_the_published_one_with_its_texts():
    text = report.to_markdown(report.summarize([_searched(0, 0.97, 3.5)]))
    assert "| 0.97 ± 0.03 / 1.00 ± 0.00 | 3.50 ± 0.50 / 3.22 ± 0.03 |" in text
    assert "| 0.43 / 0.39 |" in text
    assert "deviation, step" not in text
    assert "Found by `sampling`:\n\n- search best 1: `x + sin( 1 )`" in text
    assert "over seeds, of a single run over the trials of its search" in text


def test_over_several_seeds_the_deviation_is_theirs():
    text = report.to_markdown(report.summarize([_searched(0, 0.9, 3.0), _searched(1, 0.9, 4.0)]))
    assert "| 0.90 ± 0.00 / 1.00 ± 0.00 | 3.50 ± 0.71 / 3.22 ± 0.03 |" in text
    assert "- search best 1: `x + sin( 1 )`, `x + sin( 2 )`" in text
    assert "after the slash RAE, Figure 2 (1 run), of a search ± over its trials." in text
    assert "trials" not in report.to_markdown(report.summarize(RUNS))


def test_shares_and_small_errors_of_sequences_keep_their_digits():
    measures = {"valid_prior": 0.972, "unique_gmm": 0.5, "novel_second_stage": 0.9996}
    measures |= {"exact_match": 0.043, "token_accuracy": 0.958, "value_error": 0.0432}
    run = {**RUNS[3], "metrics": {**measures, "elbo_valid": -12.346}, "history": {}}
    header, _, row, *_ = report.to_markdown(report.summarize([run])).splitlines()
    assert "| valid samples of the prior, step 200 | unique samples of the gmm, " in header
    assert "| novel samples of the second stage, step 200 | exact match, " in header
    assert row.endswith("| 0.972 | 0.500 | 1.000 | 0.043 | 0.958 | 0.043 | -12.35 |")


def test_many_measures_are_rows():
    measures = {f"bound_{i}_test": -float(i) for i in range(13)}
    runs = [{**run, "metrics": measures, "history": {}} for run in RUNS[2:]]
    lines = report.to_markdown(report.summarize(runs)).splitlines()
    assert lines[0] == "| method | `sampling` | `sampling_free` |"
    assert lines[1] == "| --- | --- | --- |"
    assert "| bound 12 test, step 200 | -12.00 | -12.00 |" in lines


def test_runs_of_other_settings_are_other_methods():
    runs = [*RUNS[:2], _run("sampling", 0, 0.1, **{"objective.num_samples": 5})]
    labels = [method["method"] for method in report.summarize(runs)["methods"]]
    assert labels == [
        "sampling (objective.num_samples=1)",
        "sampling (objective.num_samples=5)",
    ]


def test_details_are_told_of_the_objective_that_they_tell_apart():
    several = {"objective.num_samples": 5}
    runs = [RUNS[0], _run("sampling", 0, 0.1, **several), RUNS[3]]
    labels = [method["method"] for method in report.summarize(runs)["methods"]]
    assert labels[2] == "sampling_free"
    assert labels[1] == "sampling (objective.num_samples=5)"


def test_published_rows_are_found_by_what_they_are_of(tmp_path):
    """mnist_estimators: one row for each number of samples, at the end whatever the step."""
    runs = []
    for num_samples in (1, 20):
        run = _run("iwae", 0, 0.1, **{"objective.num_samples": num_samples})
        config = load_config("mnist_estimators").get_config("laptop")
        run["published"] = json.loads(json.dumps(config.published.to_dict()))
        run["metrics"] = {"nll_without_constant": 30.0, "collapse_fraction": None}
        run["history"] = {}
        runs.append(run)
    one, twenty = report.summarize(runs)["methods"]
    assert one["measures"]["nll_without_constant"]["200"]["published"] == [27.62, None]
    assert twenty["measures"]["nll_without_constant"]["200"]["published"] == [26.11, None]
    text = report.to_markdown(report.summarize(runs))
    assert "| 30.0 / 26.1 |" in text
    assert "collapse" not in text.splitlines()[0]  # null: it does not apply to these models
    assert "data.name" not in text  # the rows tell data sets apart: no difference from the paper
    report.pictures.draw_report(report.summarize(runs)["methods"], tmp_path / "report.png")
    assert (tmp_path / "report.png").exists()


def test_methods_with_different_measures(tmp_path):
    deterministic = _run("rae", 0, None)
    deterministic["history"] = {}
    summary = report.summarize([RUNS[0], deterministic])
    text = report.to_markdown(summary)
    row = next(line for line in text.splitlines() if line.startswith("| `rae` |"))
    assert "—" in row
    report.pictures.draw_report(summary["methods"], tmp_path / "report.png")
    assert (tmp_path / "report.png").exists()


def test_unfinished_runs_are_refused(tmp_path):
    path = tmp_path / "run" / "results.json"
    path.parent.mkdir()
    for content, message in (
        ({"config": RUNS[0]["config"], "history": {}}, "has no final measures"),
        ({**RUNS[0], "step": 100}, "is of step 100 of 200; let the run end first"),
        ([], "holds no JSON object"),
    ):
        path.write_text(json.dumps(content))
        with pytest.raises(UsageError, match=message):
            report.read_run(path)
    path.unlink()
    path.parent.rmdir()
    with pytest.raises(UsageError, match="holds no results.json"):
        report.find_runs([tmp_path])


def test_the_same_run_twice_is_refused(tmp_path):
    with pytest.raises(UsageError, match="have the same seed"):
        report.summarize([RUNS[0], RUNS[0]])
    (tmp_path / "results.json").write_text("{}")
    assert len(report.find_runs([tmp_path, tmp_path / ".." / tmp_path.name])) == 1


def test_every_difference_from_the_paper_is_told():
    runs = [RUNS[0], _run("sampling", 1, 0.1, **{"train.learning_rate": 1e-2})]
    text = report.to_markdown(report.summarize(runs))
    assert "train.learning_rate 0.001 and 0.01 (paper: 0.001)" in text


def test_command_writes_three_files(tmp_path):
    for i, run in enumerate(RUNS):
        (tmp_path / f"run{i}").mkdir()
        (tmp_path / f"run{i}" / "results.json").write_text(json.dumps(run))
    command = [sys.executable, "-m", "sfvae_jax.report", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("| method | runs |")
    assert (tmp_path / "report.md").read_text() in done.stdout
    assert json.loads((tmp_path / "report.json").read_text())["methods"][0]["runs"] == 3
    assert (tmp_path / "report.png").read_bytes().startswith(b"\x89PNG")

    failed = subprocess.run([*command, str(tmp_path / "none")], capture_output=True, text=True)
    assert failed.returncode == 2
    assert "Traceback" not in failed.stderr
    assert "holds no results.json" in failed.stderr


def test_measures_near_one_keep_their_digits():
    assert report._number("prd_f8_gmm", 0.97654, None) == "0.977"
    assert report._number("variance_correlation_5", 0.8, 0.01) == "0.800 ± 0.010"
    assert report._number("fid_gmm", 8.69, None) == "8.7"
