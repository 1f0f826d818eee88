"""A device leaves a task whose ledger is in PostgreSQL: the same bits, and nothing left of it."""

from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from edgeloop.runtime.config import BrokerSettings
from tests.cloud.test_ledger import rows
from tests.leaving import TASK, Scene
from tests.postgres import Postgres

pytestmark = [pytest.mark.broker, pytest.mark.postgresql]
PAYLOADS = (
    *("select payload from uploads where payload is not null",),
    *("select state from rounds where state is not null",),
    *("select broadcast from rounds where broadcast is not null",),
)


def held(url: str) -> bytes:
    """Return all bytes of messages that the database holds."""
    with psycopg.connect(url) as connection:
        found = [connection.execute(each).fetchall() for each in PAYLOADS]
    return b"".join(bytes(row[0]) for each in found for row in each)


def of(url: str, device: str) -> list[bytes]:
    """Return pieces of a device's uploads that nothing else has."""
    query = f"select payload from uploads where device = '{device}' and payload is not null"  # noqa: S608
    with psycopg.connect(url) as connection:
        return [bytes(row[0])[-120:-40] for row in connection.execute(query).fetchall()]


def said(scene: Scene, code: int, door: str, *flags: str, name: str = "") -> str:
    ended = scene.command(door, *flags, name=name)
    assert ended.returncode == code, ended.stderr
    return ended.stderr if code else ended.stdout


@pytest.mark.parametrize("by", ["the device", "its operator"])
def test_what_is_left_is_as_if_it_had_never_been_there(
    tmp_path: Path, broker: BrokerSettings, postgres: Postgres, by: str
) -> None:
    scenes, urls = [], []
    for name, devices in (("with", ("a", "b", "c")), ("never", ("a", "b"))):
        urls.append(postgres.database())
        changes = {"store": urls[-1]}
        scenes.append(Scene(tmp_path / name, broker, devices, changes=changes))
        scenes[-1].through()
        if name == "with":
            left = scenes[0].kept()
            secret = of(urls[0], "c")
            assert len(secret) == 2
            assert all(piece in held(urls[0]) for piece in secret)
            if by == "the device":
                found = said(scenes[0], 75, "agent", "--leave", "--wait", "0.5", name="c")
                assert f"it is taken out of {TASK} when its aggregator is there again" in found
                with scenes[0].aggregator("again") as running:
                    assert running.process.wait(120) == 0, running.said()
            else:
                said(scenes[0], 0, "aggregator", "--forget-device", "c")
            assert left.opening().digest != scenes[0].kept().opening().digest
            said(replace(scenes[0]), 0, "aggregator", "--forget-device", "c")  # again is as well
            assert not any(piece in held(urls[0]) for piece in secret)
            assert rows(urls[0], "select * from uploads where device = 'c'") == []
            after = scenes[0].summary()
            assert said(scenes[0], 0, "aggregator", "--forget").startswith("forgotten: 1 runs")
    assert after["knowledge_sha256"] == scenes[1].summary()["knowledge_sha256"]
    assert sorted(after["accuracy_by_device"]) == ["a", "b"]
