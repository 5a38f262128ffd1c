"""The parts of a sweep that need no training: processes, signals, progress."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from tiny_sweeps import wait_for, write_config

from launch import tied
from launch.backend import Ended
from launch.drive import Outcome, carry_out
from launch.local import LocalBackend
from launch.process import ending
from launch.progress import last_step
from launch.runs import expand


def is_running(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="ties of processes are Linux's")
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


def test_a_command_whose_parent_is_gone_does_not_start(tmp_path):
    gone = [sys.executable, tied.__file__, "1", "9", "/usr/bin/touch", str(tmp_path / "started")]
    assert subprocess.run(gone).returncode == 1
    assert list(tmp_path.iterdir()) == []


def fake_runs(*scripts):
    return [SimpleNamespace(name=f"{i}", arguments=[text]) for i, text in enumerate(scripts)]


@pytest.fixture
def shell(monkeypatch):
    """Runs are shell scripts."""

    def start(arguments, log, dies_by):
        with log.open("ab") as file:
            file.write(b"+ sh\n")
            file.flush()
            return subprocess.Popen(["bash", "-c", *arguments], stdout=file, stderr=file)

    monkeypatch.setattr("launch.local.start", start)


def poll_until_over(backend):
    ended = []

    def is_over():
        ended.extend(backend.poll())
        return backend.is_over

    wait_for(is_over)
    return {run.name: (status, error) for run, status, error in ended}


def test_local_runs_take_turns_and_tell_how_they_ended(tmp_path, shell):
    count = f"ls {tmp_path}/*.at_work | wc -l >> {tmp_path}/counts"
    work = f"touch {tmp_path}/$$.at_work; {count}; sleep 0.2; rm {tmp_path}/$$.at_work"
    fail = "echo one; echo sfvae_jax: error: two; echo three; exit 1"
    runs = fake_runs(*[work] * 4, fail, "echo no error line; exit 2", "exit 3", "kill -9 $$")
    ended = poll_until_over(LocalBackend(runs, tmp_path, jobs=2))
    assert [ended[f"{i}"] for i in range(4)] == [(0, "")] * 4
    assert ended["4"] == (1, "sfvae_jax: error: two")
    assert ended["5"] == (2, "no error line")
    assert ended["6"] == (3, "exit status 3")
    assert ended["7"] == (-9, "killed by SIGKILL")
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


def test_what_an_earlier_process_wrote_is_not_this_ones_error(tmp_path):
    log = tmp_path / "log"
    log.write_text("+ first\nsfvae_jax: error: old\n+ second\n\n")
    assert ending(1, log) == "exit status 1"


class FakeBackend:
    """Interrupts the sweep at chosen polls; its one run ends only when it is killed."""

    def __init__(self, runs, signals):
        self.run, self.signals, self.calls = runs[0], list(signals), []

    def poll(self):
        if "kill" in self.calls:
            self.calls.append("ended")
            return [Ended(self.run, -9, "killed by SIGKILL")]
        if self.signals:
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


@pytest.mark.parametrize("first", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_the_runs_and_a_second_kills_them(tmp_path, first):
    runs = expand(write_config(tmp_path, [{"seed": 0}]), tmp_path / "sweep")
    backends, outcome = [], Outcome()

    def make(to_do):
        backends.append(FakeBackend(to_do, [first, signal.SIGINT]))
        return backends[0]

    before = signal.getsignal(signal.SIGTERM)
    carry_out(runs, outcome, make)
    assert backends[0].calls == ["stop", "kill", "ended", "close"]
    assert outcome == Outcome(interrupted_by=first)
    assert signal.getsignal(signal.SIGTERM) is before


def test_the_step_of_a_run_at_work(tmp_path):
    metrics = tmp_path / "metrics.jsonl"
    assert last_step(metrics) == 0
    metrics.write_text("")
    assert last_step(metrics) == 0
    lines = [json.dumps({"step": step, "loss": 0.5}) for step in range(1, 2001)]
    metrics.write_text("\n".join(lines) + "\n")
    assert last_step(metrics) == 2000
    metrics.write_text("\n".join(lines) + '\n{"step": 20')
    assert last_step(metrics) == 2000
