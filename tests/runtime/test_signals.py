"""Signals that wait, and those that do not; sent to this process."""

import os
import signal
import subprocess
import sys
import threading

import pytest

from sfvae_jax.runtime.signals import Stopped, StopSignals


def send(signals, *numbers):
    """Sends signals one after the other, each when the one before has been noted."""
    for number in numbers:
        noted = threading.Event()
        note = signals._note

        def noting(received, note=note, noted=noted):
            note(received)
            noted.set()

        signals._note = noting
        os.kill(os.getpid(), number)
        assert noted.wait(60)
        signals._note = note


@pytest.fixture
def ended():
    """Returns a list for the signals that would have ended the process."""
    return []


@pytest.fixture
def terminal():
    """Restores the default action for SIGHUP, even if nohup started the tests."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.fixture
def signals(ended, terminal):
    before = signal.getsignal(signal.SIGINT)
    waking = signal.set_wakeup_fd(-1)
    with StopSignals(ended.append) as signals:
        yield signals
    assert signal.getsignal(signal.SIGINT) is before
    assert signal.set_wakeup_fd(waking) == -1


def test_one_that_waits_ends_the_process_after_its_work(signals, ended):
    done = []

    def work(number):
        with signals.deferred():
            assert not signals.came()  # nor of an earlier time
            send(signals, number)
            assert signals.came()
            done.append(number)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        with pytest.raises(Stopped, match=signal.Signals(number).name) as caught:
            work(number)
        assert caught.value.exit_status == 128 + number
    assert done == [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]
    assert ended == []


def test_elsewhere_it_ends_at_once(signals, ended):
    send(signals, signal.SIGTERM)
    assert [str(stop) for stop in ended] == ["stopped by SIGTERM"]
    with pytest.raises(Stopped), signals.deferred():  # where it has not ended, it is not forgotten
        pass
    with signals.deferred(), signals.at_once():
        send(signals, signal.SIGINT)
        assert [stop.exit_status for stop in ended] == [143, 130]
        signals._received = 0

    def work():
        with signals.deferred():
            send(signals, signal.SIGINT)
            with signals.at_once():
                raise AssertionError("it should have ended before")

    with pytest.raises(Stopped):
        work()
    assert len(ended) == 2


def test_a_second_ctrl_c_does_not_wait(signals, ended, caplog):
    def work(*numbers):
        with signals.deferred():
            send(signals, *numbers)

    with caplog.at_level("INFO", "sfvae_jax"), pytest.raises(Stopped):
        work(signal.SIGTERM, signal.SIGTERM, signal.SIGINT, signal.SIGTERM)
    assert caplog.messages == ["SIGTERM: saving after the steps that the devices are taking"]
    assert ended == []
    with caplog.at_level("INFO", "sfvae_jax"), pytest.raises(Stopped):
        work(signal.SIGINT, signal.SIGINT)
    assert caplog.messages[1:] == [
        "SIGINT: saving after the steps that the devices are taking; a second one ends the process"
        " at once"
    ]
    assert [stop.exit_status for stop in ended] == [130]


def test_one_is_noted_where_other_code_listens_too(signals, ended):
    """Event loops do so: they give the kernel a descriptor of their own to write to."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    signal.set_wakeup_fd(writing)
    send(signals, signal.SIGTERM)
    assert len(ended) == 1
    os.close(reading)
    os.close(writing)


WAITS_FOR_XLA = """
import ctypes, logging, os, sys
from sfvae_jax.runtime.signals import StopSignals
logging.basicConfig(level="INFO", stream=sys.stdout)
with StopSignals(lambda stop: os._exit(stop.exit_status)) as signals, signals.deferred():
    if sys.argv[1] == "at_once":
        signals._defer(False)
    print("ready", flush=True)
    while True:  # the library is called again when a signal has ended its sleep
        ctypes.CDLL(None).sleep(600)
"""


@pytest.mark.parametrize(("where", "times"), [("at_once", 1), ("deferred", 2)])
def test_the_main_thread_need_not_be_there(root, where, times):
    """The process waits inside a library, as in a long compilation."""
    command = [sys.executable, "-c", WAITS_FOR_XLA, where]
    process = subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    for _ in range(times - 1):
        process.send_signal(signal.SIGINT)
        assert "SIGINT: saving" in process.stdout.readline()
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130


def test_who_enters_it_not_is_not_disturbed():
    """`train` may be called from a notebook or from a thread."""
    before = signal.getsignal(signal.SIGTERM)
    with StopSignals().deferred():
        assert signal.getsignal(signal.SIGTERM) is before


def test_what_nohup_ignores_stays_ignored(terminal):
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with StopSignals():
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN


def test_without_an_end_signals_wait_and_nothing_is_killed():
    with StopSignals() as signals:
        send(signals, signal.SIGINT, signal.SIGINT)
        with pytest.raises(Stopped), signals.deferred():
            assert signals.came()


JAX = "import os, signal, time; os.kill(os.getpid(), signal.SIGINT); time.sleep(600)"


@pytest.mark.parametrize(
    "command",
    [
        ("sfvae_jax.main", "--config=configs/mnist_collapse.py:laptop"),
        ("sfvae_jax.report", "runs"),
        ("launch.sweep", "--config=configs/mnist_collapse.py", "--workdir=runs"),
    ],
)
def test_ctrl_c_in_the_first_seconds_is_quiet(root, tmp_path, command):
    """The signal comes while JAX is imported, or before."""
    (tmp_path / "jax.py").write_text(JAX)
    done = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGINT, "", "")
