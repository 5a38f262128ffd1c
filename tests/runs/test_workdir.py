"""The files of a run are complete and its own, and nothing of another run is lost."""

import contextlib
import json
import time

import pytest
from helpers import largest_file

from sfvae_jax.config import base_config
from sfvae_jax.errors import RunError, UsageError
from sfvae_jax.runs.files import results_file
from sfvae_jax.runs.workdir import Workdir
from sfvae_jax.runtime import processes
from sfvae_jax.training.step import is_recorded


def test_a_run_from_before_a_key_was_there_had_its_default(tiny_config, tmp_path):
    files, config = Workdir(tmp_path), tiny_config()
    files.claim(config)
    stored = json.loads(files.config.read_text())
    del stored["train"]["decoder_from"]
    files.config.write_text(json.dumps(stored))
    files.check(config, base_config())
    with pytest.raises(
        UsageError, match="train.decoder_from is '' in that run and 'runs/a' in this one"
    ):
        files.check(tiny_config(**{"train.decoder_from": "runs/a"}), base_config())


def test_a_run_goes_on_whose_objective_never_read_its_probes(tiny_config, tmp_path):
    """They could be set once, and are refused today; where they are read they still count."""
    files, reads = Workdir(tmp_path / "sampling"), Workdir(tmp_path / "rae_gp")
    for workdir, name in ((files, "sampling"), (reads, "rae_gp")):
        workdir.claim(tiny_config(**{"objective.name": name}))
        stored = json.loads(workdir.config.read_text())
        stored["objective"]["num_probes"] = 1
        workdir.config.write_text(json.dumps(stored))
    files.check(tiny_config(**{"objective.name": "sampling"}), base_config())
    with pytest.raises(UsageError, match="objective.num_probes is 1 in that run and 0 in this one"):
        reads.check(tiny_config(**{"objective.name": "rae_gp"}), base_config())


def test_the_same_config_again_is_welcome(tmp_path, tiny_config):
    files = Workdir(tmp_path / "run")
    files.check(tiny_config())
    assert not files.folder.exists()  # checking writes nothing
    files.claim(tiny_config())
    files.check(tiny_config())
    content = json.loads(files.config.read_text())
    assert content["model"]["hidden_sizes"] == [8]
    assert "published" not in content


def test_another_config_is_refused_and_the_difference_shown(tmp_path, tiny_config):
    files = Workdir(tmp_path)
    files.claim(tiny_config())
    before = files.config.read_bytes()
    with pytest.raises(UsageError) as caught:
        files.check(tiny_config(**{"train.steps": 99, "seed": 5}))
    message = str(caught.value)
    assert "seed is 0 in that run and 5 in this one" in message
    assert "train.steps is 12 in that run and 99 in this one" in message
    assert "objective" not in message
    assert "\n" not in message
    assert files.config.read_bytes() == before


def test_what_is_measured_may_change_but_not_when(tmp_path, tiny_config):
    """The steps of evaluations cut training into calls; the rest comes after it."""
    files = Workdir(tmp_path)
    files.claim(tiny_config())
    changes = {"evaluations.names": ("iwae_bound",), "evaluations.iwae_bound.num_samples": 7}
    files.check(tiny_config(**changes))
    files.check(tiny_config(**{"train.compilation_cache": False}))
    with pytest.raises(UsageError, match="evaluations.steps is"):
        files.check(tiny_config(**{"evaluations.steps": (3,)}))


def test_a_path_is_resolved_once_and_shown_as_it_was_given(tmp_path, tiny_config, monkeypatch):
    (tmp_path / "a").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "a")
    monkeypatch.chdir(tmp_path)
    for given in ("a/../a/run", "link/run", tmp_path / "a" / ".." / "a" / "run"):
        files = Workdir(given)
        assert files.checkpoints == tmp_path / "a" / "run" / "checkpoints"
        assert files.name == "a/run"
    with pytest.raises(UsageError, match="train.decoder_from=gs://b/run is a URL"):
        Workdir("gs://b/run", "train.decoder_from")


@pytest.mark.parametrize("name", ["hid=[16]", "a*", "a?", "a\\b", "a\nb", "\udcff"])
def test_a_run_does_not_begin_where_checkpoints_are_not_found_again(tmp_path, tiny_config, name):
    files = Workdir(tmp_path / name / "run")
    with pytest.raises(UsageError, match=r"--workdir=.* contains .*Expected a path") as caught:
        files.check(tiny_config())
    assert "\n" not in str(caught.value)
    files.claim(tiny_config())  # as an earlier version did
    files.check(tiny_config())


def test_folders_that_cannot_be_written(tmp_path, tiny_config):
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(UsageError, match="cannot write to workdir"):
            Workdir(path).check(tiny_config())


