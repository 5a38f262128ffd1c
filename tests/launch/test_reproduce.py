"""`python -m launch.reproduce`: missing runs are carried out, filed at once and resumed."""

import errno
import json
import math
import os
import signal
import time
from types import SimpleNamespace

import pytest
from helpers import checkpoint_steps
from tiny_ledger import filed, finish, own_table
from tiny_sweeps import ENVIRONMENT, write_config

from launch import reproduce
from launch.backends.base import Ended
from launch.backends.choice import backend_of
from launch.flags import parse_reproduce
from launch.ledger.entries import entries_of
from launch.ledger.records import path_of
from launch.ledger.table import Part, Table
from sfvae_jax.errors import UsageError
from sfvae_jax.runtime.lock import FolderLock

NAME = "own_config-laptop,seed={},objective.name=sampling"


class Backend:
    """Finishes one run per poll without training it, and stops as if its runs had saved."""

    def __init__(self, runs, entries, folder, before_poll):
        self.left, self.entries, self.folder = list(runs), entries, folder
        self.before_poll, self.is_over, self.calls = before_poll, False, []

    def poll(self):
        self.before_poll(self)
        if "stop" in self.calls or not self.left:
            self.is_over = True
            return [Ended(run, 143, "stopped") for run in self.left]
        run = self.left.pop(0)
        finish(self.entries[run.name], self.folder)
        return [Ended(run, 0)]

    def running(self):
        return self.left[:1]

    def stop(self):
        self.calls.append("stop")

    def kill(self):
        self.calls.append("kill")

    def close(self):
        pass


@pytest.fixture
def ledger(tmp_path, monkeypatch):
    """Runs the command on a table of the test; `given` lists the runs of each backend."""

    def use(*tables, before_poll=lambda backend: None):
        entries = {entry.path: entry for table in tables for entry in entries_of(table)}
        given = []

        def make(flags, runs, logs):
            given.append([run.name for run in runs])
            return Backend(runs, entries, tmp_path / "work", before_poll)

        monkeypatch.setattr("launch.backends.choice.backend_of", make)
        monkeypatch.setattr("launch.ledger.tables.TABLES", tables)
        return given

    return use


def run(tmp_path, *flags):
    folders = [f"--workdir={tmp_path / 'work'}", f"--records={tmp_path / 'records'}"]
    return reproduce.main([*flags, *folders])


def test_runs_are_filed_as_they_finish_and_never_run_again(ledger, tmp_path, capsys):
    table = own_table(tmp_path)
    paths = [path_of(entry, tmp_path / "records") for entry in entries_of(table)]
    seen = []
    given = ledger(table, before_poll=lambda _: seen.append([path.exists() for path in paths]))
    assert run(tmp_path, "own-table1") == 0
    assert given == [[f"own-table1/{NAME.format(seed)}" for seed in range(3)]]
    assert seen[:4] == [[i < number for i in range(3)] for number in range(4)]
    assert "3 of 3 runs have records, 0 failed" in capsys.readouterr().err
    before = [(path.read_bytes(), path.stat().st_mtime_ns) for path in paths]
    assert run(tmp_path, "own-table1") == 0
    assert given[1:] == []
    assert [(path.read_bytes(), path.stat().st_mtime_ns) for path in paths] == before
    # A record that was lost is written again from the workdir.
    paths[1].unlink()
    assert run(tmp_path, "own-table1") == 0
    assert given[1:] == []
    assert paths[1].read_bytes() == before[1][0]


def test_the_budget_stops_it_and_the_same_command_goes_on(ledger, tmp_path, capsys, monkeypatch):
    def spend(backend):
        if (tmp_path / "work" / "own-table1" / NAME.format(0)).exists():
            clock.monotonic = lambda: time.monotonic() + 120

    clock = SimpleNamespace(monotonic=time.monotonic, sleep=time.sleep)
    monkeypatch.setattr("launch.drive.time", clock)
    table = own_table(tmp_path)
    given = ledger(table, before_poll=spend)
    assert run(tmp_path, "own-table1", "--budget=1.5") == 3
    err = capsys.readouterr().err
    assert (
        "the budget is over; 2 of 3 runs have records, 0 failed; the same command continues" in err
    )
    assert len(list((tmp_path / "records" / "own-table1").iterdir())) == 2
    clock.monotonic = time.monotonic
    given = ledger(table)
    assert run(tmp_path, "own-table1", "--budget=1.5") == 0
    assert given == [[f"own-table1/{NAME.format(2)}"]]


