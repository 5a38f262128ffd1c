"""The processes of the runs of a sweep, and the step of a running one."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from helpers import wait_for

from launch.backends import ray_cluster, ray_task, tied
from launch.backends.base import Ended
from launch.backends.local import LocalBackend, shares
from launch.backends.process import ending
from launch.backends.ray_cluster import _shipped
from launch.progress import last_step


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
        "tie = [sys.executable, '-IS', sys.argv[1], str(os.getpid()), '9', '']\n"
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
    command = ["/usr/bin/touch", str(tmp_path / "started")]
    gone = [sys.executable, tied.__file__, "1", "9", "", *command]
    assert subprocess.run(gone).returncode == 1
    assert list(tmp_path.iterdir()) == []


def fake_runs(*scripts):
    return [SimpleNamespace(name=f"{i}", arguments=[text]) for i, text in enumerate(scripts)]


@pytest.fixture
def shell(monkeypatch):
    """Makes the runs shell scripts, on this machine and in a task of Ray."""

    def start(arguments, log, dies_by, environment=None, cores=()):
        with log.open("ab") as file:
            file.write(b"+ sh\n")
            file.flush()
            return subprocess.Popen(["bash", "-c", *arguments], stdout=file, stderr=file)

    monkeypatch.setattr("launch.backends.local.start", start)
    monkeypatch.setattr("launch.backends.ray_task.start", start)


def poll_until_over(backend):
    ended = []

    def is_over():
        ended.extend(backend.poll())
        return backend.is_over

    wait_for(is_over)
    return {run.name: (status, error) for run, status, error in ended}


def test_local_runs_take_turns_and_report_how_they_ended(tmp_path, shell):
    def work(own, other):
        """Returns a script that succeeds only while the other one runs."""
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


@LINUX
def test_a_tied_command_has_its_cores():
    core = max(os.sched_getaffinity(0))
    prints = [sys.executable, "-c", "import os; print(os.sched_getaffinity(0))"]
    command = [sys.executable, tied.__file__, str(os.getpid()), "9", str(core), *prints]
    assert subprocess.run(command, capture_output=True, text=True).stdout == f"{{{core}}}\n"


def test_each_local_run_has_cores_of_its_own(tmp_path, monkeypatch):
    """The cores that a run has left are those of the next one."""
    given = {}

    def start(arguments, log, dies_by, *, cores):
        given[log.stem] = cores
        return subprocess.Popen(arguments)

    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1}, raising=False)
    monkeypatch.setattr("launch.backends.local.start", start)
    sleeps = ("0.5", "0", "0.5")
    runs = [SimpleNamespace(name=f"{i}", arguments=["sleep", t]) for i, t in enumerate(sleeps)]
    ended = poll_until_over(LocalBackend(runs, tmp_path, jobs=2))
    assert ended == {"0": (0, ""), "1": (0, ""), "2": (0, "")}
    assert given == {"0": [0], "1": [1], "2": [1]}


@pytest.mark.parametrize(
    ("cores", "jobs", "expected"),
    [
        (range(8), 2, [[0, 1, 2, 3], [4, 5, 6, 7]]),
        (range(3), 2, [[0], [1]]),
        (range(2), 1, [[]]),
        (range(2), 3, [[], [], []]),
    ],
)
def test_jobs_share_the_cores(monkeypatch, cores, jobs, expected):
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(cores), raising=False)
    assert shares(jobs) == expected


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
def test_a_cancelled_task_reports_how_its_run_ended(tmp_path, shell, monkeypatch, script, expected):
    wait, waits = ray_task._wait, []

    def cancelled(process):
        waits.append(process)
        if len(waits) == 1:
            wait_for((tmp_path / "ready").exists)
            raise KeyboardInterrupt
        return wait(process)

    monkeypatch.setattr("launch.backends.ray_task._wait", cancelled)
    script = f"trap '{script}' TERM; touch {tmp_path}/ready; while true; do sleep 0.05; done"
    assert ray_task.carry_out([script], str(tmp_path / "log"), {}, None) == expected


def test_a_task_that_cannot_write_its_log_fails(tmp_path):
    status, error = ray_task.carry_out([], str(tmp_path), {}, None)
    assert status == 1
    assert str(tmp_path) in error


def test_without_a_log_the_exit_status_is_reported(tmp_path):
    assert ending(3, tmp_path / "gone") == "exit status 3"


def test_the_error_is_that_of_the_last_process(tmp_path):
    log = tmp_path / "log"
    log.write_text("+ first\nsfvae_jax: error: old\n+ second\n\n")
    assert ending(1, log) == "exit status 1"


def test_the_folder_of_a_sweep_is_not_shipped_whatever_its_name(tmp_path):
    """Ray reads the excluded paths as git reads .gitignore."""
    name = r"runs/a[1]*? \b!#"
    *_, excluded = _shipped(ray_cluster.ROOT / name)["excludes"]
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    (tmp_path / ".gitignore").write_text(excluded + "\n")
    for path, status in ((name, 0), ("runs/a1", 1)):
        asked = ["git", "-C", tmp_path, "check-ignore", "-q", f"{path}/results.json"]
        assert subprocess.run(asked).returncode == status


def test_a_local_run_that_another_sweep_has_done_is_not_started(tmp_path, shell):
    runs = fake_runs(f"touch {tmp_path}/started", "exit 0")
    ends = {"0": Ended(runs[0], 0), "1": None}
    backend = LocalBackend(runs, tmp_path, 1, lambda run: ends[run.name])
    assert poll_until_over(backend) == {"0": (0, ""), "1": (0, "")}
    assert not (tmp_path / "started").exists()


def test_the_step_of_a_running_run(tmp_path):
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
