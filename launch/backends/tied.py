"""Executes a command on some cores; it receives a signal when the process that started it ends.

  python tied.py PARENT SIGNAL CORES COMMAND [ARGUMENT ...]

PARENT is the id of that process. CORES are numbers with commas between them, or empty for all. Only
Linux has such signals and choices; elsewhere the command just runs.
"""

from __future__ import annotations

import ctypes
import os
import sys

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Asks for signal and cores, then executes the command in place of this process."""
    parent, signal_number, cores, *command = sys.argv[1:]
    if sys.platform.startswith("linux"):
        if cores:
            os.sched_setaffinity(0, map(int, cores.split(",")))
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal_number))
        if os.getppid() != int(parent):  # it has already ended
            sys.exit(1)
    os.execv(command[0], command)


if __name__ == "__main__":
    main()
