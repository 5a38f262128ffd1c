"""Damage to a run's files: no finished step is lost, and no file holds wrong results."""

import collections
import itertools
import json
import shutil
import subprocess
from pathlib import Path

import jax
import numpy as np
import pytest

from sfvae_jax import evaluate
from sfvae_jax.config import resolve
from sfvae_jax.errors import RunError, UsageError
from sfvae_jax.runs.files import provenance
from sfvae_jax.runs.workdir import Workdir
from sfvae_jax.train import train

TRAINED = {
    "config.json",
    "example.json",
    "metrics.jsonl",
    "results.json",
    "provenance.jsonl",
    "checkpoints",
}


@pytest.fixture(scope="module")
def config(tiny_config):
    changes = {"objective.name": "sampling", "evaluations.names": ("kl_divergence",)}
    return tiny_config(**changes)


@pytest.fixture(scope="module")
def finished(tmp_path_factory, config):
    """An undisturbed run, with its checkpoints of steps 4, 8 and 12."""
    workdir = tmp_path_factory.mktemp("finished") / "run"
    train(config, workdir)
    return workdir


@pytest.fixture
def run(finished, tmp_path):
    return shutil.copytree(finished, tmp_path / "run")


def _largest(folder):
    return max(folder.rglob("*"), key=lambda path: path.stat().st_size)


def _damage(workdir, step):
    path = _largest(workdir / "checkpoints" / str(step))
    path.write_bytes(path.read_bytes()[:100])


def _names(folder):
    return {path.name for path in folder.iterdir()}


def _results(workdir):
    return json.loads((workdir / "results.json").read_text())


def _pieces(workdir):
    """Returns the processes of a run, and the steps from which they resumed."""
    found = provenance.read(Workdir(workdir).provenance)
    return [(piece["work"], piece["from_step"]) for piece in found]


def _content(workdir):
    return {path: path.read_bytes() for path in workdir.rglob("*") if path.is_file()}


def _assert_same(config, workdir, finished):
    """Parameters and optimiser, metrics and measures, to the bit."""
    config = resolve(config)
    states = [evaluate.restore(config, Workdir(w), (28, 28, 1))[1] for w in (workdir, finished)]
    assert int(states[0].step) == 12
    jax.tree.map(np.testing.assert_array_equal, *states)
    records = [Workdir(folder).read_metrics() for folder in (workdir, finished)]
    for record in itertools.chain(*records):
        del record["steps_per_second"]
    assert records[0] == records[1]
    assert _results(workdir)["history"] == _results(finished)["history"]


def test_a_damaged_checkpoint_costs_no_more_than_its_steps(run, finished, config, caplog):
    measured = _results(run)["history"]["12"]
    Workdir(run).write_results(resolve(config), step=12, metrics=measured)
    _damage(run, 12)
    train(config, run)
    assert "checkpoint 12 is damaged: " in caplog.text
    assert "using checkpoint 8" in caplog.text
    assert "12.damaged" in _names(run / "checkpoints")
    assert _names(run) == TRAINED
    assert "metrics" not in _results(run)  # of a step 12 that was not there any more
    assert _pieces(run) == [("train", 0), ("train", 8)]
    _assert_same(config, run, finished)


def test_what_was_lost_is_told_and_measured_again(run, finished, config, caplog):
    """The checkpoint of step 5 is there, that of step 12 as well."""
    (run / "results.json").write_text("{")
    (run / "metrics.jsonl").unlink()
    train(config, run)
    assert "results.json is damaged: " in caplog.text
    assert "results.json lacks the measures of step 5; they are taken again" in caplog.text
    assert "metrics.jsonl lacks 7 records up to step 12, the first at step 1" in caplog.text
    assert _results(run) == _results(finished)
    assert _names(run) == TRAINED | {"results.json.damaged"}

    caplog.clear()
    shutil.rmtree(run / "checkpoints" / "5")
    (run / "results.json").unlink()
    train(config, run)
    assert "lacks measures of step 5, whose checkpoint is no longer there" in caplog.text
    assert set(_results(run)["history"]) == {"12"}


def test_measures_of_a_checkpoint_add_up(run, tiny_config, monkeypatch):
    """The measures of another checkpoint replace them."""

    def draw(config, files, trained):
        with files.drawing() as folder:
            (folder / "a.png").write_text("")

    monkeypatch.setattr(evaluate, "draw", draw)

    def measured(*names, **changes):
        changes = {key.replace("__", "."): value for key, value in changes.items()}
        names = {"evaluations.names": names, "objective.name": "sampling"}
        metrics = evaluate.evaluate(tiny_config(**names | changes), run)
        assert metrics == _results(run)["metrics"]
        return set(metrics), set(_results(run)["config"]["evaluations"]["names"])

    kl, collapse = "kl_divergence", "collapse_fraction"
    assert measured("kl_divergence") == ({kl}, {"kl_divergence"})
    both = measured("collapse", evaluations__collapse__epsilon=50.0)
    assert both == ({kl, collapse}, {"kl_divergence", "collapse"})
    assert _results(run)["metrics"][collapse] == 1.0
    assert measured("collapse")[0] == {kl, collapse}
    assert _results(run)["metrics"][collapse] < 1.0
    assert _names(run / "figures") == {"a.png"}

    _damage(run, 12)
    assert measured("kl_divergence")[0] == {kl}
    assert _results(run)["step"] == 8
    assert _names(run / "figures") == {"a.png", "step_12"}


