"""A run's folder: which run it holds, and files that are whole or not there."""

import json
import logging
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from edgeloop import files
from edgeloop.errors import RunError

log = logging.getLogger(__name__)

IDENTITY = "run.json"
SUMMARY = "summary.json"
STUDY = "study.json"
PARTITION = "partition.json"
HISTORY = "history"
FREE = ("workers", "history", "idle")
"""Keys that may change when a run goes on; they change no result."""
WHOLE = ("models_by_client",)
"""Tables too long to name their differing keys one by one."""


def claim(folder: Path, config: Mapping[str, Any]) -> None:
    """Make the folder this run's, or find that it is so already.

    A run that other versions began goes on, with a warning: its folder tells which.

    Args:
        folder: made if it is not there.
        config: all that decides the run's results; JSON values only.

    Raises:
        RunError: if the folder cannot be written, holds another run, or this run finished.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        taken = any(folder.iterdir())
        if not taken:
            files.write_json(folder / IDENTITY, config)
    except OSError as error:
        problem = f"cannot be written ({error.strerror})"
        raise RunError(f"out {folder}", problem, "name another folder with --out") from error
    if taken:
        _recognize(folder, config)


def _recognize(folder: Path, config: Mapping[str, Any]) -> None:
    remedy = "name another folder with --out, or remove this one"
    try:
        held = json.loads((folder / IDENTITY).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunError(f"out {folder}", "is not empty, and holds no run", remedy) from error
    differing = differences(held, config)
    older = [each for each in differing if each.startswith("versions.")]
    finished = (folder / SUMMARY).exists()
    if differing and (finished or differing != older):
        problem = f"holds another run: {', '.join(differing)}"
        raise RunError(f"out {folder}", problem, _with_its_own(held) + remedy)
    if finished:
        problem = f"holds this very run, finished: see its {SUMMARY}"
        raise RunError(f"out {folder}", problem, f"to run it again, {remedy}")
    if older:
        log.warning(
            "out %s: goes on with a run that other versions began: %s; its last digits may differ"
            " from those of either version alone",
            folder,
            ", ".join(older),
        )


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
        if not any(folder.iterdir()):
            files.write_json(path, identity)
        held = files.read_json(path)
    except (OSError, ValueError) as error:
        problem = f"holds something else, or cannot be written ({error})"
        raise RunError(f"out {folder}", problem, "name another folder with --out") from error
    if differing := differences(held, identity):
        problem = f"holds another study: {', '.join(differing)}"
        raise RunError(f"out {folder}", problem, "name another folder with --out")


def differences(held: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    """Say which keys of two configurations differ, and how where that is short."""
    there, here = _flat(held), _flat(json.loads(json.dumps(wanted)))
    keys = [key for key in {**there, **here} if there.get(key) != here.get(key)]
    return [_difference(key, there, here) for key in keys if key not in FREE]


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
