"""What runs beside a run, on the same data from the same first weights, and what that tells.

It runs after it, in a folder within its folder, and changes nothing in it.
"""

from pathlib import Path
from typing import Any

from edgeloop.errors import RunError
from edgeloop.runtime import atomic_files
from simulations.results import pairing, runs
from simulations.results.folder import BESIDE, SUMMARY
from simulations.settings import RunSettings


def companion_folder(folder: Path, name: str) -> Path:
    """Return where the run of an algorithm is that is beside one."""
    return folder / BESIDE / name


def missing_parts(settings: RunSettings, folder: Path) -> list[str]:
    """Return what is asked for beside a run, and has not run yet.

    Raises:
        RunError: if the run's summary is damaged.
    """
    held = summary(folder).get(BESIDE, {}) if (folder / SUMMARY).exists() else {}
    return [name for name in settings.beside if name not in held]


def summary(folder: Path) -> dict[str, Any]:
    """Return a finished run's summary.

    Raises:
        RunError: if it is damaged.
    """
    path = folder / SUMMARY
    try:
        return atomic_files.read_json(path)
    except (OSError, ValueError) as error:
        remedy = "run it again into a new folder"
        raise RunError(str(path), f"is damaged ({error})", remedy) from error


def add_comparison(folder: Path, name: str) -> dict[str, Any]:
    """Add to a finished run's summary what the run beside it tells; return the summary.

    Raises:
        RunError: if a file of one of them is not there or damaged.
    """
    found = pairing.compare_runs(runs.find([folder]), runs.find([companion_folder(folder, name)]))
    held = summary(folder)
    held[BESIDE] = {**held.get(BESIDE, {}), name: pairing.as_json(found)}
    atomic_files.write_json(folder / SUMMARY, held)
    return held
