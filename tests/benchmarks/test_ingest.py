"""The benchmark of the aggregator beside a bare subscriber, with few messages."""

import io
import json
from pathlib import Path

import pytest

from benchmarks import environment, ingest, publisher
from tests.postgres import Postgres
from tests.world import StartBroker


def check(side: ingest.Side) -> None:
    for pair in ingest.measure(ingest.Load(25, 40_000, 3), side):
        for each in pair:
            assert 0 < each.p50 <= each.p99 <= each.seconds < 60
            assert each.processor_seconds >= 0


@pytest.mark.broker
def test_both_take_every_message(start_broker: StartBroker) -> None:
    assert [each.name for each in ingest.sides(None, 2)] == ["aggregator, SQLite"]
    check(ingest.Side("aggregator, SQLite"))


@pytest.mark.broker
@pytest.mark.postgresql
def test_so_do_those_that_share_uploads(start_broker: StartBroker, postgres: Postgres) -> None:
    *_, shared = ingest.sides(postgres.database(), 2)
    assert shared.replicas == 2
    check(shared)


def test_a_file_of_messages_is_read_as_it_was_written(tmp_path: Path) -> None:
    messages = [("a/b", b"\x00\x01"), ("c", b""), ("d/e", b"x" * 100_000)]
    publisher.write(tmp_path / "file", messages)
    assert list(publisher.read(io.BytesIO((tmp_path / "file").read_bytes()))) == messages


@pytest.mark.parametrize(
    ("size", "length"),
    [(0, b"\x06"), (120, b"\x7e"), (122, b"\x80\x01"), (20_000, b"\xa6\x9c\x01")],
)
def test_a_packet_says_how_long_it_is(size: int, length: bytes) -> None:
    found = publisher.packet(7, "t", b"x" * size)
    assert found == b"\x32" + length + b"\x00\x01t\x00\x07\x00" + b"x" * size


def test_the_page_has_what_was_measured() -> None:
    text = (environment.RESULTS / "ingest.md").read_text()
    assert text in (environment.ROOT / "docs" / "load.md").read_text()
    measured = json.loads((environment.RESULTS / "ingest.json").read_text())
    assert f"{measured['devices']} devices, {measured['payload']} bytes" in text
