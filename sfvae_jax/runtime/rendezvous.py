"""A meeting of the processes of a run before JAX connects them, with errors in one line.

JAX ends a process by SIGSEGV or SIGABRT if its port is taken, two processes have the same number
or some do not come. Here process 0 listens at the port that JAX gets afterwards, and each process,
including process 0, reports its number and the number of processes that it expects.
"""

from __future__ import annotations

import errno
import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import BinaryIO

from sfvae_jax.errors import RunError, UsageError

SECONDS = 300.0  # until all have come
_SECONDS_OF_A_STRANGER = 10.0  # in which a run that has just ended may still hold the port
_SECONDS_BETWEEN_TRIES = 0.5
_SECONDS_TO_HEAR = 2.0  # in which late processes still learn of a refusal
_SECONDS_TO_SPEAK = 5.0  # for a message between two connected processes

_OURS = "sfvae_jax process"
_GREETING = re.compile(rf"{_OURS} (\d{{1,9}}) (\d{{1,9}})")
_HEARD = "sfvae_jax: wait for the others"
_WELCOME = "all are here"
_LONGEST = 1000  # bytes of a message


def meet(address: str, num_processes: int, process_id: int, seconds: float = SECONDS) -> None:
    """Waits until all processes have come, each with a number of its own.

    Args:
        address: "HOST:PORT" of process 0, as the others reach it.
        num_processes: number of processes.
        process_id: number of this process, from 0.
        seconds: how long this process waits.

    Raises:
        UsageError: if the port is taken, the address is not that of process 0, or the numbers of
            the processes contradict each other.
        RunError: if some of the others do not come.
    """
    host, _, port = address.rpartition(":")
    place = (host.strip("[]"), int(port))
    until = time.monotonic() + seconds
    if process_id != 0:
        _attend(place, num_processes, process_id, until)
        return
    with _listening(place[1]) as listener:
        host_thread = threading.Thread(
            target=_receive_all, args=(listener, num_processes, until), daemon=True
        )
        host_thread.start()
        try:
            _attend(place, num_processes, process_id, until)
        finally:  # the others are answered before this process goes on, or ends
            with suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            host_thread.join(2 * _SECONDS_TO_SPEAK)


# ---- process 0 ----


@contextmanager
def _listening(port: int) -> Iterator[socket.socket]:
    """Opens a socket at the port, on all addresses of this machine, as JAX does later."""
    both = socket.has_dualstack_ipv6()
    family = socket.AF_INET6 if both else socket.AF_INET
    try:
        listener = socket.create_server(("", port), family=family, dualstack_ipv6=both)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise UsageError(
                f"--coordinator_address: port {port} of this machine is in use, by another program"
                " or another process with --process_id=0; give all processes a port that is free"
            ) from error
        raise UsageError(
            f"--coordinator_address: process 0 cannot listen at port {port}: {error.strerror}"
        ) from error
    with listener:
        yield listener


def _receive_all(listener: socket.socket, num_processes: int, until: float) -> None:
    """Answers all that came when the last one has, or when it is clear that they do not fit."""
    present: dict[int, socket.socket] = {}
    refusal = None
    try:
        while refusal is not None or not _all_are_there(present, num_processes):
            listener.settimeout(max(until - time.monotonic(), 0.01))
            try:
                connection, _ = listener.accept()
            except TimeoutError:
                refusal = refusal or _absent(present, num_processes)
                break
            except OSError:  # this process has given up
                return
            found = _enter(connection, present, num_processes)
            if found is not None and refusal is None:
                refusal = found
                until = min(until, time.monotonic() + _SECONDS_TO_HEAR)
        _answer(present, refusal or _WELCOME)
    finally:
        for connection in present.values():
            connection.close()


def _enter(
    connection: socket.socket, present: dict[int, socket.socket], num_processes: int
) -> str | None:
    """Adds the process at the other end; returns why all are refused, or None."""
    with connection.makefile("rb") as reader:
        greeting = _GREETING.fullmatch(_read(connection, reader, _SECONDS_TO_SPEAK))
    if greeting is None:  # it does not belong to a run
        connection.close()
        return None
    process_id, of = map(int, greeting.groups())
    _send(connection, _HEARD)
    before = present.get(process_id)
    if before is not None and _is_gone(before):
        before.close()
        before = None
    # A second process with the same number is kept under an unused one, to be answered as well.
    present[process_id if before is None else -1 - len(present)] = connection
    if of != num_processes:
        return (
            f"usage: process {process_id} has --num_processes={of} and process 0"
            f" --num_processes={num_processes}; give all the same"
        )
    if before is not None:
        return (
            f"usage: two processes have --process_id={process_id}; number them from 0 to"
            f" {num_processes - 1}, each once"
        )
    return None


