"""One request that nobody thought of ends no server: it is answered, and the next one is, too."""

import logging
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Event
from typing import Any

import httpx
import numpy as np
import pytest

from edge.agent.deployment import Deployment
from edge.serving import http
from edge.serving.answers import Answering
from edge.serving.http import PREDICT, Server
from edge.serving.measured import Measured
from edge.serving.model_in_use import ModelInUse
from edge.serving.mqtt import STATUS, Responder
from edgeloop.mqtt.messages import Arrival, Reply
from edgeloop.runtime.tracing import Notes
from tests.edge.serving.test_serving import SHAPE, npy, write

MOST = 1 << 20


def of_shape(shape: tuple[int, ...]) -> bytes:
    """Return an `.npy` file whose header says this shape; NumPy itself could not write it."""
    header = repr({"descr": "<f4", "fortran_order": False, "shape": shape}).encode()
    count = 0 if 0 in shape else 1
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + bytes(4 * count)


@dataclass
class Link:
    """Stands where the connection does: what has come, and what went out; ends after the last."""

    come: list[Arrival]
    ended: Event
    said: list[str] = field(default_factory=list)
    takeovers = 0

    def receive(self, _: float) -> Arrival:
        if len(self.come) == 1:
            self.ended.set()
        return self.come.pop(0)

    def respond(self, reply: Reply, _payload: bytes, notes: Notes) -> None:
        if reply.topic == "bad":
            raise ValueError("no topic that a client takes")
        self.said.append(notes[STATUS])


def answered(answering: Answering, *requests: tuple[str, bytes]) -> tuple[list[str], int]:
    """Return the statuses of requests' answers by MQTT, and how many were acknowledged."""
    done: list[bool] = []
    come = [
        Arrival("t/predict", body, lambda: done.append(True), reply=Reply(topic))
        for topic, body in requests
    ]
    link = Link(come, Event())
    Responder(answering, link, MOST).run(link.ended)  # type: ignore[arg-type]
    return link.said, len(done)


@pytest.mark.parametrize("shape", [(1,) * 65, (10**9 - 1,) * 5 + (0,)])
def test_a_shape_that_no_array_has_is_a_bad_request(tmp_path: Path, shape: tuple[int, ...]) -> None:
    good = npy(np.zeros((1, *SHAPE)))
    with ModelInUse(write(tmp_path / "model.onnx", 1)) as models:
        answering = Answering(models, Measured())
        said = answered(answering, ("a", of_shape(shape)), ("a", good))
        assert said == (["400", "200"], 2)
        answer = answering.answer(of_shape(shape), "", "http")
    assert b"a shape that no array has" in answer.body


class Failing:
    """Stands where a classifier does, and fails as nobody thought of."""

    shape, pixels, is_picture, class_names = SHAPE, True, False, ("ant", "bee", "cat")

    def scores(self, _: Any) -> Any:
        raise RuntimeError("as nobody thought of")


def test_what_nobody_thought_of_is_logged_and_answered(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = npy(np.zeros((1, *SHAPE)))
    with ModelInUse(write(tmp_path / "model.onnx", 1)) as models:
        fine = models.now
        assert fine is not None
        answering = Answering(models, Measured())
        failing: Any = Failing()
        monkeypatch.setattr(models, "_serving", replace(fine, model=failing))
        with caplog.at_level(logging.ERROR):
            assert answered(answering, ("a", good), ("a", good)) == (["500", "500"], 2)
        assert all("as nobody thought of" in str(each.exc_info) for each in caplog.records)
        assert len(caplog.records) == 2
        server = Server(answering, ("127.0.0.1", 0), most_bytes=MOST, at_once=2)
        with http.running(server), httpx.Client(trust_env=False) as client:
            url = f"http://127.0.0.1:{server.server_address[1]}{PREDICT}"
            answer = client.post(url, content=good)
            assert (answer.status_code, "error" in answer.json()) == (500, True)
            monkeypatch.setattr(models, "_serving", fine)
            assert client.post(url, content=good).status_code == 200


def test_an_answer_that_cannot_be_sent_ends_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    answering = Answering(ModelInUse(tmp_path / "model.onnx"), Measured())
    assert answered(answering, ("bad", b"x"), ("a", b"x")) == (["503"], 2)
    assert "no topic that a client takes" in caplog.text


def test_a_question_by_http_that_fails_is_answered(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(_: Deployment) -> Any:
        raise RuntimeError("as nobody thought of")

    monkeypatch.setattr(Deployment, "record", fails)
    answering = Answering(ModelInUse(tmp_path / "model.onnx"), Measured())
    server = Server(answering, ("127.0.0.1", 0), most_bytes=MOST, at_once=2)
    with http.running(server), httpx.Client(trust_env=False) as client:
        answer = client.get(f"http://127.0.0.1:{server.server_address[1]}/metrics")
        assert (answer.status_code, "error" in answer.json()) == (500, True)
        answer = client.get(f"http://127.0.0.1:{server.server_address[1]}/healthz")
        assert answer.status_code == 200
    assert "as nobody thought of" in caplog.text
