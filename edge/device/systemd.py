"""Asks systemd: the one place that calls its programs."""

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from edgeloop.errors import InputError, UnavailableError

RUNS = Path("/run/systemd/system")
"""There where systemd is the machine's first process."""

SECONDS = 60.0


def is_running() -> bool:
    """Return whether this machine is systemd's."""
    return RUNS.exists() and shutil.which("systemctl") is not None


def ask(program: str, *words: str) -> str:
    """Return what a program of systemd says.

    Raises:
        InputError: if it is not on this machine, or refuses; its own words say why.
        UnavailableError: if it does not answer.
    """
    path = shutil.which(program)
    if path is None:
        remedy = "have another supervisor run edgeloop agent --config FILE"
        raise InputError(program, "is not on this machine", remedy)
    try:
        done = _run([path, *words])
    except subprocess.TimeoutExpired as error:
        raise UnavailableError(program, "does not answer", "try again") from error
    if done.returncode:
        problem = f"{' '.join(words)}: {done.stderr.strip() or done.returncode}"
        raise InputError(program, problem, "run it as root, or see what it says")
    return done.stdout


def _run(words: Sequence[str]) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(  # noqa: S603 - words of our own, and no shell
        words, capture_output=True, text=True, timeout=SECONDS, check=False
    )
