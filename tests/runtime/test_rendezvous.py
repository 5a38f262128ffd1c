"""Processes that meet before they are connected: threads in their place, at ports of this host."""

import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from helpers import ROOT

from sfvae_jax.errors import RunError, UsageError
from sfvae_jax.runtime import processes, rendezvous
from sfvae_jax.runtime.rendezvous import meet


@pytest.fixture
def port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def outcomes(port, *numbers, seconds=60.0, host="127.0.0.1"):
    """Returns the outcomes of processes (--num_processes, --process_id) that start together."""

    def one(number):
        try:
            meet(f"{host}:{port}", *number, seconds)
        except (UsageError, RunError) as error:
            return error
        return None

    with ThreadPoolExecutor(len(numbers)) as threads:
        return list(threads.map(one, numbers))


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_all_come_and_leave_the_port_free(port, host):
    started = time.monotonic()
    assert outcomes(port, (3, 2), (3, 1), (3, 0), host=host) == [None] * 3
    assert time.monotonic() - started < 30
    with socket.create_server(("", port)):  # as JAX's service asks for it
        pass
    assert outcomes(port, (1, 0)) == [None]


PROCESS = """
import sys
from sfvae_jax.runtime.rendezvous import meet
try:
    meet(f"127.0.0.1:{sys.argv[1]}", 3, int(sys.argv[2]), 20.0)
except ValueError as error:
    print(error, end="", flush=True)
    import os
    os._exit(2)
"""


def test_one_number_for_two_is_told_to_all(port):
    """Real processes, in any order: 0 does not end before it has answered the others."""
    running = [
        subprocess.Popen(
            [sys.executable, "-c", PROCESS, str(port), number],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in ("1", "1", "0")
    ]
    told = {process.communicate()[0] for process in running}
    assert told == {"two processes have --process_id=1; number them from 0 to 2, each once"}
    assert {process.returncode for process in running} == {2}


def test_another_number_of_processes_is_told_to_all(port):
    errors = outcomes(port, (4, 1), (3, 0))
    assert {type(error) for error in errors} == {UsageError}
    assert "process 1 has --num_processes=4 and process 0 --num_processes=3" in str(errors[0])
    assert str(errors[0]) == str(errors[1])


def test_who_stays_away_is_named(port):
    errors = outcomes(port, (4, 2), (4, 0), seconds=1.0)
    assert {type(error) for error in errors} == {RunError}
    assert {str(error) for error in errors} == {
        "2 of 4 processes did not connect in time: --process_id=1, 3"
    }


@pytest.fixture
def unknown_host(monkeypatch):
    """The name of the host is unknown; no name server is asked."""

    def refuse(place, timeout):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "create_connection", refuse)
    return "no-such-host.invalid"


def test_without_process_0_the_others_say_so(port):
    (error,) = outcomes(port, (2, 1), seconds=0.1)
    assert isinstance(error, RunError)
    assert f"process 0 was not at --coordinator_address=127.0.0.1:{port} in time" in str(error)


def test_a_name_that_stays_unknown_is_told(port, unknown_host):
    (error,) = outcomes(port, (2, 1), seconds=0.1, host=unknown_host)
    assert f"process 0 was not at --coordinator_address={unknown_host}" in str(error)
    assert "Name or service not known" in str(error)


def test_a_port_in_use_is_told_at_once(port):
    with socket.create_server(("127.0.0.1", port)):
        message = f"port {port} of this machine is in use, by .* with --process_id=0; give all"
        with pytest.raises(UsageError, match=message):
            processes.start(f"127.0.0.1:{port}", 2, 0)


def test_process_0_elsewhere_than_its_address_says(port, unknown_host):
    (error,) = outcomes(port, (2, 0), host=unknown_host)
    assert isinstance(error, UsageError)
    assert unknown_host in str(error)
    assert "does not reach this machine, which has --process_id=0" in str(error)


def test_another_program_at_the_port_is_told_soon(port, monkeypatch):
    monkeypatch.setattr(rendezvous, "_SECONDS_OF_A_STRANGER", 0.2)

    def answer():
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                connection.recv(1000)
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    with socket.create_server(("127.0.0.1", port)) as listener:
        thread = threading.Thread(target=answer)
        thread.start()
        (error,) = outcomes(port, (2, 1))
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()
    assert isinstance(error, RunError)
    assert "is not a process 0 that waits for this one" in str(error)


def test_strangers_and_processes_that_died_are_no_processes(port):
    """A scanner of ports, and a process that is started again while the others wait."""

    def disturb():
        until = time.monotonic() + 60
        for text in (b"GET / HTTP/1.1\r\n\r\n", b"sfvae_jax process 1 3\n"):
            while True:
                try:
                    with socket.create_connection(("127.0.0.1", port)) as connection:
                        connection.sendall(text)
                        connection.recv(1)
                    break
                except OSError:
                    assert time.monotonic() < until

    with ThreadPoolExecutor(1) as other:
        waiting = other.submit(outcomes, port, (3, 0))
        disturb()
        assert outcomes(port, (3, 1), (3, 2)) == [None] * 2
        assert waiting.result() == [None]