def test_a_signal_stops_it(ledger, tmp_path, capsys):
    def interrupt(backend):
        if (tmp_path / "work" / "own-table1").exists():
            os.kill(os.getpid(), signal.SIGINT)
            backend.before_poll = lambda _: None

    ledger(own_table(tmp_path), before_poll=interrupt)
    assert run(tmp_path, "own-table1", "--budget=60") == 130
    assert "stopped; 2 of 3 runs have records" in capsys.readouterr().err


def test_a_stale_record_is_reported_and_run_again(ledger, tmp_path, capsys):
    """The workdir of the earlier run is kept beside the new one."""
    table = own_table(tmp_path)
    given = ledger(table)
    assert run(tmp_path, "own-table1") == 0
    capsys.readouterr()
    table = own_table(tmp_path, **{"train.learning_rate": 0.5})
    given = ledger(table)
    assert run(tmp_path, "own-table1") == 0
    assert len(given[0]) == 3
    err = capsys.readouterr().err
    told = "and 2 more: stale: train.learning_rate is 0.001 in the record and 0.5 in the table"
    assert f"records left out: own-table1/{NAME.format(0)} {told}" in err
    assert f"it is kept as {NAME.format(0)}.other1" in err
    for seed, entry in enumerate(entries_of(table)):
        settings = json.loads(path_of(entry, tmp_path / "records").read_text())["settings"]
        assert settings["train.learning_rate"] == 0.5
        aside = tmp_path / "work" / "own-table1" / (NAME.format(seed) + ".other1")
        assert json.loads((aside / "config.json").read_text())["train"]["learning_rate"] == 0.001


def test_measures_at_named_steps_by_other_options_are_taken_again(ledger, tmp_path):
    """This needs another training; options of evaluations that are not named change nothing."""
    option = "evaluations.reconstruction.num_samples"
    names = {"evaluations.names": ("kl_divergence", "reconstruction")}
    of = lambda value: own_table(tmp_path, **names, **{option: value})  # noqa: E731
    aside = lambda: sorted(tmp_path.glob("work/own-table1/*.other*"))  # noqa: E731
    ledger(of(1))
    assert run(tmp_path, "own-table1") == 0
    ledger(own_table(tmp_path, **names, **{option: 1, "evaluations.collapse.delta": 0.5}))
    assert run(tmp_path, "own-table1") == 0
    assert aside() == []
    given = ledger(of(2))
    assert run(tmp_path, "own-table1") == 0
    assert len(given[0]) == 3
    assert [path.name for path in aside()] == [NAME.format(seed) + ".other1" for seed in range(3)]


def test_lost_measures_at_named_steps_are_taken_again(ledger, tmp_path):
    table = own_table(tmp_path)
    first, *_ = entries_of(table)
    results = finish(first, tmp_path / "work").workdir / "results.json"
    content = json.loads(results.read_text())
    del content["history"]["5"]
    results.write_text(json.dumps(content))
    given = ledger(table)
    assert run(tmp_path, "own-table1") == 0
    assert len(given[0]) == 3
    record = json.loads(path_of(first, tmp_path / "records").read_text())
    assert record["history"].keys() == {"5", "12"}


def test_another_process_at_work_is_not_disturbed(ledger, tmp_path, monkeypatch):
    """Its workdir stays where it is, and its run is filed once it is finished there."""
    table = own_table(tmp_path)
    first = entries_of(table)[0]
    workdir = first.run(tmp_path / "work").workdir
    workdir.mkdir(parents=True)
    lock = FolderLock(workdir)

    def sleep(seconds):
        if seconds == 1.0 and lock.is_there():
            lock.release()
            workdir.rmdir()
            finish(first, tmp_path / "work")

    monkeypatch.setattr("launch.drive.time.sleep", sleep)
    given = ledger(table)
    assert run(tmp_path, "own-table1") == 0
    assert [len(names) for names in given] == [2]
    assert path_of(first, tmp_path / "records").exists()


def test_a_record_that_cannot_be_written_stops_the_runs(ledger, tmp_path, monkeypatch, capsys):
    def fail(path, content):
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    polled = []
    given = ledger(own_table(tmp_path), before_poll=polled.append)
    monkeypatch.setattr("launch.ledger.work.write_json", fail)
    assert run(tmp_path, "own-table1") == 1
    assert polled[0].calls == ["stop"]
    err = capsys.readouterr().err
    assert "error: cannot write the record " in err
    assert err.strip().endswith("and the same command files it")
    monkeypatch.undo()
    given = ledger(own_table(tmp_path))
    assert run(tmp_path, "own-table1") == 0
    assert len(given[0]) == 2


