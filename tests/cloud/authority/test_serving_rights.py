"""Who serves a device's classifier may hear its requests and answer them, at a real broker."""

import threading
from pathlib import Path

import pytest

from cloud.authority.identity import Identity
from cloud.authority.rights import mosquitto_acl
from edge.serving.answers import Answering
from edge.serving.measured import Measured
from edge.serving.model_in_use import ModelInUse
from edge.serving.mqtt import Responder
from edgeloop.mqtt.connection import Arrival, MqttConnection
from edgeloop.protocol.task import predict_topic, predicted_topic
from tests.mqtt_requests import Requester
from tests.world import StartBroker

pytestmark = pytest.mark.broker
TASK = "presses"
SERVERS = [Identity(TASK, f"press-{n}.predict") for n in (1, 2)]


def test_it_answers_where_it_may_and_hears_nobody_elses(
    start_broker: StartBroker, tmp_path: Path
) -> None:
    rights = tmp_path / "rights.acl"
    rights.write_text(mosquitto_acl(SERVERS, [Identity("", "operator")]))
    rights.chmod(0o644)
    broker = start_broker(f"acl_file {rights}").settings  # who is who by the user's name alone
    mine, others = (broker.model_copy(update={"username": each.user}) for each in SERVERS)
    requests, ended = predict_topic(TASK, "press-1"), threading.Event()
    own = predict_topic(TASK, "press-2")
    answering = Answering(ModelInUse(tmp_path / "model.onnx"), Measured())
    answers = predicted_topic(TASK, "press-1")
    with (
        MqttConnection(mine, "one", [requests], persistent=False) as link,
        MqttConnection(others, "two", [requests, own], persistent=False) as eavesdropper,
        Requester(broker, f"edgeloop/v1/{TASK}/#", Identity("", "operator").user) as operator,
    ):
        responder = Responder(answering, link, 1000)
        thread = threading.Thread(target=responder.run, args=(ended,))
        thread.start()
        try:
            operator.publish(requests, b"x", f"edgeloop/v1/{TASK}/round", b"not there")
            operator.publish(requests, b"x", f"{answers}/7", b"there")
            found = operator.answer()
            while found.payload == b"x":  # its own requests
                found = operator.answer()
            assert (found.correlation, found.notes["status"]) == (b"there", "503")
            operator.publish(own, b"x", None)
            heard = eavesdropper.receive(30)
            assert isinstance(heard, Arrival)
            assert heard.topic == own  # and nothing of press-1's before
        finally:
            ended.set()
            thread.join()
