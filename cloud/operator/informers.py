"""What a namespace holds, kept current by watches, so that a look at it asks nobody."""

import logging
import random
import threading
from collections.abc import Callable, Iterator
from typing import Any

from kubernetes.client.exceptions import ApiException
from urllib3.exceptions import HTTPError

log = logging.getLogger(__name__)

Object = dict[str, Any]

GONE = 410
"""What a watch is answered whose version is too old: then everything is listed again."""

_SHORTEST, _LONGEST = 0.5, 30.0  # seconds until a list or a watch that failed is tried again


class Informer:
    """The objects of one kind in one namespace.

    Args:
        what: it is of, for the log.
        listed: returns them all, as the API server lists them.
        watched: yields what changes after a version, as the API server tells it.
    """

    def __init__(
        self,
        what: str,
        listed: Callable[[], Object],
        watched: Callable[[str], Iterator[Object]],
    ) -> None:
        self._what, self._listed, self._watched = what, listed, watched
        self._lock = threading.Lock()
        self._objects: dict[str, Object] = {}
        self._seen = 0  # the newest version that a list or a watch has told
        self._current = threading.Event()

    @property
    def is_current(self) -> bool:
        """Whether it knows all objects; if not, they must be asked for."""
        return self._current.is_set()

    def wait(self, seconds: float) -> bool:
        """Wait until it knows all objects; return whether it does."""
        return self._current.wait(seconds)

    def start(self) -> None:
        """Follow the objects from a thread of its own, until the process ends."""
        threading.Thread(target=self._follow, name=f"informer {self._what}", daemon=True).start()

    def get(self, name: str) -> Object | None:
        """Return an object; None if there is none."""
        with self._lock:
            return self._objects.get(name)

    def found(self) -> list[Object]:
        """Return all objects, in the order of their names."""
        with self._lock:
            return [self._objects[name] for name in sorted(self._objects)]

    def learn(self, held: Object) -> None:
        """Take over an object as a write was answered, unless a newer state is known."""
        with self._lock:
            if version_of(held) > self._seen:  # else the watch has told it, and what came after
                self._keep(held)

    def _follow(self) -> None:
        delay = _SHORTEST
        while True:
            try:
                version = self._list()
                delay = _SHORTEST
                while True:
                    version = self._watch(version)
            except (ApiException, HTTPError, ValueError, KeyError) as error:
                if isinstance(error, ApiException) and error.status != GONE:
                    self._current.clear()  # whoever asks for himself is told why
                log.debug("%s: begins again: %s", self._what, error)
            threading.Event().wait(delay * random.uniform(0.5, 1.0))  # noqa: S311 - not a secret
            delay = min(2 * delay, _LONGEST)

    def _list(self) -> str:
        told = self._listed()
        version = str(told["metadata"]["resourceVersion"])
        with self._lock:
            known, self._objects = self._objects, {}
            self._seen = int(version)
            for each in told["items"]:
                self._keep(each)
            for each in known.values():
                if version_of(each) > self._seen:  # written since
                    self._keep(each)
        self._current.set()
        return version

    def _watch(self, version: str) -> str:
        """Take over what changes, until the API server ends it; return the newest version."""
        for event in self._watched(version):
            held = event["object"]
            version = str(held["metadata"]["resourceVersion"])
            with self._lock:
                self._seen = max(self._seen, int(version))
                if event["type"] == "DELETED":
                    self._drop(held)
                elif event["type"] in ("ADDED", "MODIFIED"):
                    self._keep(held)
        return version

    def _keep(self, held: Object) -> None:
        name = held["metadata"]["name"]
        known = self._objects.get(name)
        if known is None or version_of(known) <= version_of(held):
            self._objects[name] = held

    def _drop(self, held: Object) -> None:
        name = held["metadata"]["name"]
        known = self._objects.get(name)
        if known is not None and version_of(known) <= version_of(held):
            del self._objects[name]


def version_of(held: Object) -> int:
    """Return an object's version; later ones are larger (KEP-5504, and ever before)."""
    return int(held["metadata"].get("resourceVersion") or 0)
