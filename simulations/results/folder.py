"""A run's folder: which run it holds, and files that are whole or not there."""

import errno
import fcntl
import json
import logging
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

from edgeloop.errors import EdgeloopError, RunError, TakenError
from edgeloop.runtime import atomic_files

log = logging.getLogger(__name__)

IDENTITY = "run.json"
SUMMARY = "summary.json"
STUDY = "study.json"
PARTITION = "partition.json"
HISTORY = "history"
BESIDE = "beside"
"""The folder of what ran beside a run, a run each, and the summary's table of comparisons."""
FREE_SETTINGS = ("workers", "cluster", "history", "idle", "keep", BESIDE)
"""Keys that may change when a run continues; they change no result."""
LATER_SETTINGS: Mapping[str, Any] = {
    "privacy": None,
    "shuffle": False,
    "base": None,
    "mix": "never",
    "replay": None,
    "buffer": None,
    "max_staleness": 10,
    "robust": "none",
    "secure": False,
    "label_column": None,
    "image_column": None,
    "client_column": None,
    "optimizer": "sgd",
    "schedule": "constant",
    "augment": None,
    "metrics": [],
    "hyperparameters.own_prior": False,
    "hyperparameters.second_order": False,
    # Of class statistics, whose clients train a network only where it is asked for.
    "hyperparameters.network": False,
    "hyperparameters.network_rounds": 50,
    "hyperparameters.local_epochs": 1,
    "hyperparameters.local_lr": 0.01,
}
"""Keys that runs of older versions lack, and what those runs did."""
WHOLE = ("models_by_client",)
"""Tables too long to name their differing keys one by one."""


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Have a run's folder for this process alone; make it if it is not there.

    The lock is on the folder itself, leaves no file, and ends with the process, however that ends.
    A folder that cannot be made or locked is not held: `claim` says what is wrong with it.

    Raises:
        TakenError: if another process is at work in it.
    """
    handle = None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if handle is not None and error.errno == errno.EAGAIN:
            os.close(handle)
            problem = "another process is at work in it"
            remedy = "wait until it has ended, or name another folder with --out"
            raise TakenError(f"out {folder}", problem, remedy) from error
    try:
        yield
    finally:
        if handle is not None:
            os.close(handle)


def claim(folder: Path, config: Mapping[str, Any], again: bool = False) -> bool:
    """Make the folder this run's, or find that it is so already.

    A run that other versions began continues, with a warning: its folder tells which. So does one
    whose own code cannot be compared, as between two minor versions of Python.

    Args:
        folder: made if it is not there.
        config: all that decides the run's results; JSON values only.
        again: take a finished run, too.

    Returns:
        whether it is finished.

    Raises:
        RunError: if the folder cannot be written, holds another run, or this run finished.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        taken = not atomic_files.is_empty(folder)
        if not taken:
            atomic_files.write_json(folder / IDENTITY, config)
    except OSError as error:
        problem = f"cannot be written ({error.strerror})"
        raise RunError(f"out {folder}", problem, "name another folder with --out") from error
    return taken and _recognize(folder, config, again)


def _recognize(folder: Path, config: Mapping[str, Any], again: bool) -> bool:
    remedy = "name another folder with --out, or remove this one"
    try:
        held = atomic_files.read_json(folder / IDENTITY)
        differing = differences(held, config)
    except (AttributeError, OSError, ValueError) as error:
        raise RunError(f"out {folder}", "is not empty, and holds no run", remedy) from error
    older = excused(held, config, differing)
    finished = (folder / SUMMARY).exists()
    if differing and (finished or differing != older):
        problem = f"holds another run: {', '.join(differing)}"
        raise RunError(f"out {folder}", problem, _with_its_own(held) + remedy)
    if finished and not again:
        problem = f"holds this very run, finished: see its {SUMMARY}"
        raise RunError(f"out {folder}", problem, f"to run it again, {remedy}")
    if older:
        unknown = any(not each.startswith("versions.") for each in older)
        log.warning(
            "out %s: continuing a run that other versions began: %s; its last digits may differ"
            " from those of either version alone%s",
            folder,
            ", ".join(older),
            "; whether your own code has changed cannot be told" if unknown else "",
        )
    return finished


