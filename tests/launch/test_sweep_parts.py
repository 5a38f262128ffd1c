"""The parts of a sweep that need no training: processes, signals, progress."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from conftest import wait_for
from tiny_sweeps import write_config

from launch import ray_cluster, ray_task, tied
from launch.backend import Ended
from launch.drive import _SECONDS_BETWEEN_LOOKS, Outcome, carry_out, look_over
from launch.interrupts import Interrupts
from launch.local import LocalBackend
from launch.process import ending
from launch.progress import SweepProgress, last_step
from launch.ray_cluster import _shipped
from launch.runs import expand
from sfvae_jax.errors import RunError, UsageError
from sfvae_jax.files import write_json
from sfvae_jax.training.lock import FolderLock
from sfvae_jax.training.settings import plain


def is_running(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


LINUX = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="ties of processes are Linux's"
)


@LINUX
def test_a_tied_command_ends_with_the_process_that_started_it():
    starts = (
        "import os, subprocess, sys\n"
        "tie = [sys.executable, '-IS', sys.argv[1], str(os.getpid()), '9']\n"
        "process = subprocess.Popen([*tie, '/bin/sleep', '600'])\n"
        "print(process.pid, flush=True)\n"
        "process.wait()\n"
    )
    command = [sys.executable, "-c", starts, tied.__file__]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        pid = int(parent.stdout.readline())
        wait_for(lambda: Path(f"/proc/{pid}/comm").read_text() == "sleep\n")
        parent.kill()
    wait_for(lambda: not is_running(pid))


@LINUX
def test_a_command_whose_parent_is_gone_does_not_start(tmp_path):
    gone = [sys.executable, tied.__file__, "1", "9", "/usr/bin/touch", str(tmp_path / "started")]
    assert subprocess.run(gone).returncode == 1
    assert list(tmp_path.iterdir()) == []


def fake_runs(*scripts):
    return [SimpleNamespace(name=f"{i}", arguments=[text]) for i, text in enumerate(scripts)]


@pytest.fixture
def shell(monkeypatch):
    """Runs are shell scripts, on this machine and in a task of Ray."""

    def start(arguments, log, dies_by, environment=None):
        with log.open("ab") as file:
            file.write(b"+ sh\n")
            file.flush()
            return subprocess.Popen(["bash", "-c", *arguments], stdout=file, stderr=file)

    monkeypatch.setattr("launch.local.start", start)
    monkeypatch.setattr("launch.ray_task.start", start)


def poll_until_over(backend):
    ended = []

    def is_over():
        ended.extend(backend.poll())
        return backend.is_over

    wait_for(is_over)
    return {run.name: (status, error) for run, status, error in ended}


def test_local_runs_take_turns_and_tell_how_they_ended(tmp_path, shell):
    def work(own, other):
        """Ends well only beside the other."""
        met = f"[ -e {tmp_path}/{other}.began ] && met=yes && break; sleep 0.05"
        count = f"ls {tmp_path}/*.at_work | wc -l >> {tmp_path}/counts"
        begin = f"touch {tmp_path}/{own}.at_work {tmp_path}/{own}.began; {count}"
        return (
            f"{begin}; for i in {{1..1000}}; do {met}; done; rm {tmp_path}/{own}.at_work; [ $met ]"
        )

    fail = "echo one; echo sfvae_jax: error: two; echo three; exit 1"
    pairs = [work(0, 1), work(1, 0), work(2, 3), work(3, 2)]
    runs = fake_runs(*pairs, fail, "echo no error line; exit 2", "exit 3", "kill -9 $$")
    ended = poll_until_over(LocalBackend(runs, tmp_path, jobs=2))
    assert [ended[f"{i}"] for i in range(4)] == [(0, "")] * 4
    assert ended["4"] == (1, "sfvae_jax: error: two")
    assert ended["5"] == (2, "no error line")
    assert ended["6"] == (3, "exit status 3")
    assert ended["7"] == (-9, "killed by SIGKILL, as when memory runs out")
    counts = [int(line) for line in (tmp_path / "counts").read_text().split()]
    assert len(counts) == 4
    assert max(counts) <= 2


def test_local_runs_are_stopped_and_waited_for(tmp_path, shell):
    saves = f"trap 'sleep 0.3; touch {tmp_path}/saved; exit 143' TERM; touch {tmp_path}/ready;"
    runs = fake_runs(f"{saves} while true; do sleep 0.05; done", f"touch {tmp_path}/second")
    backend = LocalBackend(runs, tmp_path, jobs=1)
    assert backend.poll() == []
    wait_for((tmp_path / "ready").exists)
    assert [run.name for run in backend.running()] == ["0"]
    backend.stop()
    assert list(poll_until_over(backend)) == ["0"]
    assert (tmp_path / "saved").exists()
    assert not (tmp_path / "second").exists()


def test_a_local_run_that_cannot_start_stops_no_other(tmp_path, shell):
    runs = fake_runs("exit 0", "exit 0")
    (tmp_path / "0.log").mkdir()
    ended = poll_until_over(LocalBackend(runs, tmp_path, jobs=1))
    assert ended["0"][0] == 1
    assert "0.log" in ended["0"][1]
    assert ended["1"] == (0, "")


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("exit 0", (0, "")),
        ("exit 143", (143, "exit status 143")),
        ("echo sfvae_jax: error: full; exit 1", (1, "sfvae_jax: error: full")),
    ],
)
def test_a_task_that_is_cancelled_tells_how_its_run_ended(
    tmp_path, shell, monkeypatch, script, expected
):
    wait, waits = ray_task._wait, []

    def cancelled(process):
        waits.append(process)
        if len(waits) == 1:
            wait_for((tmp_path / "ready").exists)
            raise KeyboardInterrupt
        return wait(process)

    monkeypatch.setattr("launch.ray_task._wait", cancelled)
    script = f"trap '{script}' TERM; touch {tmp_path}/ready; while true; do sleep 0.05; done"
    assert ray_task.carry_out([script], str(tmp_path / "log"), {}, None) == expected


def test_a_task_that_cannot_write_its_log_tells(tmp_path):
    status, error = ray_task.carry_out([], str(tmp_path), {}, None)
    assert status == 1
    assert str(tmp_path) in error


def test_of_a_log_that_is_gone_the_status_is_told(tmp_path):
    assert ending(3, tmp_path / "gone") == "exit status 3"


def test_what_an_earlier_process_wrote_is_not_this_ones_error(tmp_path):
    log = tmp_path / "log"
    log.write_text("+ first\nsfvae_jax: error: old\n+ second\n\n")
    assert ending(1, log) == "exit status 1"


def test_a_sweeps_own_folder_is_not_shipped_whatever_its_name(tmp_path):
    """Ray reads what is not shipped as git reads what it ignores."""
    name = r"runs/a[1]*? \b!#"
    *_, excluded = _shipped(ray_cluster.ROOT / name)["excludes"]
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    (tmp_path / ".gitignore").write_text(excluded + "\n")
    for path, status in ((name, 0), ("runs/a1", 1)):
        asked = ["git", "-C", tmp_path, "check-ignore", "-q", f"{path}/results.json"]
        assert subprocess.run(asked).returncode == status


class FakeBackend:
    """Interrupts the sweep at its first poll; its one run ends when it is stopped or killed."""

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
    """SIGHUP as a terminal's processes have it, though nohup started the tests."""
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
    assert backend.calls == []  # nothing is begun that would be stopped at once


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
def test_a_workdir_that_cannot_be_looked_at_is_listed(runs, monkeypatch, error):
    def fail(run):
        raise error

    monkeypatch.setattr("launch.drive.is_finished", fail)
    listed = Outcome(failed={"seed=0": "stale file handle"})
    assert look_over(runs) == listed
    outcome, backend = (
        Outcome(),
        FakeBackend(runs, signals=[signal.SIGTERM], ends_after="stop", status=0),
    )
    carry_out(runs, outcome, lambda to_do: backend)
    assert outcome.failed == listed.failed


