"""Looks at all tasks again and again, and says when one has changed."""

import hashlib
import logging
import threading
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from cloud.console.alone import AloneRuns
from cloud.console.sources import ImpossibleError, Sighting, Source
from cloud.console.store import Store
from cloud.console.taking import take, take_gone, take_models
from edgeloop.errors import EdgeloopError, UnavailableError
from edgeloop.remote.models import Model

log = logging.getLogger(__name__)

_FILES = ("*.onnx", "*.safetensors")


class Follower:
    """What is known of all tasks, kept up to date by `look`.

    Args:
        store: takes what is found.
        sources: where tasks are run.
        alone: adds what devices reach alone.
    """

    def __init__(
        self, store: Store, sources: Sequence[Source], alone: AloneRuns | None = None
    ) -> None:
        self._store, self._sources = store, sources
        self._alone = alone or AloneRuns({})
        self._of: dict[str, tuple[Source, Sighting]] = {}
        self._known: dict[Path, tuple[tuple[int, int], Model]] = {}
        self._changed = threading.Condition()
        self._changes: dict[str, int] = {}
        self._count = 0

    def look(self) -> None:
        """Look at all tasks once."""
        for source in self._sources:
            try:
                seen = source.look()
            except EdgeloopError as error:
                log.warning("cannot see the tasks of the %s: %s", source.kind, error)
                continue
            self._take(source, seen)

    def _take(self, source: Source, seen: Sequence[Sighting]) -> None:
        own = [each for each in seen if self._of.get(each.name, (source,))[0] is source]
        own = [self._alone.added(each) for each in own]
        for each in own:
            self._of[each.name] = source, each
        changed = take(self._store, source.kind, own)
        changed += take_gone(self._store, source.kind, source.has_gone, {each.name for each in own})
        for each in own:
            if each.folder is not None:
                take_models(self._store, each.name, self._models(each))
        self._tell(changed)

    def source(self, task: str) -> Source:
        """Return where a task is run.

        Raises:
            UnavailableError: if it has not been seen since the server's start.
        """
        return self._seen(task)[0]

    def place(self, kind: str) -> Source:
        """Return where new tasks are made, of a kind of places.

        Raises:
            ImpossibleError: if this server follows none of that kind.
        """
        for source in self._sources:
            if source.kind == kind:
                return source
        remedy = "name a stack, or namespaces, in the server's file"
        raise ImpossibleError("task", f"cannot be made: this server follows no {kind}", remedy)

    def sighting(self, task: str) -> Sighting | None:
        """Return a task as it was seen last; None if it was not since the server's start."""
        found = self._of.get(task)
        return None if found is None else found[1]

    def _seen(self, task: str) -> tuple[Source, Sighting]:
        found = self._of.get(task)
        if found is None:
            problem = "has not been seen since the server was started"
            raise UnavailableError(task[:80], problem, "try again when it is seen")
        return found

    def changed_since(self, number: int, seconds: float) -> tuple[int, list[str]]:
        """Wait for tasks to change; return the newest change's number, and whose they are.

        Args:
            number: of the last change that is known; negative for none.
            seconds: to wait, after which there are none.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._count > number, seconds)
            new = sorted(name for name, last in self._changes.items() if last > number)
            return self._count, new

    def _tell(self, changed: Sequence[str]) -> None:
        if not changed:
            return
        with self._changed:
            self._count += 1
            self._changes |= dict.fromkeys(changed, self._count)
            self._changed.notify_all()

    def _models(self, seen: Sighting) -> Iterator[Model]:
        places = [("", seen.folder), *seen.agents]
        for device, place in places:
            for pattern in _FILES:
                for path in sorted(place.glob(pattern)) if place is not None else ():
                    found = self._model(seen.name, device, path)
                    if found is not None:
                        yield found

    def _model(self, task: str, device: str, path: Path) -> Model | None:
        """Return what is to be said of a file; None if it is gone, or none that is given away."""
        if path.name == "state.safetensors":
            return None  # an agent's memory
        try:
            found = path.stat()
            stamp = found.st_mtime_ns, found.st_size
            held = self._known.get(path)
            if held is None or held[0] != stamp:
                model = _described(task, device, path)
                self._known[path] = held = stamp, model
        except OSError:
            return None
        return held[1]


def _described(task: str, device: str, path: Path) -> Model:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    found = path.stat()
    written = datetime.fromtimestamp(found.st_mtime, UTC)
    return Model(
        task=task,
        device=device,
        file=path.name,
        size=found.st_size,
        sha256=digest,
        written=written,
    )
