"""Signals that wait, and those that do not; sent to this process."""

import os
import signal

import pytest

from sfvae_jax.stopping import Stopped, StopSignals


def send(number):
    os.kill(os.getpid(), number)


@pytest.fixture
def signals():
    before = signal.getsignal(signal.SIGINT)
    with StopSignals() as signals:
        yield signals
    assert signal.getsignal(signal.SIGINT) is before


def test_one_that_waits_ends_the_process_after_its_work(signals):
    done = []

    def work(number):
        with signals.deferred():
            assert not signals.came()  # nor of an earlier time
            send(number)
            assert signals.came()
            done.append(number)

    for number in (signal.SIGINT, signal.SIGTERM):
        with pytest.raises(Stopped, match=signal.Signals(number).name) as caught:
            work(number)
        assert caught.value.exit_status == 128 + number
    assert done == [signal.SIGINT, signal.SIGTERM]


def test_elsewhere_it_ends_at_once(signals):
    with pytest.raises(Stopped, match="SIGTERM"):
        send(signal.SIGTERM)

    def work(before, within):
        with signals.deferred():
            for number in before:
                send(number)
            with signals.at_once():
                for number in within:
                    send(number)
                raise AssertionError("it should have ended before")

    for before, within in (((), (signal.SIGTERM,)), ((signal.SIGINT,), ())):
        with pytest.raises(Stopped):
            work(before, within)


def test_a_second_ctrl_c_does_not_wait(signals):
    def work(*numbers):
        with signals.deferred():
            for number in numbers:
                send(number)
            raise AssertionError("nothing ended it")

    with pytest.raises(AssertionError):
        work(signal.SIGTERM, signal.SIGTERM, signal.SIGINT, signal.SIGTERM)
    with pytest.raises(Stopped):
        work(signal.SIGINT, signal.SIGINT)


def test_who_enters_it_not_is_not_disturbed():
    """As `train` called from a notebook, or from a thread."""
    before = signal.getsignal(signal.SIGTERM)
    with StopSignals().deferred():
        assert signal.getsignal(signal.SIGTERM) is before
