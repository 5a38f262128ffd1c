"""A lock that lets one process at a time use a folder; the kernel frees it when that one dies."""

from __future__ import annotations

import errno
import fcntl
import json
import logging
import os
import secrets
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sfvae_jax.errors import RunError, UsageError
from sfvae_jax.paths import shown
from sfvae_jax.runtime.files import parse_json

NAME = ".lock"
# The beginning of the error of a run whose workdir is locked. A sweep looks for it in the run's
# log, because the exit status is that of every usage error.
OCCUPIED = "another process is at work in workdir"

log = logging.getLogger("sfvae_jax")

_LONGEST = 100  # characters of each fact about an owner in a message
# The errors of file systems that have no locks.
_NO_LOCKS = (errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK, errno.ENOSYS)
# NFS keeps the lock of a client that is gone for about 90 seconds.
_SECONDS_FOR_OTHER_HOSTS, _SECONDS_BETWEEN_TRIES = 180.0, 2.0

_held: set[FolderLock] = set()  # by this process


class FolderLock:
    """The lock of a folder, held until `release`: a file that says who its owner is.

    Attributes:
        token: a random number by which the other processes of the run recognise the lock.
    """

    def __init__(self, folder: Path) -> None:
        """Takes the lock, also after an owner that died; warns if the file system has no locks.

        Raises:
            UsageError: if another process holds it.
            OSError: if the file cannot be written.
        """
        self._folder, self._path = folder, folder / NAME
        self._descriptor = self._open()
        _held.add(self)
        try:
            self._warn_of_dead_owner()
            self._sign()
        except BaseException:
            self.release()
            raise

    def check(self) -> None:
        """Checks that the folder is still locked by this lock.

        Raises:
            RunError: if the folder or its lock file was deleted, moved or replaced.
        """
        if self.is_there():
            return
        what = f"its {NAME} was deleted or replaced" if self._folder.is_dir() else "it is gone"
        raise RunError(
            f"workdir {shown(self._folder)} no longer belongs to this run: {what}. The run stops"
            " here, because it could change the files of another run. What it has saved is in the"
            " folder that was moved, if it still exists"
        )

    def is_there(self) -> bool:
        """Whether the lock file is still the one that was locked."""
        return _is_at(self._path, self._descriptor)

    def release(self) -> None:
        """Removes the lock file if it belongs to this lock, and frees the lock."""
        _held.discard(self)
        with suppress(OSError):
            if self.is_there():
                self._path.unlink(missing_ok=True)
        os.close(self._descriptor)

    def _open(self) -> int:
        """Opens and locks the lock file; tries again if its last owner has just removed it."""
        while True:
            flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW
            descriptor = os.open(self._path, flags, 0o644)
            try:
                _lock(descriptor, self._folder, fcntl.LOCK_EX)
                if _is_at(self._path, descriptor):
                    return descriptor
            except BaseException:
                os.close(descriptor)
                raise
            os.close(descriptor)

    def _warn_of_dead_owner(self) -> None:
        if os.fstat(self._descriptor).st_size:
            owner = _described(_read(self._descriptor))
            name = shown(self._folder)
            log.warning("taking over workdir %s; its lock was left behind by %s", name, owner)

    def _sign(self) -> None:
        since = datetime.now(UTC).isoformat(timespec="seconds")
        self.token = secrets.randbelow(2**31)
        owner = {"host": socket.gethostname(), "pid": os.getpid(), "since": since}
        owner["token"] = self.token
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, json.dumps(owner).encode(), 0)


def release_all() -> None:
    """Releases all locks of this process, which is about to end."""
    for lock in tuple(_held):
        with suppress(OSError):
            lock.release()


def read_token(folder: Path) -> int | None:
    """Returns the token in the lock file of a folder, or None."""
    with _opened(folder) as descriptor:
        owner = None if descriptor is None else _read(descriptor)
    return owner.get("token") if isinstance(owner, dict) else None


def is_locked(folder: Path) -> bool:
    """Whether another process holds the lock of a folder; does not wait and changes nothing."""
    with _opened(folder) as descriptor:
        if descriptor is None:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:  # the file system has no locks
            return False
    return False


def check_free(folder: Path) -> None:
    """Checks that no other process holds the lock of a folder; changes nothing.

    Raises:
        UsageError: if another process holds it.
    """
    with _opened(folder) as descriptor:
        if descriptor is not None:
            _lock(descriptor, folder, fcntl.LOCK_SH)  # several processes may hold it


@contextmanager
def _opened(folder: Path) -> Iterator[int | None]:
    """Opens the lock file of a folder for reading; None if it is missing or cannot be opened.

    Taking the lock will report why it cannot be opened.
    """
    try:
        descriptor = os.open(folder / NAME, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        yield None
        return
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _lock(descriptor: int, folder: Path, how: int) -> None:
    """Locks an open file; waits for an owner on another host, because it may be dead."""
    until = time.monotonic() + _SECONDS_FOR_OTHER_HOSTS
    waiting = False
    while True:
        try:
            fcntl.flock(descriptor, how | fcntl.LOCK_NB)
            return
        except BlockingIOError as error:
            owner = _read(descriptor)
            if not _is_elsewhere(owner) or time.monotonic() > until:
                raise UsageError(
                    f"{OCCUPIED} {shown(folder)}: {_described(owner)};"
                    " stop it, or give another --workdir"
                ) from error
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            log.warning(
                "the file system of %s does not support locks; do not use this workdir from two"
                " processes at once",
                shown(folder),
            )
            return
        if not waiting:
            log.warning(
                "workdir %s is locked by %s; waiting up to %d s, because a file server may keep"
                " the lock of a machine that is gone",
                shown(folder),
                _described(owner),
                _SECONDS_FOR_OTHER_HOSTS,
            )
        waiting = True
        time.sleep(_SECONDS_BETWEEN_TRIES)


def _is_elsewhere(owner: Any) -> bool:
    return isinstance(owner, dict) and owner.get("host") not in (None, socket.gethostname())


def _is_at(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(os.lstat(path), os.fstat(descriptor))
    except OSError:  # the file is gone, or the file server has forgotten it
        return False


def _read(descriptor: int) -> Any:
    try:
        return parse_json(os.pread(descriptor, 4096, 0))
    except (ValueError, OSError):  # its owner has not written it yet, or was killed before
        return None


def _described(owner: Any) -> str:
    if not isinstance(owner, dict):
        return "an unknown process"
    pid, host, since = (
        " ".join(str(owner.get(key, "unknown")).split())[:_LONGEST]
        for key in ("pid", "host", "since")
    )
    return f"pid {pid} on host {host}, since {since}"
