"""What tasks have exchanged, round by round: generated images, prototypes and their margins.

It is read from the files that an aggregator with `history = true` writes: on this machine where it
is, and else through its HTTP interface. Nothing of it is kept for longer than half a minute: a
device that is taken out of a task is out of what is shown, too.

Shape suffixes: N uploaded prototypes, D their entries, P entries of one input.
"""

import math
import tempfile
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cloud.console.following import Follower
from cloud.console.sources import Sighting
from cloud.console.store import UnknownError
from edgeloop import round_history
from edgeloop.remote.models import ClassKnowledge, RoundKnowledge
from edgeloop.remote.models import Knowledge as Kept
from edgeloop.showing import pictures
from edgeloop.showing.margins import class_margins
from edgeloop.showing.rounds import Round, read_round

REMEMBERED, REMEMBERED_SECONDS = 8, 30.0
"""Rounds that are kept in memory, while a page asks for the images of one, and for how long."""


@dataclass(frozen=True)
class Mark:
    """A prototype on a map.

    Attributes:
        x: to the right, from 0 to 1.
        y: downwards.
        label: the class's number.
        owner: the device that uploaded it; empty for the broadcast's own.
    """

    x: float
    y: float
    label: int
    owner: str


@dataclass(frozen=True)
class Map:
    """A round's prototypes on the plane of their first two principal components.

    Attributes:
        marks: uploads, then what was broadcast.
        share: of the prototypes' variance that lies on the plane.
    """

    marks: tuple[Mark, ...]
    share: float


class Knowledge:
    """Reads what tasks have exchanged; any thread may ask.

    All methods raise an UnknownError if a task, a round or an image is not there, an
    UnavailableError if its aggregator is away, and a RunError if a file is damaged.

    Args:
        follower: knows where tasks are run.
        clock: seconds that never go back.
    """

    def __init__(self, follower: Follower, clock: Callable[[], float] = time.monotonic) -> None:
        self._follower, self._clock = follower, clock
        self._lock = threading.Lock()
        self._held: OrderedDict[tuple[str, int], tuple[float, Round]] = OrderedDict()

    def kept(self, task: str) -> Kept:
        """Return of which rounds there is a file."""
        seen = self._seen(task)
        if seen.folder is not None:
            numbers = round_history.kept(seen.folder / "history")
        else:
            numbers = [] if seen.aggregator is None else seen.aggregator.history()
        return Kept(rounds=tuple(numbers), class_names=class_names(seen))

    def told(self, task: str, number: int) -> RoundKnowledge:
        """Return what a round has exchanged."""
        found, names = self.round(task, number), class_names(self._seen(task))
        count = 0 if found.images is None else len(found.images)
        return RoundKnowledge(number=number, images=count, classes=_margins(found, names))

    def image(self, task: str, number: int, label: int) -> bytes:
        """Return the image of a class that a round has led to, as PNG."""
        images_NP, shape = self.round(task, number).images, _shape(self._seen(task))
        if images_NP is None or not 0 <= label < len(images_NP):
            raise UnknownError(f"class {label}", "has no image in this round", "take another one")
        if images_NP.dtype != np.uint8 or images_NP[0].size != math.prod(shape) or not shape:
            raise UnknownError(f"class {label}", "has no image of the task's shape", "see its file")
        return pictures.png(images_NP[label], shape)

    def map(self, task: str, number: int) -> Map | None:
        """Return where a round's prototypes are; None where it has none that are finite."""
        return _map(self.round(task, number))

    def round(self, task: str, number: int) -> Round:
        """Return a round."""
        key = task, number
        with self._lock:
            held = self._held.get(key)
        if held is not None and self._clock() < held[0]:
            return held[1]
        found = self._read(self._seen(task), number)
        with self._lock:
            self._held[key] = self._clock() + REMEMBERED_SECONDS, found
            while len(self._held) > REMEMBERED:
                self._held.popitem(last=False)
        return found

    def _seen(self, task: str) -> Sighting:
        found = self._follower.sighting(task)
        if found is None:
            raise UnknownError(task[:80], "has not been seen since the server's start", "try later")
        return found

    def _read(self, seen: Sighting, number: int) -> Round:
        if seen.folder is not None:
            path = round_history.file_of(seen.folder / "history", number)
            if not path.is_file():
                raise _not_kept(number)
            return read_round(path)
        content = b"" if seen.aggregator is None else seen.aggregator.round_file(number)
        if not content:
            raise _not_kept(number)
        with tempfile.TemporaryDirectory() as folder:
            path = round_history.file_of(Path(folder), number)
            path.write_bytes(content)
            return read_round(path)


def class_names(seen: Sighting) -> tuple[str, ...]:
    """Return the names of a task's classes; none where nobody says."""
    return seen.class_names or (() if seen.reported is None else seen.reported.class_names)


def class_name(names: tuple[str, ...], label: int) -> str:
    """Return a class's name, or its number where it has none."""
    return names[label] if label < len(names) else f"class {label}"


def _shape(seen: Sighting) -> tuple[int, ...]:
    return seen.shape or (() if seen.reported is None else seen.reported.shape)


def _not_kept(number: int) -> UnknownError:
    return UnknownError(f"round {number}", "is not kept", "set history = true for the task")


def _margins(found: Round, names: tuple[str, ...]) -> tuple[ClassKnowledge, ...]:
    points_ND = found.arrays.get("prototypes")
    if points_ND is None or not len(points_ND) or not np.isfinite(points_ND).all():
        return ()
    return tuple(
        ClassKnowledge(
            label=each.label,
            name=class_name(names, each.label),
            count=each.count,
            spread=each.spread,
            nearest=None if each.nearest is None else class_name(names, each.nearest),
            margin=each.margin,
            apart=each.is_apart,
        )
        for each in class_margins(points_ND, found.arrays["labels"])
    )


def _map(found: Round) -> Map | None:
    uploads = found.arrays.get("prototypes", np.zeros((0, 0)))
    known = found.global_prototypes()
    points = [*uploads, *known.values()]
    if not points or len({each.shape for each in points}) > 1:
        return None
    points_ND = np.stack(points).astype(np.float64)
    if points_ND.ndim != 2 or not points_ND.size or not np.isfinite(points_ND).all():
        return None
    plane = pictures.plane(points_ND[: len(uploads)] if len(uploads) else points_ND)
    places_N2 = plane.project(points_ND)
    low_2 = places_N2.min(axis=0)
    extent = float((places_N2.max(axis=0) - low_2).max()) or 1.0
    owners = [
        *(found.devices[each] for each in found.arrays.get("devices", ())),
        *("",) * len(known),
    ]
    labels = [*found.arrays.get("labels", ()), *known]
    marks = [
        Mark(float(x), 1.0 - float(y), int(label), owner)
        for (x, y), label, owner in zip((places_N2 - low_2) / extent, labels, owners, strict=True)
    ]
    return Map(tuple(marks), float(plane.shares_2.sum()))
