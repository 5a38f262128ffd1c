"""Reports of hand-made runs."""

import csv
import json
import os
import re
import shlex
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from absl import flags
from absl.testing import flagsaver
from finished_runs import RUNS, finished_run, write_runs
from helpers import load_config

from sfvae_jax import report
from sfvae_jax.reporting.markdown import settings_that_differ
from sfvae_jax.reporting.measures import number
from sfvae_jax.reporting.pictures.points import draw_report
from sfvae_jax.runs.files.config_file import plain
from sfvae_jax.runs.published import with_differences


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


def test_doubts_of_equal_words_are_one_note():
    measures = ("collapse_fraction", "reconstruction_error_at_sample")
    doubts = [dict.fromkeys(measures, f"only {number} count") for number in (7, 3, 5)]
    runs = [{**run, "caveats": own} for run, own in zip((*RUNS[:2], RUNS[3]), doubts, strict=True)]
    text = report.to_markdown(report.summarize(runs))
    (note,) = (line for line in text.splitlines() if line.startswith("†"))
    assert note == (
        "† collapse fraction, reconstruction error at sample of sampling, sampling_free: only 3 to"
        " 7 count."
    )


EXPRESSIONS = {
    "search_valid": (1.00, 0.00),
    "search_score": (3.22, 0.03),
    "search_best_1": (0.39, None),
}


def _searched(seed, valid, score):
    """A run's results, and a paper's row with deviations over its trials (RAE Figure 2)."""
    rows = {name: {"end": list(value)} for name, value in EXPRESSIONS.items()}
    config = finished_run("sampling", seed, 0.0)["config"]
    metrics = {"search_valid": valid, "search_valid_deviation": 0.03}
    metrics |= {"search_score": score, "search_score_deviation": 0.5, "search_best_1": 0.4321}
    published = {"source": "RAE, Figure 2", "num_runs": 1, "rows": {"sampling": rows}}
    texts = {"search_best_1": f"x + sin( {seed + 1} )"}
    found = {"metrics": metrics, "texts": texts, "published": published}
    return {"config": config, "step": 200, **found}


def test_a_search_is_shown_beside_the_published_one_with_its_texts():
    text = report.to_markdown(report.summarize([_searched(0, 0.97, 3.5)]))
    assert "| 0.97 ± 0.03 / 1.00 ± 0.00 | 3.50 ± 0.50 / 3.22 ± 0.03 |" in text
    assert "| 0.43 / 0.39 |" in text
    assert "deviation, step" not in text
    assert "Found by `sampling`:\n\n- search best 1: `x + sin( 1 )`" in text
    assert "over seeds; for a single run, over the trials of its search" in text


def test_a_table_beside_which_nothing_is_published_says_so():
    run = _searched(0, 0.9, 3.0)
    run["metrics"] = {"kl_divergence": 2.0}
    text = report.to_markdown(report.summarize([run]))
    assert "; there is no number for this setting in RAE, Figure 2 (1 run)." in text
    assert "after the slash" not in text


def test_the_deviation_of_several_seeds_is_over_the_seeds():
    text = report.to_markdown(report.summarize([_searched(0, 0.9, 3.0), _searched(1, 0.9, 4.0)]))
    assert "| 0.90 ± 0.00 / 1.00 ± 0.00 | 3.50 ± 0.71 / 3.22 ± 0.03 |" in text
    assert "- search best 1: `x + sin( 1 )`, `x + sin( 2 )`" in text
    assert "after the slash RAE, Figure 2 (1 run), where ± of a search is over its trials." in text
    assert "trials" not in report.to_markdown(report.summarize(RUNS))


def test_shares_and_small_errors_of_sequences_have_enough_digits():
    measures = {"valid_prior": 0.972, "unique_gmm": 0.5, "novel_second_stage": 0.9996}
    measures |= {"exact_match": 0.043, "token_accuracy": 0.958, "value_error": 0.0432}
    run = {**RUNS[3], "metrics": {**measures, "lower_bound_valid": -12.346}, "history": {}}
    header, _, row, *_ = report.to_markdown(report.summarize([run])).splitlines()
    assert "| valid samples of the prior, step 200 | unique samples of the GMM, " in header
    assert "| novel samples of the second stage, step 200 | exact match, " in header
    assert row.endswith("| 0.972 | 0.500 | 1.000 | 0.043 | 0.958 | 0.043 | -12.35 |")


def test_many_measures_are_rows():
    measures = {f"optimal_q{i}_bound_test": -float(i) for i in range(13)}
    runs = [{**run, "metrics": measures, "history": {}} for run in RUNS[2:]]
    lines = report.to_markdown(report.summarize(runs)).splitlines()
    assert lines[0] == "| method | `sampling` | `sampling_free` |"
    assert lines[1] == "| --- | --- | --- |"
    assert "| optimal q12 bound test, step 200 | -12.00 | -12.00 |" in lines