@pytest.mark.parametrize("name", ["records", "work"])
def test_folders_that_cannot_be_written_are_refused(ledger, tmp_path, capsys, name):
    (tmp_path / name).write_text("a file")
    given = ledger(own_table(tmp_path))
    assert run(tmp_path, "own-table1") == 2
    flag = {"records": "--records", "work": "--workdir"}[name]
    assert capsys.readouterr().err.strip().endswith(f"; change {flag}")
    assert given == []


def test_a_run_whose_provenance_cannot_be_read_fails_and_stops_no_other(ledger, tmp_path, capsys):
    first, *_ = entries_of(own_table(tmp_path))
    workdir = finish(first, tmp_path / "work").workdir
    (workdir / "provenance.jsonl").unlink()
    os.mkfifo(workdir / "provenance.jsonl")
    ledger(own_table(tmp_path))
    assert run(tmp_path, "own-table1") == 1
    err = capsys.readouterr().err
    assert f"failed: own-table1/{NAME.format(0)}: " in err
    assert "2 of 3 runs have records, 1 failed; the same command tries them again" in err


def test_all_tables_cheapest_first_without_impossible_runs(ledger, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "none"))
    config = write_config(tmp_path, [{"objective.name": "sampling"}, {"objective.name": "iwae"}])
    less = ("evaluations.names=('kl_divergence',)",)
    there = Table("own-table2", "Dear", (Part(config, overrides=less, hours=2.0),))
    cheap = Table("own-table3", "Cheap", (Part(config, overrides=less, hours=0.1),))
    absent = Table("own-table4", "None", (Part(config, (), ("data.name=omniglot",), hours=0.01),))
    given = ledger(there, cheap, absent, Table("own-figure1", "A drawing"))
    assert run(tmp_path, "--all") == 0
    assert [name.partition("/")[0] for name in given[0]] == ["own-table3"] * 2 + ["own-table2"] * 2
    err = capsys.readouterr().err
    assert err.count("skipped: own-table4/") == 1
    assert "and 1 more: TFDS set 'omniglot' is not prepared in" in err
    assert "4 of 6 runs have records, 0 failed, 2 cannot be carried out here" in err
    assert run(tmp_path, "own-table4") == 1
    assert run(tmp_path, "own-figure1") == 2
    assert run(tmp_path, "--plan") == 0
    assert "TFDS set 'omniglot'" in capsys.readouterr().out


def test_list_and_plan_carry_nothing_out(ledger, tmp_path, capsys):
    table = own_table(tmp_path)
    filed(entries_of(table)[0], tmp_path / "work", tmp_path / "records")
    given = ledger(table)
    assert run(tmp_path, "--list") == 0
    assert "1/3" in capsys.readouterr().out
    assert run(tmp_path, "--list", "own-table1") == 0
    out = capsys.readouterr().out
    assert [line.split()[0] for line in out.splitlines() if NAME[:10] in line][-3:] == [
        "filed",
        "missing",
        "missing",
    ]
    assert run(tmp_path, "--plan", "own-table1") == 0
    assert capsys.readouterr().out.count("own-table1/") == 2
    assert given == []


def test_a_filter_chooses_runs_by_their_settings(ledger, tmp_path, capsys):
    """Those of the sweep, those that the table changes, and the config file."""
    given = ledger(own_table(tmp_path, part=((), ("train.batch_size=8",))))
    assert run(tmp_path, "--plan", "own-table1", "--filter=seed=[12],train.batch_size=8") == 0
    assert capsys.readouterr().out.count("own-table1/") == 2
    assert run(tmp_path, "own-table1", "--filter=seed=1,config=*:laptop") == 0
    assert given == [[f"own-table1/{NAME.format(1)}"]]
    assert "1 of 1 runs have records" in capsys.readouterr().err
    assert run(tmp_path, "--all", "--filter=seed=7") == 2
    known = f"Known: config={tmp_path}/own_config.py:laptop; train.batch_size=8; seed=0 | 1 | 2"
    assert f"no run matches --filter=seed=7. {known}" in capsys.readouterr().err
    assert given[1:] == []


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "name a table, or give --all; --list shows the tables"),
        (["--list", "--filter=seed=1"], "--filter does not apply to --list; leave it out"),
        (["own-tabel1"], "unknown table 'own-tabel1'; did you mean 'own-table1'?"),
        (["own-table1", "--budget=0"], "must be a positive number of minutes, got '0'"),
        (["own-table1", "--budget=inf"], "must be a positive number of minutes, got 'inf'"),
        (["own-table1", "--budget=soon"], "must be a positive number of minutes, got 'soon'"),
        (["--list", "--plan"], "--list and --plan cannot be given together"),
        (["own-table1", "--all"], "--all applies to all tables; do not name one"),
        (["own-table1", "--config.seed=1"], "unrecognized arguments: --config.seed=1"),
        (["own-table1", "--num_gpus=1"], "--num_gpus only applies to --backend=ray"),
        (["own-table1", "--workdir="], "--workdir is empty"),
        (["own-table1", "--records=gs://bucket"], "is a URL"),
    ],
)
def test_wrong_flags_are_refused_in_one_line(ledger, tmp_path, capsys, flags, message):
    ledger(own_table(tmp_path))
    assert reproduce.main(flags) == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1