class InstantBackend(FakeBackend):
    """Finishes the runs that it is given at its first poll; an error for those that are locked."""

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
def test_runs_at_work_elsewhere_are_waited_for(tmp_path, monkeypatch, capsys, finishes, known):
    """Seen at the start, or met when it is their turn; finished there, or left to this sweep."""
    runs = expand(write_config(tmp_path, [{"seed": 0}, {"seed": 1}]), tmp_path / "sweep")
    for run in runs:
        run.workdir.mkdir(parents=True)
    other = FolderLock(runs[0].workdir)
    outcome = look_over(runs) if known else Outcome()
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
    assert capsys.readouterr().err.count("waiting for other processes, at work in seed=0\n") == 1


def test_a_signal_ends_the_waiting_for_others(runs, monkeypatch):
    runs[0].workdir.mkdir(parents=True)
    lock = FolderLock(runs[0].workdir)
    monkeypatch.setattr("launch.drive.time.sleep", lambda _: os.kill(os.getpid(), signal.SIGTERM))
    outcome = look_over(runs)
    carry_out(runs, outcome, lambda to_do: None)
    assert outcome == Outcome(elsewhere={"seed=0"}, interrupted_by=signal.SIGTERM)
    lock.release()


def test_a_local_run_that_another_sweep_has_done_is_not_started(tmp_path, shell):
    runs = fake_runs(f"touch {tmp_path}/started", "exit 0")
    ends = {"0": Ended(runs[0], 0), "1": None}
    backend = LocalBackend(runs, tmp_path, 1, lambda run: ends[run.name])
    assert poll_until_over(backend) == {"0": (0, ""), "1": (0, "")}
    assert not (tmp_path / "started").exists()


_RESULTS = (
    '{"metrics": 1, "step": 12, "config": []}',
    '{"metrics": {"a": 1}, "step": 12, "config": {"evaluations": 1}}',
    '{"metrics": {"a": 1}, "step": "12", "config": null}',
    '{"step": NaN}',
)


@pytest.mark.parametrize("name", ["config.json", "results.json"])
@pytest.mark.parametrize("content", ["", "[]", '{"a":' * 5000, b"\xff", None, *_RESULTS])
def test_one_damaged_file_stops_no_other_run(tmp_path, name, content):
    """None: a named pipe, which would be waited for without an end."""
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
    outcome = look_over(runs)
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


def test_the_step_of_a_run_at_work(tmp_path):
    metrics = tmp_path / "metrics.jsonl"
    assert last_step(metrics) == 0
    assert last_step(tmp_path) == 0  # cannot be read
    metrics.write_text("")
    assert last_step(metrics) == 0
    lines = [json.dumps({"step": step, "loss": 0.5}) for step in range(1, 2001)]
    metrics.write_text("\n".join(lines) + "\n")
    assert last_step(metrics) == 2000
    metrics.write_text("\n".join(lines) + '\n{"step": 20')
    assert last_step(metrics) == 2000
    nested = '{"step": 7}\n{"step": Infinity}\n{"step": NaN}\n' + '{"a":' * 2000 + "1" + "}" * 2000
    metrics.write_text(nested + '\n[1]\n{"step": {}}\n')
    assert last_step(metrics) == 7
    metrics.unlink()
    os.mkfifo(metrics)
    assert last_step(metrics) == 0
