"""Files by which a running stack hears what is wanted of its tasks, and says how its parts are.

`control/wanted/TASK.json` in the stack's folder has a state; no file means "Running". They stay
when the stack ends: a task that was paused is paused after the next start. `control/parts.json` is
there while the stack runs.
"""

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from edgeloop.errors import ConfigError
from edgeloop.runtime import atomic_files

Wanted = Literal["Running", "Paused", "Cancelled"]
STATES: tuple[Wanted, ...] = ("Running", "Paused", "Cancelled")
PartState = Literal["waiting", "running", "ended", "paused", "cancelled", "done"]


@dataclass(frozen=True)
class PartStatus:
    """How a part of a stack is.

    Attributes:
        name: the part's.
        task: whose it is; empty for a service.
        state: "waiting" has not begun, "ended" is about to be started again.
        process: its id; None while there is none.
    """

    name: str
    task: str
    state: PartState
    process: int | None = None


class Control:
    """The files of a stack, as its supervisor uses them.

    Args:
        folder: the stack's.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._told: tuple[PartStatus, ...] | None = None
        self._last: dict[str, Wanted] = {}

    def wanted(self, task: str) -> Wanted:
        """Return what is wanted of a task; while its file is damaged, what it said before."""
        if not task:
            return "Running"
        if problem(self._folder, task):
            return self._last.get(task, "Running")
        self._last[task] = found = wanted(self._folder, task)
        return found

    def problem(self, task: str) -> str:
        """Return what is wrong with the file of what is wanted of a task; empty if nothing."""
        found = problem(self._folder, task) if task else ""
        return f"{found}: {self.wanted(task).lower()}, as before; ask again" if found else ""

    def tell(self, parts: Sequence[PartStatus]) -> None:
        """Say how the parts are, if that has changed."""
        if tuple(parts) == self._told:
            return
        self._told = tuple(parts)
        place = self._folder / "control"
        with atomic_files.writing(place):
            place.mkdir(parents=True, exist_ok=True)
            content = {"process": os.getpid(), "parts": [asdict(each) for each in parts]}
            atomic_files.write_json(_parts_file(self._folder), content)

    def close(self) -> None:
        """Say that nothing runs any more."""
        _parts_file(self._folder).unlink(missing_ok=True)


def ask(folder: Path, task: str, state: Wanted) -> None:
    """Want a state of a task from now on; a stack that runs hears it within a second.

    Raises:
        ConfigError: if the task was cancelled, which is for good.
        RunError: if the folder cannot be written.
    """
    if wanted(folder, task) == "Cancelled" and state != "Cancelled":
        remedy = f"remove {_wanted_file(folder, task)} while the stack is stopped, and start it"
        raise ConfigError(task, "was cancelled, which is for good", remedy)
    path = _wanted_file(folder, task)
    with atomic_files.writing(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic_files.write_json(path, {"state": state})


def wanted(folder: Path, task: str) -> Wanted:
    """Return what is wanted of a task; "Running" if nobody has said anything that can be read."""
    return _read_wanted(folder, task) or "Running"


def problem(folder: Path, task: str) -> str:
    """Say that the file that says what is wanted of a task is damaged; empty if it is not."""
    found = _read_wanted(folder, task)
    return "" if found else f"{_wanted_file(folder, task)} is damaged"


def _read_wanted(folder: Path, task: str) -> Wanted | None:
    """Return what a task's file says; "Running" without one, None if it cannot be read."""
    found = None
    with suppress(OSError, ValueError, AttributeError):
        found = atomic_files.read_json(_wanted_file(folder, task)).get("state")
    known = next((each for each in STATES if each == found), None)
    return known if known or _wanted_file(folder, task).exists() else "Running"


def parts_of(folder: Path) -> list[PartStatus] | None:
    """Return how the parts of a stack on this machine are; None while it does not run."""
    try:
        found = atomic_files.read_json(_parts_file(folder))
        os.kill(int(found["process"]), 0)
        return [PartStatus(**each) for each in found["parts"]]
    except PermissionError:  # another user's process: it is there
        return [PartStatus(**each) for each in found["parts"]]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _parts_file(folder: Path) -> Path:
    return folder / "control" / "parts.json"


def _wanted_file(folder: Path, task: str) -> Path:
    return folder / "control" / "wanted" / f"{task}.json"