def test_the_flags_choose_the_backend(tmp_path, monkeypatch):
    """Ray receives the folder of the logs and the resources of one run."""
    made = []

    def ray(runs, logs, **options):
        made.append((runs, logs, options))

    monkeypatch.setattr("launch.backends.choice.RayBackend", ray)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    flags = parse_reproduce(["t", "--backend=ray", "--num_gpus=1", "--retries=5"], "")
    backend_of(flags, ["run"], tmp_path)
    resources = {"CPU": 1.0, "GPU": 1.0}
    options = {"address": "local", "resources": resources, "retries": 5}
    assert made == [(["run"], tmp_path, options)]
    assert parse_reproduce(["t"], "").budget is None
    with pytest.raises(UsageError, match="--jobs only applies to --backend=local"):
        parse_reproduce(["t", "--backend=ray", "--jobs=2"], "")


LONG = {"seed": 1, "train.steps": 1500, "train.checkpoint_every": 100}
OF_THE_TIME = ("date", "seconds", "processor_seconds", "pieces")


@pytest.fixture
def real_runs(monkeypatch):
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)


def content(path):
    record = json.loads(path.read_text())
    return {key: value for key, value in record.items() if key not in OF_THE_TIME}


@pytest.mark.slow
def test_real_runs_stopped_by_the_budget_have_the_records_of_undisturbed_ones(
    tmp_path, monkeypatch, real_runs
):
    less = {"evaluations.steps": (), "evaluations.names": ("reconstruction",)}
    config = write_config(tmp_path, [{"seed": 0}, LONG], **less)
    table = Table("own-table1", "Own", (Part(config),))
    monkeypatch.setattr("launch.ledger.tables.TABLES", (table,))
    short, long = entries_of(table)
    workdir = long.run(tmp_path / "work").workdir
    late = lambda: math.inf if checkpoint_steps(workdir) else 0.0  # noqa: E731
    with monkeypatch.context() as patch:
        clock = SimpleNamespace(monotonic=late, sleep=time.sleep)
        patch.setattr("launch.drive.time", clock)
        assert run(tmp_path, "own-table1", "--budget=10") == 3
    paths = [path_of(entry, tmp_path / "records") for entry in (short, long)]
    assert [path.exists() for path in paths] == [True, False]
    assert run(tmp_path, "own-table1") == 0
    pieces = json.loads(paths[1].read_text())["pieces"]
    assert [piece["work"] for piece in pieces] == ["train and evaluate"]

    undisturbed = tmp_path / "undisturbed"
    undisturbed.mkdir()
    assert run(undisturbed, "own-table1", "--jobs=2") == 0
    for entry, path in zip((short, long), paths, strict=True):
        other = path_of(entry, undisturbed / "records")
        assert content(other) == content(path)
        assert json.loads(other.read_text())["processor_seconds"] > 0


@pytest.mark.slow
def test_real_runs_on_ray(tmp_path, monkeypatch, real_runs):
    pytest.importorskip("ray", reason="needs Ray: pip install 'sfvae_jax[sweep]'")
    table = own_table(tmp_path, [{"seed": 0, "objective.name": "sampling"}])
    monkeypatch.setattr("launch.ledger.tables.TABLES", (table,))
    assert run(tmp_path, "own-table1", "--backend=ray") == 0
    for entry in entries_of(table):
        record = json.loads(path_of(entry, tmp_path / "records").read_text())
        assert record["pieces"][0]["machine"]["cores"] >= 1
        assert (tmp_path / "work" / "logs" / f"{entry.path}.log").exists()