def test_runs_of_other_settings_are_other_methods():
    runs = [*RUNS[:2], finished_run("sampling", 0, 0.1, **{"objective.num_samples": 5})]
    labels = [method["method"] for method in report.summarize(runs)["methods"]]
    assert labels == [
        "sampling (objective.num_samples=1)",
        "sampling (objective.num_samples=5)",
    ]


def test_details_are_shown_for_the_objective_that_they_tell_apart():
    several = {"objective.num_samples": 5}
    runs = [RUNS[0], finished_run("sampling", 0, 0.1, **several), RUNS[3]]
    labels = [method["method"] for method in report.summarize(runs)["methods"]]
    assert labels[2] == "sampling_free"
    assert labels[1] == "sampling (objective.num_samples=5)"


def test_data_that_changed_under_the_same_name_are_another_method():
    runs = [
        finished_run("sampling", 0, 0.1, **{"data.name": name, "data.fingerprint": print_})
        for name, print_ in (
            ("npz:a", "train 4 1f"),
            ("npz:b", "train 4 2f"),
            ("npz:b", "train 5 3f"),
        )
    ]
    labels = [method["method"] for method in report.summarize(runs[:2])["methods"]]
    assert labels == ["sampling (data.name=npz:a)", "sampling (data.name=npz:b)"]
    labels = [method["method"] for method in report.summarize(runs[1:])["methods"]]
    assert labels[1] == "sampling (data.fingerprint=train 5 3f)"


def test_published_rows_are_found_by_their_where(tmp_path):
    """mnist_estimators: one row for each number of samples, for the end of runs of any length."""
    runs = []
    for num_samples in (1, 20):
        run = finished_run("iwae", 0, 0.1, **{"objective.num_samples": num_samples})
        config = load_config("mnist_estimators").get_config("laptop")
        run["published"] = json.loads(json.dumps(config.published.to_dict()))
        run["metrics"] = {"nll_without_constant": 30.0, "collapse_fraction": None}
        run["history"] = {}
        runs.append(run)
    one, twenty = report.summarize(runs)["methods"]
    assert one["measures"]["nll_without_constant"]["200"]["published"] == [27.62, None]
    assert twenty["measures"]["nll_without_constant"]["200"]["published"] == [26.11, None]
    text = report.to_markdown(report.summarize(runs))
    assert "| 30.00 / 26.11 |" in text
    assert "collapse" not in text.splitlines()[0]  # null: it does not apply to these models
    # The rows tell data sets apart, and have the embedded digits in the place of MNIST.
    assert "data.name mnist_5k (paper: mnist)" in text
    assert "num_samples" not in text.splitlines()[-1]
    draw_report(report.summarize(runs)["methods"], runs, tmp_path / "report.png")
    assert (tmp_path / "report.png").exists()


def test_methods_may_have_different_measures(tmp_path):
    deterministic = finished_run("rae", 0, None)
    deterministic["history"] = {}
    runs = [RUNS[0], deterministic]
    summary = report.summarize(runs)
    text = report.to_markdown(summary)
    row = next(line for line in text.splitlines() if line.startswith("| `rae` |"))
    assert "—" in row
    draw_report(summary["methods"], runs, tmp_path / "report.png")
    assert (tmp_path / "report.png").exists()


def test_every_difference_from_the_paper_is_listed():
    runs = [RUNS[0], finished_run("sampling", 1, 0.1, **{"train.learning_rate": 1e-2})]
    text = report.to_markdown(report.summarize(runs))
    assert "train.learning_rate 0.001 and 0.01 (paper: 0.001)" in text


