"""How a sweep carries out its runs: signals, a deadline, other processes, damaged workdirs."""

import os
import signal
import time

import pytest
from tiny_sweeps import write_config

from launch.backends.base import Ended
from launch.drive import _SECONDS_BETWEEN_LOOKS, Interrupts, Outcome, carry_out, find_ended
from launch.progress import SweepProgress
from launch.runs import expand
from sfvae_jax.errors import RunError, UsageError
from sfvae_jax.runs.files.config_file import plain
from sfvae_jax.runtime.files import write_json
from sfvae_jax.runtime.lock import FolderLock


class FakeBackend:
    """Interrupts the sweep at the first poll; its only run ends when it is stopped or killed."""

    def __init__(self, runs, *, signals=(), ends_after="kill", status=-9):
        self.run, self.signals, self.calls = runs[0], list(signals), []
        self.ends_after, self.status = ends_after, status

    def poll(self):
        if self.ends_after in self.calls:
            self.calls.append("ended")
            return [Ended(self.run, self.status, "an error" if self.status else "")]
        while self.signals:
            os.kill(os.getpid(), self.signals.pop(0))
        return []

    def running(self):
        return [self.run]

    def stop(self):
        self.calls.append("stop")

    def kill(self):
        self.calls.append("kill")

    def close(self):
        self.calls.append("close")

    @property
    def is_over(self):
        return "ended" in self.calls


@pytest.fixture
def runs(tmp_path):
    return expand(write_config(tmp_path, [{"seed": 0}]), tmp_path / "sweep")


