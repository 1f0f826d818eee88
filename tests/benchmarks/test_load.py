"""The benchmark of many devices, with few."""

import json
import socket
from pathlib import Path

import pytest

from benchmarks import brokers, environment, load
from edgeloop.errors import UnavailableError
from tests.world import StartBroker

pytestmark = pytest.mark.broker


@pytest.fixture(autouse=True)
def _mosquitto(start_broker: StartBroker) -> None:
    """Skip where there is no Mosquitto, or fail in CI."""


def test_every_device_is_counted_in_every_round() -> None:
    found = load.measure(3, None)
    assert found.devices == 3
    assert found.seconds > 0
    assert found.processor_seconds > 0
    assert found.ledger_kibibytes is not None
    assert found.ledger_kibibytes > 3 * 20  # the payloads of three rounds


def test_another_broker_on_its_port_does_not_pass_for_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        monkeypatch.setattr(brokers, "free_port", lambda: other.getsockname()[1])
        with pytest.raises(UnavailableError, match="broker: ended with"), brokers.running(tmp_path):
            pass


def test_connections_are_counted() -> None:
    assert 0 < load.idle(0) < load.idle(2000) < 100


def test_the_page_has_what_was_measured() -> None:
    rows = (environment.RESULTS / "load.md").read_text()
    assert rows in (environment.ROOT / "docs" / "operate.md").read_text()
    measured = json.loads((environment.RESULTS / "load.json").read_text())
    for name, several in measured["rounds"].items():
        for each in several:
            assert f"| {name} | {each['devices']} | {each['seconds']:.2f} |" in rows
