"""Whether what a task says was said before: a signed message can be kept, and sent again later.

    signed.json   when the newest contract and opening were signed, and which they are

What is older than the newest is a replay, unless it is that one: a broker sends again what it
keeps. A receipt needs no such look: it is of one answer's bytes, and stays true.
"""

import hashlib
import logging
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from edge.agent.patience import until_written
from edgeloop.mqtt.connection import Arrival
from edgeloop.protocol.task import Opening, contract_topic, round_topic
from edgeloop.runtime import atomic_files

log = logging.getLogger(__name__)

FILE = "signed.json"


class Freshness:
    """The newest contract and opening that a device has heard.

    Args:
        folder: the device's.
        task: its own.
    """

    def __init__(self, folder: Path, task: str) -> None:
        self._path, self._task = folder / FILE, task
        self._kinds = {contract_topic(task): "contract", round_topic(task): "round"}
        self._newest: dict[str, tuple[int, str]] | None = None

    def refusal(self, arrival: Arrival) -> str:
        """Return why a message that is signed is an old one; empty if it is not."""
        kind, at = self._kinds.get(arrival.topic), arrival.trust.at
        if kind is None or not at:
            return ""
        newest, what = self._read(), _identity(kind, arrival.payload)
        before = newest.get(kind, (0, ""))
        if at >= before[0]:
            newest[kind] = at, what
            if what != before[1]:
                until_written(partial(self._write, newest))
            return ""
        if what == before[1]:
            return ""
        seconds = (before[0] - at) / 1000
        return (
            f"it was signed {seconds:.1f} s before the last one: somebody sends it again; if the"
            f" aggregator's clock was set back, remove {self._path}"
        )

    def _read(self) -> dict[str, tuple[int, str]]:
        if self._newest is None:
            self._newest = _kept(self._path, self._task)
        return self._newest

    def _write(self, newest: dict[str, tuple[int, str]]) -> None:
        with atomic_files.writing(self._path.parent):
            content: dict[str, Any] = {"task": self._task, **newest}
            atomic_files.write_checked_json(self._path, content)


def _kept(path: Path, task: str) -> dict[str, tuple[int, str]]:
    try:
        found = atomic_files.read_json(path)
        kept = {str(kind): pair for kind, pair in found.items() if kind != "task"}
        read = {kind: (int(at), str(what)) for kind, (at, what) in kept.items()}
        return read if found["task"] == task else {}
    except FileNotFoundError:
        return {}
    except (OSError, LookupError, TypeError, ValueError) as error:
        log.warning("%s is damaged (%s): an old contract could be taken for a new one", path, error)
        return {}


def _identity(kind: str, payload: bytes) -> str:
    """Return which contract, or the opening of which round, a message is."""
    if kind == "round":
        try:
            opening = Opening.model_validate_json(payload)
        except ValidationError:
            pass
        else:
            return f"{opening.run}/{opening.round}"
    return hashlib.sha256(payload).hexdigest()
