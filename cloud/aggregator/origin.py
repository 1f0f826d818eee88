"""Which run a task's folder is of, so that a ledger that was emptied or swapped is no new one.

    run.json    the task, its run, and the ledger that holds it; with a checksum

Without it an aggregator would begin anew without a word, and its devices drop their models.
"""

import logging
from pathlib import Path
from typing import Any

from cloud.aggregator.ledger import Ledger
from edgeloop.errors import RunError
from edgeloop.runtime import atomic_files

log = logging.getLogger(__name__)

FILE = "run.json"


def check(folder: Path, task: str, ledger: Ledger) -> None:
    """Refuse a ledger that has lost the run of a task's folder, before anything is written to it.

    A ledger that was just made holds no run, and loses none: who removes the file begins anew.

    Args:
        folder: of the task.
        task: its name.
        ledger: open.

    Raises:
        RunError: if it holds another run, or none.
        TakenError: if another aggregator has the task.
    """
    noted = _read(folder)
    if ledger.is_new or noted.get("task") != task or noted.get("ledger") != _name(folder, ledger):
        return
    run, held = noted.get("run"), ledger.hold(task)
    if held is not None and held.run == run:
        return
    now = "no run of it" if held is None else f"run {held.run}"
    problem = f"held run {run} of task {task}, and holds {now} now"
    remedy = f"restore it from a backup; to go on without that run remove {folder / FILE}"
    raise RunError(ledger.name, problem, remedy)


def note(folder: Path, task: str, ledger: Ledger) -> None:
    """Note which run a ledger has adopted.

    Raises:
        RunError: if the folder cannot be written.
        StorageError: if its disk is full or away.
    """
    facts = {"task": task, "run": ledger.run, "ledger": _name(folder, ledger)}
    if _read(folder) != facts:
        with atomic_files.writing(folder):
            atomic_files.write_checked_json(folder / FILE, facts)


def forget(folder: Path) -> None:
    """Forget which run a folder is of."""
    (folder / FILE).unlink(missing_ok=True)


def _name(folder: Path, ledger: Ledger) -> str:
    """Return a ledger's name; of a file in the folder it stays when the folder is moved."""
    path = Path(ledger.name)
    return path.name if path.parent == folder.resolve() else ledger.name


def _read(folder: Path) -> dict[str, Any]:
    """Return what is noted; nothing if nothing is, or it is damaged."""
    try:
        return dict(atomic_files.read_json(folder / FILE))
    except FileNotFoundError:
        return {}
    except (OSError, TypeError, ValueError) as error:
        log.warning("%s is damaged (%s), and is written again", folder / FILE, error)
        return {}
