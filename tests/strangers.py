"""Programs run as the images run them: by a user without a passwd entry, HOME and USER."""

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

USER = 10001
"""Of every image; no system knows it by name."""

_UNKNOWN = ("HOME", "USER", "LOGNAME", "LNAME", "USERNAME", "XDG_CACHE_HOME", "HOSTNAME")


def check() -> None:
    """Skip a test where nobody may become another user, or the user has a name here."""
    if os.geteuid() != 0 or shutil.which("setpriv") is None:
        pytest.skip("only root, with setpriv, may run a program as a user without a passwd entry")
    with pytest.raises(KeyError):
        pwd.getpwuid(USER)


def environment(**more: str) -> dict[str, str]:
    """Return this process's environment less what it says of its user."""
    kept = {key: value for key, value in os.environ.items() if key not in _UNKNOWN}
    return {**kept, "PYTHONDONTWRITEBYTECODE": "1", **more}


@contextmanager
def folder() -> Iterator[Path]:
    """Make a folder that is the user's; pytest's own are root's alone."""
    with tempfile.TemporaryDirectory(prefix="edgeloop-") as made:
        os.chown(made, USER, USER)
        yield Path(made)


@contextmanager
def running(
    command: list[str], place: Path, log: Path, **more: str
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program as the user in a place, at most until the block ends.

    It may read what root may read, for this checkout and its Python may be root's own; an image's
    are readable for everybody. It writes where the user may write, and nowhere else.
    """
    reads = ("--inh-caps", "+dac_read_search", "--ambient-caps", "+dac_read_search")
    who = ("--reuid", str(USER), "--regid", str(USER), "--clear-groups", *reads)
    with log.open("wb") as output:
        process = subprocess.Popen(
            ["setpriv", *who, *command],  # noqa: S607 - the system's
            cwd=place,
            env=environment(**more),
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
