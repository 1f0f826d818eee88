"""The server's MQTT: a request's answer goes to its response topic, with its correlation data.

Both are MQTT 5's own. A request without a response topic has nobody to answer, and is dropped; so
is one that the broker has kept. Requests are answered one after the other.
"""

import logging
from threading import Event

from edge.serving.answers import BAD_REQUEST, WHOLE, Answer, Answering, problem
from edgeloop.errors import BrokerError
from edgeloop.mqtt.connection import Arrival, MqttConnection
from edgeloop.runtime.pace import LogRateLimiter

log = logging.getLogger(__name__)

STATUS = "status"
"""The user property of an answer: its status, as HTTP has it."""

TURN_SECONDS = 0.5

ANOTHER = (
    "another edgeloop serve of this device has taken its requests by MQTT: whoever connected last "
    "answers them, and this one connects again after a pause; stop one of the two, or set "
    "mqtt = false in its [serve]"
)


class Responder:
    """Answers what arrives on a connection.

    Args:
        answering: answers.
        connection: subscribed to the `predict_topic`.
        most_bytes: of a request.
    """

    def __init__(self, answering: Answering, connection: MqttConnection, most_bytes: int) -> None:
        self._answering, self._connection, self._most = answering, connection, most_bytes
        self._limiter, self._takeovers = LogRateLimiter(), 0
        self._told = LogRateLimiter(most=1)

    def run(self, ended: Event) -> None:
        """Answer until the event is set.

        Raises:
            BrokerError: if the broker refuses this client for good.
        """
        while not ended.is_set():
            self._look_for_another()
            event = self._connection.receive(TURN_SECONDS)
            if isinstance(event, Arrival):
                try:
                    self._take(event)
                except Exception:  # one request must not end the others
                    if self._limiter.allowed("request"):
                        log.exception("a request on %s could not be answered", event.topic)
                event.acknowledge()

    def _look_for_another(self) -> None:
        """Tell if another server has taken this one's place at the broker."""
        if (now := self._connection.takeovers) == self._takeovers:
            return
        self._answering.measured.taken_over(now - self._takeovers)
        self._takeovers = now
        if self._told.allowed("another"):
            log.warning(ANOTHER)

    def _take(self, request: Arrival) -> None:
        if request.reply is None or request.retained:
            if self._limiter.allowed(""):
                log.warning("dropped a request on %s without a response topic", request.topic)
            return
        answer = self._answered(request)
        try:
            self._connection.respond(request.reply, answer.body, {STATUS: str(answer.status)})
        except BrokerError as error:
            if self._limiter.allowed("answer"):
                log.warning("an answer was not sent: %s", error)

    def _answered(self, request: Arrival) -> Answer:
        if len(request.payload) > self._most:
            return problem(BAD_REQUEST, f"{self._most} bytes are the most")
        return self._answering.answer(request.payload, "", "mqtt", WHOLE in request.notes)