def test_command_writes_three_files_and_says_what_it_left_out(tmp_path):
    """In an ASCII locale, and with a pipe whose reader leaves."""
    write_runs(tmp_path)
    (tmp_path / "run4").mkdir()
    (tmp_path / "run4" / "results.json").write_text('{"step": NaN}')
    command = [sys.executable, "-m", "sfvae_jax.report", str(tmp_path)]
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0", "LC_ALL": "C"}
    piped = f"{shlex.join(command)} | head -1; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", piped], capture_output=True, text=True, env=environment)
    lines = done.stdout.splitlines()
    assert lines[0].startswith("| method | runs |")
    assert lines[1:] == ["1"]
    assert "Traceback" not in done.stderr
    assert f"left out: {tmp_path}/run4/results.json: cannot read" in done.stderr
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "40.0% ± 20.0%" in text
    assert f"Left out:\n\n- `{tmp_path}/run4/results.json`: " in text
    written = json.loads((tmp_path / "report.json").read_text())
    assert written["methods"][0]["runs"] == 3
    assert list(written["left_out"]) == [f"{tmp_path}/run4/results.json"]
    assert (tmp_path / "report.png").read_bytes().startswith(b"\x89PNG")
    names = "report.md, report.tex, report.json, report.csv, report.png, report_curves.png"
    assert f"written to {tmp_path}: {names}" in done.stderr
    rows = list(csv.DictReader((tmp_path / "report.csv").open(newline="", encoding="utf-8")))
    assert len(rows) == 4 * 4  # runs, and two measures at two steps
    assert {row["run"] for row in rows} == {"run0", "run1", "run2", "run3"}


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "name at least one run"),
        (["{}/none"], "holds no results.json"),
        (["~nouser/x"], "RUN='~nouser/x' is not a usable path"),
        (["gs://bucket/x"], "is a URL"),
    ],
)
def test_what_cannot_be_reported_is_one_line(tmp_path, capsys, flags, message):
    with pytest.raises(SystemExit) as ended:
        report.main(["report", *(flag.format(tmp_path) for flag in flags)])
    assert ended.value.code == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert len(err.splitlines()) == 1
    assert re.search(message, err)


TEXTS = ("report.md", "report.tex", "report.json", "report.csv")


@pytest.fixture
def no_pictures(monkeypatch):
    """Draws empty files instead of pictures."""
    for name in ("draw_report", "draw_panels"):
        monkeypatch.setattr(report, name, lambda *drawn: drawn[-1].touch())


def test_curves_are_drawn_if_there_are_any_and_those_of_an_earlier_report_removed(
    tmp_path, no_pictures
):
    wide = finished_run("sampling", 0, 0.1, **{"model.latent_size": 7})
    write_runs(tmp_path, [RUNS[0], wide])
    files = (*TEXTS, "report.png", "report_curves.png", "report_sweep.png")
    assert report.write_report(report.find_runs([tmp_path]), tmp_path).files == files
    assert {path.name for path in tmp_path.iterdir()} == {*files, "run0", "run1"}
    write_runs(tmp_path, [{**RUNS[0], "history": {}}])
    files = (*TEXTS, "report.png")
    assert report.write_report([tmp_path / "run0" / "results.json"], tmp_path).files == files
    assert {path.name for path in tmp_path.iterdir()} == {*files, "run0", "run1"}


def test_a_run_to_which_no_measure_applies_has_a_report_without_pictures(tmp_path):
    none = {**RUNS[0], "metrics": {"collapse_fraction": None}, "history": {}}
    (tmp_path / "results.json").write_text(json.dumps(none))
    (tmp_path / "report.png").write_bytes(b"of an earlier report")
    assert report.write_report([tmp_path / "results.json"], tmp_path).text.count("\n") > 3
    assert not (tmp_path / "report.png").exists()


def test_latex_is_printed_on_request_and_written_always(tmp_path, capsys, no_pictures):
    """It replaces that of an earlier report."""
    write_runs(tmp_path, RUNS[:1])
    (tmp_path / "report.tex").write_text("of an earlier report")
    for options, name in (([], "report.md"), (["--latex"], "report.tex")):
        with flagsaver.flagsaver(), pytest.raises(SystemExit) as ended:
            report.main(flags.FLAGS(["report", *options, f"--output={tmp_path}", str(tmp_path)]))
        assert ended.value.code == 0
        assert capsys.readouterr().out.strip() == (tmp_path / name).read_text("utf-8").strip()
        assert (tmp_path / "report.tex").read_text().splitlines()[1] == "% Runs: run0"


def test_two_reports_in_one_folder_take_turns(tmp_path):
    write_runs(tmp_path, RUNS[:1])
    paths = report.find_runs([tmp_path])
    writer = threading.Thread(target=report.write_report, args=(paths, tmp_path))
    with report._alone_in(tmp_path):
        writer.start()
        writer.join(0.5)
        assert writer.is_alive()
        assert not (tmp_path / "report.md").exists()
    writer.join()
    assert (tmp_path / "report.png").exists()


