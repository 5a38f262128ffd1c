"""Becomes a command that the kernel ends when the process that started it ends.

  python tied.py PARENT SIGNAL COMMAND [ARGUMENT ...]

PARENT is that process, by its id. Linux alone knows such ties; elsewhere the command just runs.
"""

from __future__ import annotations

import ctypes
import os
import sys

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Ties this process, then executes the command in its place."""
    parent, signal_number, *command = sys.argv[1:]
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal_number))
        if os.getppid() != int(parent):  # it ended before the tie was made
            sys.exit(1)
    os.execv(command[0], command)


if __name__ == "__main__":
    main()
