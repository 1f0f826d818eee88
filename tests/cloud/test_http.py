import logging
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest
from prometheus_client import CONTENT_TYPE_LATEST
from prometheus_client.parser import text_string_to_metric_families

from cloud.aggregator.http import Details, Server, Status, app
from cloud.aggregator.ledger import Ledger, PastRound
from cloud.aggregator.metrics import Metrics
from cloud.aggregator.settings import HttpSettings
from cloud.aggregator.waiting import MOST_DEVICES, DeviceStatus
from cloud.http.server import _listening
from edgeloop.errors import ConfigError, TakenError
from tests.world import contract

STATUS = Status(
    task="cats",
    run="first",
    algorithm="fedtgp",
    phase="running",
    round=1,
    rounds=3,
    accuracy=0.75,
    history=(PastRound(0, 2, 0.75, 1.5, bytes_up=40, measures={"loss": 0.5}),),
    broker_connected=True,
    generator_problem=None,
    ledger_open=True,
)


@dataclass
class Aggregator:
    """What the pages are about: a status that a test changes, and its metrics."""

    tell: Callable[[], Status] = lambda: STATUS
    metrics: Metrics = field(default_factory=Metrics)


@pytest.fixture
def aggregator() -> Aggregator:
    return Aggregator()


@pytest.fixture
def pages(aggregator: Aggregator) -> Iterator[httpx.Client]:
    server = Server(app(lambda: aggregator.tell(), aggregator.metrics), "127.0.0.1", 0)
    server.start()
    with httpx.Client(base_url=f"http://127.0.0.1:{server.port}", trust_env=False) as client:
        yield client
    server.stop()


def test_metrics_are_told_in_prometheus_text_format(
    aggregator: Aggregator, pages: httpx.Client
) -> None:
    aggregator.metrics.answers_missing(7)
    answer = pages.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == CONTENT_TYPE_LATEST
    samples = {
        sample.name: sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }
    assert samples["edgeloop_stragglers_total"] == 7


def test_status_is_told_whole(pages: httpx.Client) -> None:
    answer = pages.get("/status")
    assert answer.status_code == 200
    assert answer.json() == {
        "task": "cats",
        "run": "first",
        "algorithm": "fedtgp",
        "phase": "running",
        "round": 1,
        "rounds": 3,
        "accuracy": 0.75,
        "epsilon": None,
        "history": [
            {"number": 0, "participants": 2, "accuracy": 0.75, "seconds": 1.5}
            | {"bytes_up": 40, "bytes_down": None, "measures": {"loss": 0.5}}
            | {"low": None, "median": None, "high": None}
        ],
        "broker_connected": True,
        "generator_problem": None,
        "ignored_fields": 0,
        "ledger_open": True,
        "devices": [],
        "devices_left_out": 0,
        "outliers": [],
        "refusals": [],
        "evicted": [],
        "class_names": [],
        "shape": [],
        "forgotten": [],
    }


@contextmanager
def serving(details: Details) -> Iterator[httpx.Client]:
    server = Server(app(lambda: STATUS, Metrics(), details), "127.0.0.1", 0)
    server.start()
    try:
        url = f"http://127.0.0.1:{server.port}"
        with httpx.Client(base_url=url, trust_env=False) as client:
            yield client
    finally:
        server.stop()


def test_many_devices_come_in_parts() -> None:
    every = [DeviceStatus(name=f"d{n:04}", state="waiting") for n in range(MOST_DEVICES + 2)]

    def after(name: str) -> list[DeviceStatus]:
        return [each for each in every if each.name > name][: MOST_DEVICES + 1]

    with serving(Details(after)) as pages:
        first = pages.get("/devices").json()
        assert (len(first["items"]), first["next"]) == (MOST_DEVICES, "d0999")
        second = pages.get("/devices", params={"after": first["next"]}).json()
    assert [each["name"] for each in second["items"]] == ["d1000", "d1001"]
    assert second["next"] is None