def test_a_run_does_not_train_where_it_could_save_nothing(tmp_path, tiny_config):
    files = Workdir(tmp_path)
    files.claim(tiny_config())
    files.checkpoints.write_text("")
    files.check(tiny_config())  # it can be evaluated
    with pytest.raises(UsageError, match="cannot write to workdir .*/checkpoints is a file"):
        files.claim(tiny_config())


def test_somebody_elses_files_are_left_alone(tmp_path, tiny_config):
    (tmp_path / "checkpoints").mkdir()
    with pytest.raises(UsageError, match=r"holds checkpoints but no config\.json"):
        Workdir(tmp_path).check(tiny_config())


def test_a_broken_config_json_is_told(tmp_path, tiny_config):
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(UsageError, match=r"cannot read .*config\.json"):
        Workdir(tmp_path).check(tiny_config())


def test_metrics_are_cut_back_to_the_checkpoint(tmp_path):
    files = Workdir(tmp_path)
    assert files.read_metrics() == []
    files.append_metrics({"step": step, "loss": 0.1 * step} for step in (1, 2, 3, 4))
    with files.metrics.open("a") as file:
        file.write('{"step": 5, "lo')  # killed while it wrote
    files.cut_metrics(3)
    files.append_metrics([{"step": 4, "loss": 0.4}])
    assert [record["step"] for record in files.read_metrics()] == [1, 2, 3, 4]
    assert all(json.loads(line) for line in files.metrics.read_text().splitlines())


