"""What keeps a device from going on is in its presence, too: whoever waits for it reads why."""

import errno
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edge.agent import patience
from edge.agent import presence as presences
from edge.agent.inbox import Inbox
from edge.agent.presence import PresenceTeller
from edgeloop.errors import StorageError
from edgeloop.mqtt.connection import Arrival, MqttConnection
from edgeloop.mqtt.messages import Trust
from edgeloop.protocol.presence import Presence, State, presence_of
from edgeloop.protocol.task import Opening, contract_topic, presence_topic, round_topic
from edgeloop.runtime.config import BrokerSettings
from tests.devices import at_work, wait_until
from tests.edge.hand_made import cloud, device, pairs
from tests.one_device import write_data


class Link:
    """A connection on which nothing travels: what has come, and what was said."""

    def __init__(self) -> None:
        self.come: list[Arrival] = []
        self.said: list[Presence] = []

    def receive_all(self, seconds: float, most: int) -> list[Arrival]:
        found, self.come = self.come, []
        return found

    def say_presence(self, notes: Any) -> None:
        found = presence_of(notes)
        assert found is not None
        self.said.append(found)

    def reasons(self) -> list[str]:
        return [each.reason for each in self.said]


@pytest.fixture
def link() -> Link:
    return Link()


@pytest.fixture
def teller(link: Link, monkeypatch: pytest.MonkeyPatch) -> Iterator[PresenceTeller]:
    monkeypatch.setattr(presences, "DELAY_SECONDS", 0.01)
    made = PresenceTeller(link)  # type: ignore[arg-type]
    made.resume()
    yield made
    made.rest()


def signed(topic: str, payload: bytes, at: int) -> Arrival:
    return Arrival(topic, payload, lambda: None, trust=Trust(at, "aggregator of t"))


def opening(number: int) -> bytes:
    return Opening(run="r", round=number, digest="0" * 64, slot=0, size=1).text().encode()


def test_what_is_not_believed_in_mid_run(
    tmp_path: Path, link: Link, teller: PresenceTeller
) -> None:
    inbox = Inbox(link, "t", tmp_path, teller)  # type: ignore[arg-type]
    link.come = [
        signed(contract_topic("t"), b"x", 2000),
        signed(round_topic("t"), opening(4), 9000),
    ]
    assert inbox.receive(0)
    teller.say(State.ANSWERED, "r", 4)
    link.come = [signed(round_topic("t"), opening(5), 1000)]
    inbox.receive(0)
    inbox.receive(0)
    why = "ignored the opening of a round: it was signed 8.0 s before the last one: somebody sends"
    wait_until(lambda: any(each.startswith(why) for each in link.reasons()))
    assert (link.said[-1].state, link.said[-1].round) == ("answered", 4)
    teller.say(State.TRAINING, "r", 5)
    wait_until(lambda: link.said[-1].state == "training")
    assert link.said[-1].reason == "", "it goes on"


def test_a_disk_that_is_full(
    link: Link, teller: PresenceTeller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience, "AGAIN_SECONDS", 0.05)
    teller.say(State.TRAINING, "r", 3)

    def write() -> str:
        if not any(link.reasons()):
            why = OSError(errno.ENOSPC, "No space left on device")
            raise StorageError("folder x", f"cannot be written ({why.strerror})", "free some")
        return "written"

    assert patience.until_written(write, teller.obstacle) == "written"
    assert "folder x: cannot be written (No space left on device); free some" in link.reasons()
    wait_until(lambda: link.said[-1].reason == "")
    assert link.said[-1].state == "training"


@pytest.mark.broker
def test_a_task_that_was_restored_from_a_backup(tmp_path: Path, broker: BrokerSettings) -> None:
    settings = device(write_data(tmp_path / "data"), broker, tmp_path / "one")
    why = "round 0 is open, and round 1 was answered: nothing is sent; if the task was restored"

    with (
        cloud(settings, rounds=3) as made,
        MqttConnection(broker, "spy", [presence_topic("t", "one")]) as spy,
        at_work(settings),
    ):
        for number in (0, 1, 0):
            made.open(number, pairs(number))
            if number == 1 or not made.received:
                made.answer()
        while not said(spy).startswith(why):
            pass


def said(spy: MqttConnection) -> str:
    """Return the reason of the next presence."""
    event = spy.receive(30)
    assert isinstance(event, Arrival), "nothing more is said"
    event.acknowledge()
    found = presence_of(event.notes)
    return "" if found is None else found.reason


def test_what_is_in_use_stays_said_until_another_run(teller: PresenceTeller) -> None:
    teller.say(State.SLEEPING, "r", in_use="in use: a mixture")
    for state, reason in ((State.ANSWERED, ""), (State.SLEEPING, "not in its hours")):
        teller.say(state, "r", 4, reason)
        assert (teller._said.in_use, teller._said.reason) == ("in use: a mixture", reason)
    teller.say(State.SLEEPING, "r", in_use="in use: what was learned alone")
    assert teller._said.in_use == "in use: what was learned alone"
    teller.say(State.WAITING, "s")
    assert teller._said.in_use == ""
