"""Executes a command that receives a signal when the process that started it ends.

  python tied.py PARENT SIGNAL COMMAND [ARGUMENT ...]

PARENT is the id of that process. Only Linux has such signals; elsewhere the command just runs.
"""

from __future__ import annotations

import ctypes
import os
import sys

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Asks for the signal, then executes the command in place of this process."""
    parent, signal_number, *command = sys.argv[1:]
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal_number))
        if os.getppid() != int(parent):  # it has already ended
            sys.exit(1)
    os.execv(command[0], command)


if __name__ == "__main__":
    main()
