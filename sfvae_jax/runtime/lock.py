"""One process at a time in a folder: a lock that the kernel frees when its owner dies."""

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
# What the error of a run that finds its workdir locked begins with.
OCCUPIED = "another process is at work in workdir"

log = logging.getLogger("sfvae_jax")

_LONGEST = 100  # of what is told of an owner, in characters
_NO_LOCKS = (errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK, errno.ENOSYS)


# NFS keeps the lock of a client that is gone for some 90 seconds.
_SECONDS_OF_THE_DEAD, _SECONDS_BETWEEN_TRIES = 180.0, 2.0


_held: set[FolderLock] = set()


class FolderLock:
    """The lock of a folder, held until `release`; a file that says whose it is.

    Attributes:
        token: a number drawn for it, by which others of the same run know it again.
    """

    def __init__(self, folder: Path) -> None:
        """Takes it, also after an owner that died; where locks are unknown the log says so.

        Raises:
            UsageError: if another process has it.
            OSError: if the file cannot be written.
        """
        self._folder, self._path = folder, folder / NAME
        self._descriptor = self._open()
        _held.add(self)
        try:
            self._tell_of_the_dead()
            self._sign()
        except BaseException:
            self.release()
            raise

    def check(self) -> None:
        """Refuses to go on when the folder is not, or no longer, locked by this lock.

        Raises:
            RunError: if the folder or its lock file was deleted, moved or replaced.
        """
        if self.is_there():
            return
        what = f"its {NAME} was deleted or replaced" if self._folder.is_dir() else "it is gone"
        raise RunError(
            f"workdir {shown(self._folder)} is no longer this run's: {what}; stopped, so that"
            " nothing of another run is changed. What was saved before is where the folder went"
        )

    def is_there(self) -> bool:
        """Whether the file under the lock's name is still the one that was locked."""
        return _is_at(self._path, self._descriptor)

    def release(self) -> None:
        """Removes the file if it is this lock's, then lets go."""
        _held.discard(self)
        with suppress(OSError):
            if self.is_there():
                self._path.unlink(missing_ok=True)
        os.close(self._descriptor)

    def _open(self) -> int:
        """The locked file under the lock's name, not one that its last owner has just removed."""
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

    def _tell_of_the_dead(self) -> None:
        if os.fstat(self._descriptor).st_size:
            owner = _described(_read(self._descriptor))
            name = shown(self._folder)
            log.warning("taking over workdir %s, whose lock was left by %s", name, owner)

    def _sign(self) -> None:
        since = datetime.now(UTC).isoformat(timespec="seconds")
        self.token = secrets.randbelow(2**31)
        owner = {"host": socket.gethostname(), "pid": os.getpid(), "since": since}
        owner["token"] = self.token
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, json.dumps(owner).encode(), 0)


def release_all() -> None:
    """Removes the files of all locks of this process, which is about to end without `release`."""
    for lock in tuple(_held):
        with suppress(OSError):
            lock.release()


def read_token(folder: Path) -> int | None:
    """The token in the lock file of a folder, or None."""
    with _opened(folder) as descriptor:
        owner = None if descriptor is None else _read(descriptor)
    return owner.get("token") if isinstance(owner, dict) else None


def is_locked(folder: Path) -> bool:
    """Whether another process has locked a folder now; does not wait and changes nothing."""
    with _opened(folder) as descriptor:
        if descriptor is None:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:  # the file system knows no locks
            return False
    return False


def check_free(folder: Path) -> None:
    """Refuses a folder that another run's process has locked; takes and changes nothing.

    Raises:
        UsageError: if another process has it.
    """
    with _opened(folder) as descriptor:
        if descriptor is not None:
            _lock(descriptor, folder, fcntl.LOCK_SH)  # which many may have at a time


@contextmanager
def _opened(folder: Path) -> Iterator[int | None]:
    """The lock file of a folder to look at; None where there is none, or it cannot be opened.

    Whoever takes the lock will say why it cannot be opened.
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
    """Locks an open file; waits for an owner on another host, which may be dead."""
    until = time.monotonic() + _SECONDS_OF_THE_DEAD
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
                "the file system of %s knows no locks: use it from one process", shown(folder)
            )
            return
        if not waiting:
            log.warning(
                "workdir %s is locked by %s; waiting up to %d s, as a file server may keep the"
                " lock of a machine that is gone",
                *(shown(folder), _described(owner), _SECONDS_OF_THE_DEAD),
            )
        waiting = True
        time.sleep(_SECONDS_BETWEEN_TRIES)


def _is_elsewhere(owner: Any) -> bool:
    return isinstance(owner, dict) and owner.get("host") not in (None, socket.gethostname())


def _is_at(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(os.lstat(path), os.fstat(descriptor))
    except OSError:  # it is gone, or the file server no longer knows it
        return False


def _read(descriptor: int) -> Any:
    try:
        return parse_json(os.pread(descriptor, 4096, 0))
    except (ValueError, OSError):  # it has not signed yet, or was killed before it could
        return None


def _described(owner: Any) -> str:
    if not isinstance(owner, dict):
        return "a process that did not say which"
    pid, host, since = (
        " ".join(str(owner.get(key, "unknown")).split())[:_LONGEST]
        for key in ("pid", "host", "since")
    )
    return f"pid {pid} on host {host}, since {since}"