@pytest.fixture
def hangups_arrive():
    """The default action for SIGHUP, even if nohup started the tests."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.usefixtures("hangups_arrive")
@pytest.mark.parametrize("first", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_stops_the_runs_and_a_second_kills_them(runs, first):
    backend, outcome = FakeBackend(runs, signals=[first, signal.SIGINT]), Outcome()
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)]
    carry_out(runs, outcome, lambda to_do: backend)
    assert backend.calls == ["stop", "kill", "ended", "close"]
    assert outcome == Outcome(interrupted_by=first)
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)] == before


def test_a_deadline_stops_the_runs_as_a_signal_does(runs):
    backend, outcome = FakeBackend(runs, ends_after="stop", status=143), Outcome()
    carry_out(runs, outcome, lambda to_do: backend, deadline=time.monotonic() + 0.3)
    assert backend.calls == ["stop", "ended", "close"]
    assert outcome == Outcome(is_late=True)
    backend = FakeBackend(runs, ends_after="stop")
    carry_out(runs, Outcome(), lambda to_do: backend, deadline=time.monotonic())
    assert backend.calls == []  # nothing is started that would be stopped at once


def test_a_signal_and_a_deadline_together_do_not_kill():
    with Interrupts(deadline=0.0) as interrupts:
        assert (interrupts.count, interrupts.first) == (1, None)
        os.kill(os.getpid(), signal.SIGTERM)
        assert (interrupts.count, interrupts.first) == (1, signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGINT)
        assert (interrupts.count, interrupts.first) == (2, signal.SIGTERM)


def test_a_signal_while_the_backend_is_made_stops_the_runs(runs):
    backend, outcome = FakeBackend(runs, ends_after="stop", status=143), Outcome()

    def make(to_do):
        os.kill(os.getpid(), signal.SIGTERM)
        return backend

    carry_out(runs, outcome, make)
    assert backend.calls == ["stop", "ended", "close"]
    assert outcome == Outcome(interrupted_by=signal.SIGTERM)


def test_a_hangup_that_is_ignored_stays_so(monkeypatch):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Interrupts() as interrupts:
            os.kill(os.getpid(), signal.SIGHUP)
        assert interrupts.count == 0
    finally:
        signal.signal(signal.SIGHUP, before)


def test_an_error_of_the_sweep_lets_the_runs_save(runs, monkeypatch):
    def fail(*unused):
        raise OSError("no terminal")

    monkeypatch.setattr("launch.drive.SweepProgress.update", fail)
    backend = FakeBackend(runs, ends_after="stop", status=143)
    with pytest.raises(OSError, match="no terminal"):
        carry_out(runs, Outcome(), lambda to_do: backend)
    assert backend.calls == ["stop", "ended", "close"]


@pytest.mark.parametrize("error", [OSError("stale file handle"), RunError("stale file handle")])
def test_a_workdir_that_cannot_be_read_is_listed(runs, monkeypatch, error):
    def fail(run):
        raise error

    monkeypatch.setattr("launch.drive.is_finished", fail)
    listed = Outcome(failed={"seed=0": "stale file handle"})
    assert find_ended(runs) == listed
    outcome, backend = (
        Outcome(),
        FakeBackend(runs, signals=[signal.SIGTERM], ends_after="stop", status=0),
    )
    carry_out(runs, outcome, lambda to_do: backend)
    assert outcome.failed == listed.failed


class InstantBackend(FakeBackend):
    """Finishes its runs at the first poll; those that are locked end with an error."""

    def __init__(self, runs):
        super().__init__(runs, ends_after="")
        self.runs = runs

    def poll(self):
        self.calls.append("ended")
        return [self._ended(run) for run in self.runs]

    def _ended(self, run):
        try:
            lock = FolderLock(run.workdir)
        except UsageError as error:
            return Ended(run, 2, f"sfvae_jax: error: {error}")
        write_finished(run)
        lock.release()
        return Ended(run, 0)


def write_finished(run):
    write_json(run.workdir / "config.json", plain(run.config))
    results = {"config": plain(run.config), "step": run.steps, "metrics": {"kl_divergence": 1.0}}
    write_json(run.workdir / "results.json", results)


@pytest.mark.parametrize("finishes", [True, False])
@pytest.mark.parametrize("known", [True, False])
def test_runs_that_other_processes_train_are_waited_for(
    tmp_path, monkeypatch, capsys, finishes, known
):
    """The other process is there at the start or found later; it finishes the run, or does not."""
    runs = expand(write_config(tmp_path, [{"seed": 0}, {"seed": 1}]), tmp_path / "sweep")
    for run in runs:
        run.workdir.mkdir(parents=True)
    other = FolderLock(runs[0].workdir)
    outcome = find_ended(runs) if known else Outcome()
    assert outcome.elsewhere == ({"seed=0"} if known else set())
    looks, given = [], []

    def sleep(seconds):
        looks.append(seconds)
        if seconds == _SECONDS_BETWEEN_LOOKS and looks.count(seconds) == 3:
            if finishes:
                write_finished(runs[0])
            other.release()

    def make(to_do):
        given.append([run.name for run in to_do])
        return InstantBackend(to_do)

    monkeypatch.setattr("launch.drive.time.sleep", sleep)
    carry_out(runs, outcome, make)
    assert outcome == Outcome(done={"seed=0", "seed=1"})
    first, then = ["seed=1"] if known else ["seed=0", "seed=1"], [] if finishes else [["seed=0"]]
    assert given == [first, *then]
    assert (
        capsys.readouterr().err.count("waiting for runs that other processes train: seed=0\n") == 1
    )


def test_a_signal_ends_the_waiting_for_others(runs, monkeypatch):
    runs[0].workdir.mkdir(parents=True)
    lock = FolderLock(runs[0].workdir)
    monkeypatch.setattr("launch.drive.time.sleep", lambda _: os.kill(os.getpid(), signal.SIGTERM))
    outcome = find_ended(runs)
    carry_out(runs, outcome, lambda to_do: None)
    assert outcome == Outcome(elsewhere={"seed=0"}, interrupted_by=signal.SIGTERM)
    lock.release()


_RESULTS = (
    '{"metrics": 1, "step": 12, "config": []}',
    '{"metrics": {"a": 1}, "step": 12, "config": {"evaluations": 1}}',
    '{"metrics": {"a": 1}, "step": "12", "config": null}',
    '{"step": NaN}',
)


@pytest.mark.parametrize("name", ["config.json", "results.json"])
@pytest.mark.parametrize("content", ["", "[]", '{"a":' * 5000, b"\xff", None, *_RESULTS])
def test_one_damaged_file_stops_no_other_run(tmp_path, name, content):
    """None stands for a named pipe, on which reading would wait forever."""
    runs = expand(write_config(tmp_path, [{"seed": 0}, {"seed": 1}]), tmp_path / "sweep")
    for run in runs:
        run.workdir.mkdir(parents=True)
        write_finished(run)
    damaged = runs[0].workdir / name
    damaged.unlink()
    if content is None:
        os.mkfifo(damaged)
    else:
        damaged.write_bytes(content if isinstance(content, bytes) else content.encode())
    outcome = find_ended(runs)
    SweepProgress(runs, outcome.done)
    assert outcome.done == {"seed=1"}
    assert all(str(runs[0].workdir) in error for error in outcome.failed.values())
    assert all("\n" not in error for error in outcome.failed.values())


def test_time_left_is_unknown_while_a_run_takes_steps_again(runs, capsys):
    runs[0].workdir.mkdir(parents=True)
    metrics = runs[0].workdir / "metrics.jsonl"
    metrics.write_text('{"step": 9}\n')
    progress = SweepProgress(runs, ())
    metrics.write_text('{"step": 4}\n')
    progress.update((), (), runs)
    assert "step 4/12, time left unknown" in capsys.readouterr().err
