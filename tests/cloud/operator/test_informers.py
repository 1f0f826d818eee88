"""What a namespace holds, as lists and watches tell of it, in whichever order answers come."""

import queue
from collections.abc import Iterator

from kubernetes.client.exceptions import ApiException

from cloud.operator.informers import GONE, Informer
from tests.cloud.operator.cluster import Object, wait


def thing(name: str, version: int, **more: object) -> Object:
    return {"metadata": {"name": name, "resourceVersion": str(version)}, **more}


class Told:
    """An API server that says what a test has it say."""

    def __init__(self, *lists: Object | ApiException) -> None:
        self.lists: queue.Queue[Object | ApiException] = queue.Queue()
        self.events: queue.Queue[Object | ApiException | None] = queue.Queue()
        self.watched: list[str] = []
        for each in lists:
            self.lists.put(each)
        self.informer = Informer("things", self._listed, self._watched)

    def _listed(self) -> Object:
        found = self.lists.get()
        if isinstance(found, ApiException):
            raise found
        return found

    def _watched(self, version: str) -> Iterator[Object]:
        self.watched.append(version)
        while (event := self.events.get()) is not None:
            if isinstance(event, ApiException):
                raise event
            yield event

    def says(self, change: str, held: Object) -> None:
        """Have a watch tell of a change."""
        self.events.put({"type": change, "object": held})


def listed(version: int, *things: Object) -> Object:
    return {"metadata": {"resourceVersion": str(version)}, "items": list(things)}


def started(*lists: Object | ApiException) -> Told:
    told = Told(*lists)
    told.informer.start()
    return told


def test_a_list_and_what_has_changed_since() -> None:
    told = started(listed(5, thing("b", 3), thing("a", 4)))
    assert told.informer.wait(30)
    assert [each["metadata"]["name"] for each in told.informer.found()] == ["a", "b"]
    told.says("MODIFIED", thing("a", 6, x=1))
    told.says("ADDED", thing("c", 7))
    told.says("DELETED", thing("b", 8))
    wait("the last one", lambda: told.informer.get("b") is None)
    assert told.informer.get("a") == thing("a", 6, x=1)
    assert told.informer.get("c") == thing("c", 7)
    told.events.put(None)
    wait("another watch", lambda: told.watched == ["5", "8"])


def test_what_was_written_is_known_before_the_watch_tells() -> None:
    told = started(listed(5, thing("a", 4)))
    assert told.informer.wait(30)
    told.informer.learn(thing("a", 9, x=2))
    assert told.informer.get("a") == thing("a", 9, x=2)
    told.says("MODIFIED", thing("a", 6, x=1))  # from before
    told.says("ADDED", thing("b", 7))
    wait("the watch", lambda: told.informer.get("b"))
    assert told.informer.get("a") == thing("a", 9, x=2)


def test_an_answer_that_comes_after_a_deletion_brings_nothing_back() -> None:
    told = started(listed(5, thing("a", 4)))
    assert told.informer.wait(30)
    told.says("MODIFIED", thing("a", 6))
    told.says("DELETED", thing("a", 7))
    wait("it is gone", lambda: told.informer.get("a") is None)
    told.informer.learn(thing("a", 6))
    assert told.informer.get("a") is None


def test_a_version_that_is_forgotten_has_all_listed_again() -> None:
    told = started(listed(5, thing("a", 4)), listed(9, thing("b", 8)))
    assert told.informer.wait(30)
    told.events.put(ApiException(status=GONE))
    wait("another list", lambda: told.informer.get("b"))
    assert told.informer.get("a") is None
    assert told.informer.is_current


def test_who_may_not_list_knows_nothing() -> None:
    told = started(listed(5, thing("a", 4)), ApiException(status=403), listed(9, thing("b", 8)))
    assert told.informer.wait(30)
    told.events.put(ApiException(status=403))
    wait("it knows that", lambda: not told.informer.is_current)
    wait("it may again", lambda: told.informer.is_current)
    assert told.informer.get("b")
