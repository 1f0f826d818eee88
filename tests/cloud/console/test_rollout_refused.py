"""Roll-outs over brokers that refuse some of what they are to keep: it is told again."""

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from cloud.console.rollouts import carrying
from cloud.console.rollouts.carrying import Line
from cloud.console.rollouts.files import Files
from cloud.console.rollouts.service import Rollouts
from cloud.console.sources import Sighting
from cloud.console.store import Store
from cloud.console.taking import take
from edgeloop.errors import BrokerError
from edgeloop.protocol.rollout import desired_topic, shipped_topic
from edgeloop.remote.rollouts import NewGroup, NewRollout, Rollout
from edgeloop.runtime.config import BrokerSettings

BROKER = BrokerSettings(port=1)
CONTENT = b"a classifier"
NAMES = ["press-1", "press-2", "press-3"]


class Link:
    """A connection to a broker that keeps what it does not refuse.

    Attributes:
        kept: what it keeps, by topics.
        raises: topics on which the next message is not taken.
        refuses: topics that the broker refuses with its answer.
    """

    connected = True

    def __init__(self, *_: object, **__: object) -> None:
        self.kept: dict[str, bytes] = {}
        self.raises: set[str] = set()
        self.refuses: set[str] = set()
        self._refused: set[str] = set()

    def __enter__(self) -> "Link":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def chunks_of(self, content: bytes) -> list[bytes]:
        return [content]

    def publish_retained(self, topic: str, payload: bytes) -> None:
        self.publish(f"{topic}/0", payload, retain=True)

    def publish(self, topic: str, payload: bytes, *, retain: bool) -> None:
        if topic in self.raises:
            self.raises.remove(topic)
            raise BrokerError("broker", "takes no message", "see its log")
        self._refused.discard(topic)
        if topic in self.refuses:
            self._refused.add(topic)
        elif retain and payload:
            self.kept[topic] = payload

    def flush(self, _seconds: float) -> bool:
        return not self._refused

    def refusals(self) -> list[str]:
        return sorted(self._refused)

    def is_refused(self, topic: str) -> bool:
        return topic in self._refused

    def receive_all(self, _patience: float, _most: int) -> list[Any]:
        return []


@pytest.fixture
def link(monkeypatch: pytest.MonkeyPatch) -> Link:
    found = Link()
    monkeypatch.setattr(carrying, "MqttConnection", lambda *_, **__: found)
    return found


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Rollouts]:
    """A server's roll-outs of task doors."""
    source = SimpleNamespace(broker=lambda _: BROKER)
    with closing(Store(f"sqlite:///{tmp_path / 'server.sqlite'}")) as store:
        take(store, "aggregator", [Sighting("doors", "Running")])
        follower = cast(Any, SimpleNamespace(source=lambda _: source))
        with closing(Rollouts(store, follower, Files(tmp_path))) as found:
            yield found


@pytest.fixture
def sha256(service: Rollouts) -> str:
    """Of a file that goes to all devices."""
    digest = service.files.keep(CONTENT).sha256
    facts: dict[str, Any] = {"name": "next", "task": "doors", "kind": "model", "sha256": digest}
    now = datetime.now(UTC)
    more: dict[str, Any] = {"state": "running", "actor": "ada", "begun": now, "changed": now}
    made = Rollout(**facts, **more, rollout="r1", size=len(CONTENT))
    service.rollouts.create(made, NewRollout(**facts, groups=(NewGroup(),)), [NAMES])
    return digest


def test_no_group_begins_without_its_file(service: Rollouts, sha256: str, link: Link) -> None:
    place = f"{shipped_topic('doors', sha256)}/0"
    link.raises.add(place)
    service.turn()
    assert not link.kept
    assert service.rollouts.rollout("r1").groups[0].state == "scheduled"
    service.turn()
    assert link.kept[place] == CONTENT
    assert service.rollouts.rollout("r1").groups[0].state == "running"


def test_who_was_not_told_is_told_by_the_next_turn(
    service: Rollouts, sha256: str, link: Link
) -> None:
    wanted = {desired_topic("doors", name, "model") for name in NAMES}
    link.raises.add(desired_topic("doors", "press-2", "model"))
    service.turn()
    assert service.rollouts.rollout("r1").groups[0].state == "running"
    assert not wanted <= link.kept.keys()
    service.turn()
    assert wanted <= link.kept.keys()


def test_a_file_that_was_refused_is_shipped_again(link: Link) -> None:
    line, place = Line("doors", BROKER), f"{shipped_topic('doors', 'a' * 64)}/0"
    line.is_fresh, link.refuses = False, {place}
    line.ship("a" * 64, CONTENT)
    line.ship("b" * 64, CONTENT)
    assert not line.flush()
    assert line.is_fresh, "the orders are told again, too"
    link.refuses.clear()
    link.kept.clear()
    line.ship("a" * 64, CONTENT)
    line.ship("b" * 64, CONTENT)
    assert link.kept.keys() == {place}, "the other one is there"
    assert line.flush()