@pytest.mark.parametrize("content", [b"[]", b"null", b"\xff\xfe"])
def test_a_config_json_that_is_none_is_told(tmp_path, tiny_config, content):
    (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(UsageError, match=r"cannot read .*config\.json"):
        Workdir(tmp_path).check(tiny_config())


def test_a_name_that_is_too_long(tmp_path, tiny_config):
    with pytest.raises(UsageError, match="cannot write to workdir"):
        Workdir(tmp_path / ("x" * 300)).check(tiny_config())


def test_old_results_never_speak_for_a_new_run(tmp_path, tiny_config):
    files = Workdir(tmp_path)
    files.write_results(tiny_config(seed=1), metrics={"kl": 1.0})
    with pytest.raises(UsageError, match=r"holds results\.json but no config\.json"):
        files.check(tiny_config())
    files.write_results(tiny_config(seed=2), metrics={"kl": 2.0})
    assert files.read_results()["config"]["seed"] == 2


def test_results_keep_what_is_not_replaced(tmp_path, tiny_config):
    files = Workdir(tmp_path)
    assert files.read_results() == {}
    files.write_results(tiny_config(), history={"5": {"kl": 1.0}})
    files.write_results(tiny_config(), step=12, metrics={"kl": 2.0})
    results = json.loads(files.results.read_text())
    assert results["history"] == {"5": {"kl": 1.0}}
    assert results["metrics"] == {"kl": 2.0}
    assert results["published"]["source"] == "SFVAE, Table 4"
    assert [path.name for path in tmp_path.iterdir()] == ["results.json"]


def test_of_damaged_results_what_can_be_read_is_kept(tmp_path, tiny_config, caplog):
    files, config = Workdir(tmp_path), tiny_config()
    files.claim(config)
    content = {
        "config": {},
        "published": [],
        "step": "12",
        "metrics": {"kl": 1.0, "collapse": None},
        "caveats": {"kl": 3},
        "history": {"5": {"kl": 2.0}, "x": {}, "8": {"kl": "2"}, "9": []},
        "history_caveats": 7,
        "of a later version": [1],
    }
    damaged = json.dumps(content)
    files.results.write_text(damaged)
    found = files.read_results()
    assert found == {
        "config": {},
        "metrics": {"kl": 1.0, "collapse": None},
        "history": {"5": {"kl": 2.0}},
        "of a later version": [1],
    }
    files.claim(config)
    assert "results.json is damaged: 'published' must be" in caplog.text
    assert "'history' at step '8' must be measures, each a number or null;" in caplog.text
    assert (tmp_path / "results.json.damaged").read_text() == damaged
    assert results_file.readable(json.loads(files.results.read_text())) == (found, [])

    caplog.clear()
    files.results.write_text('{"step": NaN')
    assert files.read_results() == {}
    files.claim(config)
    assert "it holds NaN, which is not a finite number; what can be read" in caplog.text
    assert files.read_results() == {}
    caplog.clear()
    files.claim(config)
    assert caplog.text == ""


def test_lost_records_are_told(tmp_path, tiny_config, caplog):
    """Returns records of steps 1, 2, 4, 6 and 8, as `train.log_every` asks for them."""
    files, train = Workdir(tmp_path), tiny_config().train

    def cut(step):
        caplog.clear()
        files.cut_metrics(step, lambda steps: is_recorded(steps, train))
        return caplog.text

    files.append_metrics({"step": step, "loss": 1.0} for step in (1, 2, 4, 6, 8))
    assert cut(8) == ""
    files.append_metrics([{"step": 4, "loss": 2.0}])  # of two processes at a time
    assert cut(7) == ""
    assert files.read_metrics()[2:] == [{"step": 4, "loss": 2.0}, {"step": 6, "loss": 1.0}]
    lines = files.metrics.read_text().splitlines()
    damaged = "\n".join([lines[0], "{" + lines[1], *lines[2:], '{"step": 7, "lo'])
    files.metrics.write_text(damaged)
    said = cut(6)
    assert "metrics.jsonl has 1 damaged lines" in said
    assert "metrics.jsonl lacks 1 records up to step 6, the first at step 2" in said
    assert (tmp_path / "metrics.jsonl.damaged").read_text() == damaged
    files.metrics.unlink()
    assert "metrics.jsonl lacks 4 records up to step 6, the first at step 1" in cut(6)


def test_figures_are_those_of_one_checkpoint(tmp_path, tiny_config):
    files = Workdir(tmp_path)
    files.set_figures_aside()  # there is none
    files.write_results(tiny_config(), step=12, metrics={"kl": 1.0})
    with files.drawing() as folder:
        (folder / "a.png").write_text("of step 12")
    with contextlib.suppress(ZeroDivisionError), files.drawing() as folder:
        (folder / "b.png").write_text("of step 12")
        _ = 1 / 0  # what was drawn before an error stays
    assert {path.name for path in files.figures.iterdir()} == {"a.png", "b.png"}
    files.cut_results(8)
    assert [path.name for path in files.figures.iterdir()] == ["step_12"]
    assert (files.figures / "step_12" / "a.png").read_text() == "of step 12"


def test_the_config_in_results_is_that_of_the_final_measures(tmp_path, tiny_config):
    files = Workdir(tmp_path)
    first, then = tiny_config(), tiny_config(**{"evaluations.names": ("iwae_bound",)})
    files.write_results(first, history={})
    files.write_results(first, step=12, metrics={"kl": 1.0})
    files.write_results(then, history={"12": {"iwae_bound": 1.0}})
    names = files.read_results()["config"]["evaluations"]["names"]
    assert names == list(first.evaluations.names)


def test_a_short_line_harms_no_later_one(tmp_path):
    files = Workdir(tmp_path)
    files.append_metrics([{"step": 1}])
    with files.metrics.open("a") as file:
        file.write('{"step": 2, "lo')  # the disk was full
    files.append_metrics([{"step": 3}])
    assert files.metrics.read_text() == '{"step": 1}\n{"step": 3}\n'
    files.metrics.write_text('{"ste')
    files.append_metrics([{"step": 4}])
    assert files.metrics.read_text() == '{"step": 4}\n'


def test_damaged_lines_are_left_out_and_no_others(tmp_path):
    files = Workdir(tmp_path)
    files.metrics.write_bytes(b'{"step": 1}\n{"st\xff\n[2]\nnull\n{"step": "x"}\n{}\n{"step": 3}\n')
    assert [record["step"] for record in files.read_metrics()] == [1, 3]
    files.cut_metrics(3)
    assert files.metrics.read_text() == '{"step": 1}\n{"step": 3}\n'


def test_results_are_cut_back_to_the_checkpoint(tmp_path, tiny_config):
    files = Workdir(tmp_path)
    files.cut_results(3)
    assert not files.results.exists()
    history = {"4": {"kl": 1.0}, "12": {"kl": 2.0}}
    files.write_results(tiny_config(), history=history, history_caveats={"4": {}, "12": {}})
    final = {"metrics": {"kl": 2.0}, "caveats": {}, "not_applicable": {}, "prior_stddev": [1.0]}
    files.write_results(tiny_config(), step=12, **final)
    before = files.results.read_bytes()
    files.cut_results(12)
    assert files.results.read_bytes() == before
    files.cut_results(11)
    found = files.read_results()
    assert found.keys() == {"config", "published", "history", "history_caveats"}
    assert found["history"] == {"4": {"kl": 1.0}}
    assert found["history_caveats"] == {"4": {}}

    # Measures of a step that stays do so, those of no known step do not.
    files.write_results(tiny_config(), step=4, metrics={"kl": 1.0})
    files.cut_results(8)
    assert files.read_results()["metrics"] == {"kl": 1.0}
    files.write_results(tiny_config())
    content = files.read_results()
    del content["step"]
    files.results.write_text(json.dumps(content))
    files.cut_results(8)
    assert "metrics" not in files.read_results()


def test_what_a_killed_process_left_half_written_goes(tmp_path, tiny_config):
    files = Workdir(tmp_path)
    for name in ("config.json", "results.json", "metrics.jsonl", "provenance.jsonl"):
        (tmp_path / f".{name}.partial").write_text('{"ha')
    files.check(tiny_config())
    files.claim(tiny_config())
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]


