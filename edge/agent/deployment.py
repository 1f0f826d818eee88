"""The classifier that a device has in use: put there whole, the one before kept, and gone back to.

    model.onnx             in use
    model.previous.onnx    the one that was in use before
    model.candidate.onnx   one that is being made, or looked at
    model.bad.onnx         the last one that was taken out of use
    deployment.json        which is which, by SHA-256, and what was decided lately

What is about to be done is written down first. So a process that is killed at any moment leaves a
classifier in use that is whole, the old one or the new one, and `settle` then brings the record up
to date. A file that neither the record nor what was about to be done explains is somebody else's,
or damaged.
"""

import logging
import shutil
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from edge.agent import predict
from edge.agent.store import MODEL, PREVIOUS
from edgeloop.errors import ModelError
from edgeloop.runtime import atomic_files

log = logging.getLogger(__name__)

RECORD = "deployment.json"
CANDIDATE, BEFORE, BAD = "model.candidate.onnx", "model.previous.onnx", "model.bad.onnx"
ASKED = "rollback.asked"
"""A file by which somebody else asks a running agent to go back to the model before."""

EVENTS = 50
"""Decisions that the record keeps, the last ones."""

IN_USE, NEXT, SHA256, ROUND, RUN = "in_use", "next", "sha256", "round", "run"

Facts = dict[str, Any]


class Deployment:
    """What is in use in one device's folder; only the process that holds the folder changes it.

    Args:
        folder: of the device.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.model, self.before = folder / MODEL, folder / BEFORE
        self.candidate = folder / CANDIDATE

    def record(self) -> Facts:
        """Return what is written down; empty where nothing is that can be read."""
        with suppress(OSError, ValueError, AttributeError):
            found = atomic_files.read_json(self.folder / RECORD)
            return found if isinstance(found.get("events"), list) else {}
        return {}

    def settle(self) -> str:
        """Bring the record up to date after a kill; return what is wrong with the file in use.

        Raises:
            OSError: if the folder cannot be read or written.
        """
        found, digest = self.record(), _digest(self.model)
        if digest is None and not found.get(IN_USE):
            return ""
        if found.get(NEXT) and digest == found[NEXT][SHA256]:
            self._commit(found)
        elif not found.get(IN_USE) and digest is not None:
            self._write({IN_USE: facts_of(self.model, digest), "events": []})
        elif digest != found[IN_USE][SHA256]:
            return "is gone" if digest is None else "has other bytes than were put into use"
        return ""

    def put(self, candidate: Path, why: str = "") -> None:
        """Put a classifier into use: its file is moved there; the one in use is kept beside it.

        Raises:
            OSError: if the folder cannot be written.
        """
        problem = self.settle()
        digest, found = atomic_files.digest(candidate), self.record()
        if not problem and digest == found.get(IN_USE, {}).get(SHA256):
            candidate.replace(self.model)
            return
        after = facts_of(candidate, digest)
        previous = found.get("previous") if problem else found.get(IN_USE)
        doing = {**after, "did": "accepted", "why": why, "previous": previous}
        self._write({**found, NEXT: doing})
        if found.get(IN_USE) and not problem:
            _copy(self.model, self.before)
        atomic_files.sync(candidate)
        candidate.replace(self.model)
        atomic_files.sync(self.folder)
        self._commit(self.record())

    def refuse(self, why: str) -> None:
        """Write down that the candidate is not put into use, and remove it."""
        digest = _digest(self.candidate)
        after = {} if digest is None else facts_of(self.candidate, digest)
        found = self.record()
        self._write(_with_event(found, {**after, "did": "refused", "why": why}))
        self.candidate.unlink(missing_ok=True)

    def roll_back(self, why: str) -> bool:
        """Take the classifier out of use, and go back to the one before; tell whether there is one.

        The one that was in use is kept as `model.bad.onnx`.

        Raises:
            OSError: if the folder cannot be written.
        """
        found = self.record()
        place = self._usable_before(found)
        if place is None:
            return False
        after = facts_of(place, atomic_files.digest(place))
        doing = {**after, "did": "rolled back", "why": why, "previous": None}
        self._write({**found, NEXT: doing})
        if self.model.exists():
            _copy(self.model, self.folder / BAD)
        _copy(place, self.model)
        self._commit(self.record())
        return True

    def usable_before(self) -> Path | None:
        """Return the classifier before, if there is another one than in use, whole."""
        return self._usable_before(self.record())

    def _usable_before(self, found: Mapping[str, Any]) -> Path | None:
        now = found.get(IN_USE, {}).get(SHA256)
        noted = found.get("previous", {}).get(SHA256)
        if noted is not None and noted != now and _digest(self.before) == noted:
            return self.before
        places = (self.folder / PREVIOUS).glob(f"*/{MODEL}")
        for place in sorted(places, key=lambda each: each.parent.stat().st_mtime_ns, reverse=True):
            if _digest(place) != now and _opens(place):
                return place
        return None

    def _commit(self, found: Facts) -> None:
        """Write down that what was about to be done is done."""
        done = {**found[NEXT]}
        previous = done.pop("previous")
        after = {key: done[key] for key in (SHA256, RUN, ROUND)}
        kept = {IN_USE: after, "events": found["events"]}
        self._write(_with_event({**kept, "previous": previous} if previous else kept, done))

    def _write(self, record: Facts) -> None:
        atomic_files.write_checked_json(self.folder / RECORD, {"events": [], **record})


def facts_of(path: Path, digest: str) -> Facts:
    """Return what the record says of a classifier: which it is, and after which round of a run."""
    run = number = None
    with suppress(ModelError):
        model = predict.open_model(path)
        run, told = model.fact(RUN), model.fact(ROUND) or ""
        number = int(told) if told.isdecimal() else None
    return {SHA256: digest, RUN: run, ROUND: number}


def named(facts: Mapping[str, Any]) -> str:
    """Return which classifier the record means, for a person."""
    if facts.get(ROUND) is None:
        return str(facts.get(SHA256, "?"))[:12]
    return f"round {facts[ROUND]} of run {facts[RUN]}"


def _with_event(record: Facts, done: Mapping[str, Any]) -> Facts:
    event = {"at": time.time(), **done}
    return {**record, "events": [*record.get("events", []), event][-EVENTS:]}


def _digest(path: Path) -> str | None:
    try:
        return atomic_files.digest(path)
    except FileNotFoundError:
        return None


def _opens(path: Path) -> bool:
    try:
        predict.open_model(path)
    except ModelError:
        return False
    return True


def _copy(source: Path, target: Path) -> None:
    """Copy a file; a crash leaves the old target or the new one."""
    building = target.with_name(f".{target.name}.new")
    shutil.copyfile(source, building)
    atomic_files.sync(building)
    building.replace(target)
    atomic_files.sync(target.parent)
