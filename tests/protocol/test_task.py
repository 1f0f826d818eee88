"""Names of a task, and what they make unique."""

from itertools import combinations
from pathlib import Path

import pytest

from edge.agent.settings import DeviceSettings
from edgeloop.errors import ConfigError
from edgeloop.protocol.task import client_id, is_addressed_to, is_reminder, reminder
from edgeloop.runtime.config import parse


def test_no_two_have_one_client_id() -> None:
    names = ["a", "b", "c", "a.b", "b.c", "a-b", "a_2Eb", "a.b.c"]
    ids = {(task, name): client_id(task, name) for task in names for name in names}
    assert all(ids[one] != ids[other] for one, other in combinations(ids, 2))
    assert client_id("t", "press-1") == "edgeloop.t.press-1"


@pytest.mark.parametrize("source", ["device.toml", "--name"])
def test_a_device_is_not_called_as_the_server_is(tmp_path: Path, source: str) -> None:
    table = {"task": "t", "folder": str(tmp_path), "data": {"source": "x"}}
    expected = f"{source}: name: a device may not be called aggregator"
    with pytest.raises(ConfigError, match=expected):
        parse({**table, "name": "aggregator"}, DeviceSettings, source)
    assert parse({**table, "name": "aggregator-2"}, DeviceSettings, source).name == "aggregator-2"


def test_a_reminder_names_who_is_missing() -> None:
    notes = reminder(["b", "a"])
    assert is_reminder(notes)
    assert is_addressed_to(notes, "a")
    assert not is_addressed_to(notes, "c")
    assert is_addressed_to(reminder([f"device-{number}" for number in range(1000)]), "c")
    assert is_addressed_to({}, "c")
    assert not is_reminder({})