def test_rounds_files_are_given_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "round-00003.safetensors").write_bytes(b"content")
    (tmp_path / "round-x.safetensors").write_bytes(b"")
    with serving(Details(history=tmp_path)) as pages:
        assert pages.get("/history").json() == [3]
        assert pages.get("/history/3").content == b"content"
        assert pages.get("/history/4").status_code == 404
        assert pages.get("/history/-1").status_code == 422
    with serving(Details()) as pages:
        assert pages.get("/history").json() == []
        assert pages.get("/history/3").status_code == 404


@pytest.mark.parametrize(
    ("table", "is_shut"),
    [({}, True), ({"host": "0.0.0.0"}, False), ({"host": "::", "tokens_file": "x"}, True)],  # noqa: S104 - no socket
)
def test_uploads_are_given_to_nobody_unknown(table: dict[str, str], is_shut: bool) -> None:
    assert HttpSettings.model_validate(table).is_shut == is_shut


def test_ready_when_broker_and_ledger_are(pages: httpx.Client) -> None:
    answer = pages.get("/readyz")
    assert (answer.status_code, answer.json()) == (200, {"ready": True, "reasons": []})


@pytest.mark.parametrize(
    ("missing", "reason"),
    [
        ("broker_connected", "the MQTT broker is not connected"),
        ("ledger_open", "the ledger is not open"),
    ],
)
def test_not_ready_without_broker_or_ledger(
    aggregator: Aggregator, pages: httpx.Client, missing: str, reason: str
) -> None:
    aggregator.tell = lambda: STATUS.model_copy(update={missing: False})
    answer = pages.get("/readyz")
    assert (answer.status_code, answer.json()) == (503, {"ready": False, "reasons": [reason]})
    assert pages.get("/healthz").status_code == 200


def test_a_ledger_that_fails_is_told_and_the_process_stays_alive(
    aggregator: Aggregator, pages: httpx.Client, tmp_path: Path
) -> None:
    ledger = Ledger.open(f"sqlite:///{tmp_path / 'ledger.sqlite'}")
    ledger.adopt(contract())
    aggregator.tell = lambda: STATUS.model_copy(update={"history": tuple(ledger.history())})
    assert pages.get("/status").json()["history"] == []
    ledger.close()
    for path in ("/status", "/readyz"):
        answer = pages.get(path)
        assert answer.status_code == 503
        assert "ledger.sqlite: is closed; open it again" in answer.json()["reasons"][0]
    assert pages.get("/healthz").status_code == 200


@pytest.mark.parametrize("path", ["/", "/docs", "/redoc", "/openapi.json"])
def test_there_are_no_other_pages(pages: httpx.Client, path: str) -> None:
    assert pages.get(path).status_code == 404


def test_a_request_leaves_no_log(pages: httpx.Client, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        pages.get("/healthz")
    assert [record for record in caplog.records if record.name.startswith("uvicorn")] == []


def test_a_port_in_use_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        server = Server(app(lambda: STATUS, Metrics()), "127.0.0.1", port)
        with pytest.raises(TakenError, match=rf"http\.port: {port} is in use; choose another one"):
            server.start()
        server.stop()


@pytest.mark.parametrize("host", ["192.0.2.1", "no host", "2001:db8::1"])
def test_an_address_of_another_machine_is_named(host: str) -> None:
    with pytest.raises(ConfigError, match=r"http\.host: cannot listen on"):
        Server(app(lambda: STATUS, Metrics()), host, 0).start()


def test_a_stopped_server_frees_its_port_and_its_thread() -> None:
    server = Server(app(lambda: STATUS, Metrics()), "127.0.0.1", 0)
    server.start()
    port = server.port
    with httpx.Client(trust_env=False) as client:  # its connection stays open
        assert client.get(f"http://127.0.0.1:{port}/healthz").status_code == 200
        server.stop()
        again = Server(app(lambda: STATUS, Metrics()), "127.0.0.1", port)
        again.start()
        assert client.get(f"http://127.0.0.1:{port}/healthz").status_code == 200
        again.stop()
    assert not [thread for thread in threading.enumerate() if thread.name == "http"]


def test_a_connection_sends_at_once() -> None:
    """An answer is two packets: the second must not wait for the first one's acknowledgement."""
    listening = _listening("127.0.0.1", 0)
    with listening, socket.create_connection(listening.getsockname()):
        accepted, _ = listening.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