def test_a_partial_file_that_is_a_link_is_not_followed(tmp_path, tiny_config):
    (tmp_path / "precious").write_text("content")
    files = Workdir(tmp_path / "run")
    files.claim(tiny_config())
    (files.folder / ".results.json.partial").symlink_to(tmp_path / "precious")
    files.write_results(tiny_config(), step=1)
    assert files.read_results()["step"] == 1
    assert (tmp_path / "precious").read_text() == "content"


def test_a_run_that_came_first_is_seen_under_the_lock(tmp_path, tiny_config):
    """Both found the folder empty, but one took longer to read its images."""
    second, first = tiny_config(**{"seed": 1}), tiny_config()
    Workdir(tmp_path).check(second)
    with Workdir(tmp_path).claimed(first):
        pass
    with pytest.raises(UsageError, match="seed is 0 in that run and 1 in this one"):
        Workdir(tmp_path).claimed(second).__enter__()
    assert json.loads((tmp_path / "config.json").read_text())["seed"] == 0
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]


def test_a_folder_that_the_processes_do_not_share_is_refused(tmp_path, monkeypatch):
    """This process is not the main one, and looks for the main one's lock."""
    monkeypatch.setattr(processes, "is_main", lambda: False)
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    elsewhere, refused = Workdir(tmp_path / "elsewhere"), "is not the folder that process 0"
    with pytest.raises(UsageError, match=refused), elsewhere.locked():
        pass
    (tmp_path / ".lock").write_text('{"token": 7}')
    with pytest.raises(UsageError, match=refused), Workdir(tmp_path).locked():
        pass  # that of a run of before
    (tmp_path / ".lock").write_text('{"token": 0}')  # what this process is told
    with Workdir(tmp_path).locked():
        pass
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]


@pytest.mark.parametrize(
    ("evidence", "message"),
    [
        (lambda files: (files.checkpoints / "8.damaged").mkdir(), r"\(\*.damaged\) were set aside"),
        (lambda files: files.results.write_text('{"step": 8}'), "results.json .* of step 8"),
        (lambda files: files.results.write_text('{"history": {"5": {}}}'), "results.* of step 5"),
        (lambda files: files.metrics.write_text('{"step": 9}\n'), "metrics.jsonl reaches step 9"),
    ],
)
def test_lost_checkpoints_are_no_new_beginning(tmp_path, tiny_config, evidence, message):
    """A checkpoint is due at step 4 and at step 8, of which the first is whole by then."""
    files, every = Workdir(tmp_path), tiny_config().train.checkpoint_every
    files.claim(tiny_config())
    files.checkpoints.mkdir()
    files.metrics.write_text('{"step": 8}\n')
    files.results.write_text('{"config": {}, "history": {}}')
    files.check_checkpoints(every)  # it may have been killed while it wrote its first checkpoint
    evidence(files)
    with pytest.raises(RunError, match=f"checkpoints of .* are lost: .*{message}") as caught:
        files.check_checkpoints(every)
    assert "\n" not in str(caught.value)
    (files.checkpoints / "4").mkdir()
    files.check_checkpoints(every)


def test_a_write_that_fails_is_told_and_harms_nothing(tmp_path, tiny_config):
    files = Workdir(tmp_path)
    files.write_results(tiny_config(), step=4)
    files.append_metrics([{"step": 4}])
    results, metrics = files.results.read_bytes(), files.metrics.read_bytes()
    with largest_file(2000):
        with pytest.raises(RunError, match=r"^cannot write .*results\.json: File too large$"):
            files.write_results(tiny_config(), metrics={"x" * 4000: 1.0})
        with pytest.raises(RunError, match=r"^cannot write .*metrics\.jsonl: File too large$"):
            files.append_metrics([{"step": 5, "name": "x" * 4000}])
    assert files.results.read_bytes() == results
    assert [record["step"] for record in files.read_metrics()] == [4]
    files.append_metrics([{"step": 5}])
    assert files.metrics.read_bytes() == metrics + b'{"step": 5}\n'
    assert {path.name for path in tmp_path.iterdir()} == {"results.json", "metrics.jsonl"}