def excused(held: Mapping[str, Any], wanted: Mapping[str, Any], differing: list[str]) -> list[str]:
    """Return the differences with which a run goes on: versions, and digests that go by them.

    Bytecode is another one for each minor version of Python, and a network of torch's may have
    other facts in another torch; runs of older versions have no digest.

    Args:
        held: a folder's configuration.
        wanted: that of the run that goes on.
        differing: their `differences`.
    """
    kinds = ["versions."]
    if "code" not in held or _tells_code_by(held) != _tells_code_by(wanted):
        kinds.append("code.")
    if "code_weights" not in held:
        kinds.append("code_weights.")
    return [each for each in differing if each.startswith(tuple(kinds))]


def _tells_code_by(config: Mapping[str, Any]) -> tuple[Any, ...]:
    """Return the versions that a digest of code depends on."""
    told = _flat(config)
    python = str(told.get("versions.python")).split(".")[:2]
    return python, told.get("versions.torch"), told.get("versions.edgeloop")


def _with_its_own(held: Mapping[str, Any]) -> str:
    """Return what else to do where another edgeloop began a run: its defaults may be others."""
    began = held.get("versions", {}).get("edgeloop")
    return "" if began in (None, version("edgeloop")) else f"go on with edgeloop {began}, or "


def claim_study(folder: Path, identity: Mapping[str, Any]) -> None:
    """Make the folder this study's, or find that it is so already; it may then be added to.

    Args:
        folder: made if it is not there.
        identity: all that decides any result of the study; JSON values only.

    Raises:
        RunError: if it holds another study, or cannot be written.
    """
    path = folder / STUDY
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if atomic_files.is_empty(folder):
            atomic_files.write_json(path, identity)
        held = atomic_files.read_json(path)
    except (OSError, ValueError) as error:
        problem = f"holds something else, or cannot be written ({error})"
        raise RunError(f"out {folder}", problem, "name another folder with --out") from error
    if differing := differences(held, identity):
        problem = f"holds another study: {', '.join(differing)}"
        raise RunError(f"out {folder}", problem, "name another folder with --out")


@contextmanager
def new_study(folder: Path, identity: Mapping[str, Any]) -> Iterator[None]:
    """Claim a folder as `claim_study` does; bad input before the first run leaves it as it was.

    Raises:
        RunError: as of `claim_study`.
    """
    begun = folder.is_dir() and not atomic_files.is_empty(folder)
    claim_study(folder, identity)
    try:
        yield
    except EdgeloopError:
        if not begun and not any(folder.rglob(IDENTITY)):
            shutil.rmtree(folder, ignore_errors=True)  # all in it is this study's, and no result
        raise


def differences(held: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    """Say which keys of two configurations differ, and how where that is short."""
    there, here = (
        {**LATER_SETTINGS, **_flat(held)},
        {**LATER_SETTINGS, **_flat(json.loads(json.dumps(wanted)))},
    )
    keys = [key for key in {**there, **here} if there.get(key) != here.get(key)]
    return [_difference(key, there, here) for key in keys if key not in FREE_SETTINGS]


def flat(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a configuration's values by their whole keys, as `hyperparameters.lr`."""
    return _flat(config)


def _difference(key: str, there: Mapping[str, Any], here: Mapping[str, Any]) -> str:
    texts = [str(side.get(key, "nothing")) for side in (there, here)]
    if max(map(len, texts)) > 40:
        return key
    return f"{key} ({texts[0]} there, {texts[1]} here)"


def _flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, dict) and value and key not in WHOLE:
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat
