"""Processes of tests that end with their test, also when that fails."""

import os
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any


@contextmanager
def running(words: Sequence[str], **how: Any) -> "Iterator[subprocess.Popen[str]]":
    """Have a process that speaks text, and at the end kill it, and its group if it leads one.

    What a failed test leaves behind would hit whatever test comes next.
    """
    with subprocess.Popen(words, text=True, **how) as process:
        try:
            yield process
        finally:
            process.kill()
            if how.get("start_new_session"):
                with suppress(ProcessLookupError):  # all of it has ended, as it should
                    os.killpg(process.pid, signal.SIGKILL)
