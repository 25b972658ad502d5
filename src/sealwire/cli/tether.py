"""Ties a child program to the life of its starter, then becomes that program.

Run by path as ``python tether.py STARTER-PID PROGRAM ARGUMENTS...``. If the starter is killed outright, the
kernel sends the child SIGTERM; without this, servers would be left behind holding their ports. Linux
only; elsewhere the program starts untied.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Tie, check that the starter still lives, become the program."""
    starter = int(sys.argv[1])
    command = sys.argv[2:]
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
        if os.getppid() != starter:  # it went before we were tied
            sys.exit(1)
    os.execvp(command[0], command)


if __name__ == "__main__":
    main()