def _all_are_there(present: dict[int, socket.socket], num_processes: int) -> bool:
    """Whether all processes have come; forgets those that have died meanwhile."""
    if len(present) < num_processes:
        return False
    for number in [number for number, connection in present.items() if _is_gone(connection)]:
        present.pop(number).close()
    return len(present) == num_processes


def _absent(present: dict[int, socket.socket], num_processes: int) -> str:
    names = [str(number) for number in range(num_processes) if number not in present]
    shown = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
    return (
        f"run: {len(names)} of {num_processes} processes did not connect in time:"
        f" --process_id={shown}"
    )


def _answer(present: dict[int, socket.socket], message: str) -> None:
    for connection in present.values():
        _send(connection, message)
    # The others close first, so that no connection blocks the port when JAX asks for it.
    for connection in present.values():
        with suppress(OSError):
            connection.settimeout(_SECONDS_TO_SPEAK)
            connection.recv(1)


def _send(connection: socket.socket, message: str) -> None:
    with suppress(OSError):  # it is gone
        connection.sendall(f"{message}\n".encode())


def _is_gone(connection: socket.socket) -> bool:
    try:
        connection.settimeout(0)
        return connection.recv(1, socket.MSG_PEEK) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


# ---- every process ----


def _attend(place: tuple[str, int], num_processes: int, process_id: int, until: float) -> None:
    """Reports this process to process 0, and waits until all have come."""
    shown = f"--coordinator_address={place[0]}:{place[1]}"
    stranger_until = None
    while True:
        with _connected(place, until, shown, patient=process_id != 0) as connection:
            answers = _ask(connection, f"{_OURS} {process_id} {num_processes}\n", until)
        if answers[0] == _HEARD:
            break
        stranger_until = stranger_until or time.monotonic() + _SECONDS_OF_A_STRANGER
        if time.monotonic() > min(stranger_until, until):
            raise RunError(
                f"what answers at {shown} is not a process 0 that waits for this one, but another"
                " program or a run that has begun; give all processes another port"
            )
        time.sleep(_SECONDS_BETWEEN_TRIES)
    kind, _, text = answers[1].partition(": ")
    if kind == "usage":
        raise UsageError(text)
    if kind != _WELCOME:
        raise RunError(
            text
            or (f"process 0 of this run, at {shown}, ended, or not all processes connected in time")
        )


def _connected(place: tuple[str, int], until: float, shown: str, *, patient: bool) -> socket.socket:
    while True:
        try:
            return socket.create_connection(place, timeout=_SECONDS_TO_SPEAK)
        except OSError as error:  # includes unknown names of hosts
            reason = error.strerror or str(error)
            if not patient:
                raise UsageError(
                    f"{shown} does not reach this machine, which has --process_id=0: {reason};"
                    " give an address of this machine"
                ) from error
            if time.monotonic() > until:
                raise RunError(
                    f"process 0 was not at {shown} in time: {reason}; start it there, or correct"
                    " the address"
                ) from error
        time.sleep(_SECONDS_BETWEEN_TRIES)


def _ask(connection: socket.socket, greeting: str, until: float) -> tuple[str, str]:
    """Returns the answers, at once and when all have come; "" for one that does not arrive."""
    try:
        connection.sendall(greeting.encode())
    except OSError:
        return "", ""
    with connection.makefile("rb") as reader:
        heard = _read(connection, reader, 2 * _SECONDS_TO_SPEAK)
        if heard != _HEARD:
            return "", ""
        # Process 0 says who is missing when its own time is over.
        seconds = max(until - time.monotonic(), 0.0) + 2 * _SECONDS_TO_SPEAK
        return heard, _read(connection, reader, seconds)


def _read(connection: socket.socket, reader: BinaryIO, seconds: float) -> str:
    """Reads a line from the other end, without its newline; "" if none arrives."""
    try:
        connection.settimeout(seconds)
        return reader.readline(_LONGEST).decode(errors="replace").strip()
    except OSError:
        return ""