def test_published_figures_for_other_data_name_the_data_set(tmp_path):
    """Also a folder whose path is full of markup."""
    data = "folder:/a|b/`c`_$d$_<e>"
    runs = [finished_run("sampling", 0, 0.2, **{"data.name": data}), RUNS[0]]
    summary = report.summarize(runs)
    text = report.to_markdown(summary)
    row = next(line for line in text.splitlines() if line.startswith("| ``sampling"))
    assert "20.0% / 60.0% ± 15.7% (step 1000) ‡ |" in row
    assert re.sub(r"\\\|", "", row).count("|") == text.splitlines()[1].count("|")
    assert f"data.name ``{data}`` and mnist_5k (paper: mnist)" in text
    assert "‡ Published for other data: mnist." in text
    assert runs[0]["published"]["differences"]["data.name"] == [data, "mnist"]
    own, same = (method["measures"]["collapse_fraction"]["200"] for method in summary["methods"])
    assert own["published_data"] == "mnist"
    assert "published_data" not in same  # the embedded digits are MNIST's
    draw_report(summary["methods"], runs, tmp_path / "report.png")


def test_measures_that_some_seeds_lack_are_named():
    more = {**RUNS[1], "metrics": {**RUNS[1]["metrics"], "fid_gmm": 5.0}}
    earlier = {**RUNS[2], "history": {"200": RUNS[2]["metrics"]}}
    text = report.to_markdown(report.summarize([RUNS[0], more, earlier]))
    assert (
        "Measures that some runs of `sampling` lack are left out: collapse fraction, step 100"
        in text
    )
    assert (
        "(2 of 3), reconstruction error at sample, step 100 (2 of 3), FID GMM, step 200 (1 of 3)."
        in text
    )
    assert "fid" not in text.splitlines()[0]
    assert "Not all" not in report.to_markdown(report.summarize(RUNS))


def test_all_differences_from_the_config_files_setting_are_listed():
    changes = {"likelihood.variance": 0.1, "model.activation": "tanh", "train.log_every": 3}
    changes |= {
        "evaluations.reconstruction.num_samples": 7,
        "evaluations.iwae_bound.num_samples": 9,
    }
    text = report.to_markdown(report.summarize([finished_run("sampling", 0, 0.2, **changes)]))
    assert "likelihood.variance 0.1 (paper: 0.5)" in text
    assert "model.activation tanh (paper: relu)" in text
    assert "evaluations.reconstruction.num_samples 7 (paper: 1)" in text
    assert "iwae_bound" not in text  # it was not measured
    assert "log_every" not in text  # no figure depends on it


@pytest.mark.parametrize("count", [0, 4, 5])
def test_many_settings_that_differ_are_a_list_to_open(count):
    differences = {f"key{i}": ([i, i + 1], "x") for i in reversed(range(count))}
    paper = {**RUNS[0]["published"], "differences": differences, "methods": ["sampling"]}
    texts = settings_that_differ({"published": [paper]})
    settings = [f"key{i} {i} and {i + 1} (paper: x)" for i in range(count)]
    if count == 0:
        assert texts == []
    elif count == 4:
        assert texts == [f"These runs differ from the paper's: {', '.join(settings)}."]
    else:
        lines = "".join(f"- {setting}\n" for setting in settings)
        folded = f"<details markdown>\n<summary>Which</summary>\n\n{lines}\n</details>"
        assert texts == [f"These runs differ from the paper's in 5 settings.\n\n{folded}"]


@pytest.mark.parametrize("path", sorted(Path("configs").glob("*.py")), ids=lambda path: path.stem)
def test_the_published_figures_of_a_config_file_are_read_back(tmp_path, path):
    """Figures outside the table, such as the paper's single runs, are read as well."""
    config = load_config(path.stem).get_config()
    published = json.loads(json.dumps(with_differences(config)))
    (tmp_path / "results.json").write_text(json.dumps({**RUNS[0], "published": published}))
    assert report.read_run(tmp_path / "results.json")["published"] == published


def test_every_paper_is_named_beside_its_own_methods():
    config = load_config("mnist_bilbo").get_config("laptop")
    metrics = {"lower_bound": -140.0}
    other = {"config": plain(config), "step": 4000, "metrics": metrics}
    other["published"] = json.loads(json.dumps(with_differences(config)))
    text = report.to_markdown(report.summarize([RUNS[0], other]))
    assert "after the slash SFVAE, Table 4 (10 runs) beside `sampling`; BACK, Figure" in text
    assert "beside `bilbo`." in text
    assert "The runs of `sampling` differ from the paper's: data.name" in text
    assert "The runs of `bilbo` differ from the paper's: data.name mnist_5k (paper: mnist)" in text


def test_notes_are_kept_if_nothing_is_published():
    run = {**RUNS[0], "published": {}, "caveats": {"collapse_fraction": "it has not converged"}}
    assert "it has not converged" in report.to_markdown(report.summarize([run]))


def test_measures_near_one_have_enough_digits():
    assert number("prd_f8_gmm", 0.97654, None) == "0.977"
    assert number("variance_correlation_5", 0.8, 0.01) == "0.800 ± 0.010"
    assert number("fid_gmm", 8.69, None) == "8.7"