def test_evaluation_takes_the_one_before_and_sets_nothing_aside(run, config, caplog):
    _damage(run, 12)
    (run / "metrics.jsonl").unlink()
    checkpoints = run / "checkpoints"
    before = _content(checkpoints)
    evaluate.evaluate(config, run)
    assert "metrics.jsonl holds no records, so that training.png is not drawn" in caplog.text
    assert "latent_kl.png" in _names(run / "figures")
    assert "training.png" not in _names(run / "figures")
    assert "checkpoint 12 is damaged: " in caplog.text
    assert _results(run)["step"] == 8
    assert _pieces(run) == [("train", 0), ("evaluate", 8)]
    assert set(_results(run)["history"]) == {"5"}  # step 12 has no checkpoint any more
    assert _content(checkpoints) == before


def test_with_none_whole_the_run_is_refused_and_left_as_it_is(run, config):
    for path in (run / "checkpoints").iterdir():
        _damage(run, path.name)
    before = _content(run)
    for call in (train, evaluate.evaluate):
        with pytest.raises(
            RunError, match="holds no complete checkpoint .*checkpoint 5: "
        ) as caught:
            call(config, run)
        assert str(run) in str(caught.value)
        assert _content(run) == before
    assert _names(run) == TRAINED


def test_checkpoints_that_are_gone_are_no_new_beginning(run, config):
    for path in (run / "checkpoints").iterdir():
        shutil.rmtree(path)
    before = _content(run)
    with pytest.raises(RunError, match="lost: there is none, but results.json holds measures of"):
        train(config, run)
    shutil.rmtree(run / "checkpoints")
    (run / "results.json").unlink()
    with pytest.raises(RunError, match="lost: there is none, but metrics.jsonl reaches step 12"):
        train(config, run)
    before.pop(run / "results.json")
    assert _content(run) == before


def test_killed_before_its_first_checkpoint_a_run_begins_again(run, finished, config):
    """A killed process may leave lines of metrics, half a checkpoint, half files and its lock."""
    files = Workdir(run)
    metrics = files.metrics.read_text().splitlines()
    files.metrics.write_text("\n".join([*metrics[:3], '{"step": 5, "lo']))
    files.results.unlink()
    shutil.rmtree(files.checkpoints / "8")
    shutil.rmtree(files.checkpoints / "12")
    (files.checkpoints / "5").rename(files.checkpoints / "5.orbax-checkpoint-tmp")
    (run / ".metrics.jsonl.partial").write_text('{"st')
    (run / ".lock").write_text("")
    train(config, run)
    assert _names(run) == TRAINED
    _assert_same(config, run, finished)


_LIMITED = """
import resource, runpy, sys
hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv.pop(1)), hard))
runpy.run_module("sfvae_jax.main", run_name="__main__")
"""


@pytest.mark.slow
def test_a_full_disk_stops_the_command_in_one_line(run_main, run):
    """The limit on the size of files leaves no room for the arrays of a checkpoint."""
    for step in (12, 8):
        shutil.rmtree(run / "checkpoints" / str(step))
    (run / "results.json").unlink()

    def start(command, **options):
        module = command.index("-m")
        limited = [*command[:module], "-c", _LIMITED, "15000", *command[module + 2 :]]
        return subprocess.run(limited, **options)

    changes = {"objective.name": "sampling", "evaluations.names": ("kl_divergence",)}
    done = run_main(run, "--mode=train", changes=changes, start=start)
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("sfvae_jax: error: cannot write checkpoint")
    assert last.endswith(": File too large; checkpoint 5 is kept")
    assert not list((run / "checkpoints").glob("*tmp*"))
    assert not (run / ".lock").exists()


def _cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


DAMAGES = {"cut": _cut, "emptied": lambda path: path.write_bytes(b""), "deleted": Path.unlink}


def _refusal(config, run):
    """Returns the error with which training refuses to resume; None if it resumes."""
    try:
        train(config, run)
    except (RunError, UsageError) as error:
        return str(error)
    return None


@pytest.mark.slow
@pytest.mark.parametrize("how", DAMAGES)
def test_each_file_of_a_run_damaged(finished, tmp_path, config, how):
    """Training resumes to the same bits, or is refused in one line and changes nothing."""
    names = [path.relative_to(finished) for path in finished.rglob("*") if path.is_file()]
    assert len(names) > 20
    outcomes = collections.Counter()
    for name in sorted(names):
        run = shutil.copytree(finished, tmp_path / "run")
        DAMAGES[how](run / name)
        before = _content(run)
        refusal = _refusal(config, run)
        if name.name == "metrics.jsonl":  # its steps are not taken again
            found, whole = (Workdir(folder).read_metrics() for folder in (run, finished))
            assert all(record in whole for record in found)
            shutil.copy(finished / name, run / name)
        if refusal is None:
            _assert_same(config, run, finished)
        else:
            assert "\n" not in refusal
            assert _content(run) == before, name
        outcomes["the same bits" if refusal is None else "refused"] += 1
        shutil.rmtree(run)
    print(how, dict(outcomes))
    assert outcomes["the same bits"] > outcomes["refused"]
