"""Command lines of processes that belong to this one, and end when it is killed."""

import os
import sys
from collections.abc import Sequence

START = "import sys; from edgeloop.cli.main import main; sys.exit(main())"

BOUND = """
import ctypes, os, sys
signal, parent, user = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
if user:
    uid, gid = map(int, user.split(":"))
    os.setgroups([])
    os.setgid(gid)
    os.setuid(uid)
if sys.platform == "linux":
    PR_SET_PDEATHSIG = 1
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal, 0, 0, 0)
    if os.getppid() != parent:
        sys.exit("the process that started this one has ended")
os.execvp(sys.argv[4], sys.argv[4:])
"""
"""Asks for a signal at the parent's end, then becomes the program."""


def edgeloop(*words: str) -> list[str]:
    """Return the command line of an `edgeloop` command, in this Python."""
    return [sys.executable, "-c", START, *words]


def environment() -> dict[str, str]:
    """Return the variables of a process that computes: a process a core, a thread a process."""
    return {"OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1", **os.environ}


def bound(command: Sequence[str], signal: int, user: str = "") -> list[str]:
    """Return a command line whose process gets a signal when the one that starts it dies.

    The system sends it when the thread ends that started the process, even by SIGKILL: start from
    the main thread. Elsewhere than on Linux the process gets no signal. Root may name another user
    for it, UID:GID.
    """
    return [sys.executable, "-c", BOUND, str(int(signal)), str(os.getpid()), user, *command]
