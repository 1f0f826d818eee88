"""A connection to an MQTT 5 broker: what arrives waits in an inbox, what leaves is cut to fit.

Its network thread, paho's, does nothing but move messages: a message is acknowledged by its owner,
after it has done with it what must not be lost.
"""

# Over 320 lines: one room knows paho's client; what could leave it has its own files already.

import queue
from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any, Literal, Self

from paho.mqtt.client import Client, MQTTMessage

from edgeloop.errors import BrokerAwayError, BrokerError
from edgeloop.mqtt.link import Link, Listeners
from edgeloop.mqtt.messages import Arrival as Arrival
from edgeloop.mqtt.messages import Reconnected as Reconnected
from edgeloop.mqtt.messages import Reply, properties, reply_of
from edgeloop.mqtt.outbox import Outbox
from edgeloop.mqtt.paho_client import MAX_INFLIGHT, PahoClient
from edgeloop.mqtt.rivals import Rivals
from edgeloop.mqtt.sealing import checked, overhead, seal_of, signed
from edgeloop.mqtt.topic_filters import Answer, TopicFilters
from edgeloop.mqtt.trouble import RepeatedWarnings
from edgeloop.runtime.config import BrokerSettings
from edgeloop.runtime.tracing import NONE, Notes

ANSWER_SECONDS = 60.0
"""For a broker to answer a question, behind all that is on its way."""

Refusable = Literal["publish", "subscribe"]
"""What a broker can refuse to a client that is connected."""


class MqttConnection:
    """A connection that heals itself, with a fixed client id and a session that outlives it.

    Once it is up it never gives up: it tries again, ever more slowly, and says why.

    Args:
        broker: where to connect.
        client_id: the same at every start of the same client.
        subscriptions: topic filters, subscribed again at each connection.
        presence: topic that always says, retained, whether this client is "online" or "offline";
            when it vanishes the broker says so, by its last will.
        watch: called, on the network thread, when the connection comes and goes.
        retry_forever: whether the first connection, too, is tried without end where time can help,
            unless the settings say for how long.
        persistent: whether the broker keeps a session for this client when it is away.
        inflight: messages that the broker may deliver before the first is acknowledged.
        presence_notes: go with "online", until `say_presence` has others.
        refusal: called, on the network thread, with what the broker refuses, and its reason code.
        signed_in: folder where it is noted until when was signed, so that no restart, with whatever
            clock, signs an earlier time; None for nowhere.
    """

    def __init__(  # noqa: PLR0913 - keywords but five, with defaults
        self,
        broker: BrokerSettings,
        client_id: str,
        subscriptions: Sequence[str],
        presence: str | None = None,
        watch: Callable[[bool], None] = lambda connected: None,
        *,
        retry_forever: bool = False,
        persistent: bool = True,
        inflight: int = MAX_INFLIGHT,
        presence_notes: Notes = NONE,
        refusal: Callable[[Refusable, str], None] = lambda operation, reason: None,
        signed_in: Path | None = None,
    ) -> None:
        self._inbox: queue.SimpleQueue[Arrival | Reconnected | BrokerError | Answer]
        self._inbox, self._address = queue.SimpleQueue(), broker.address
        self._presence, self._presence_notes = presence, presence_notes
        self._watch, self._persistent, self._inflight = watch, persistent, inflight
        self._client = client = PahoClient(broker, client_id)
        client.on_message, client.take_plain = self._on_message, self._take_plain
        self._rivals, self._seal = Rivals(presence), seal_of(broker, signed_in)
        if presence is not None:
            will = properties(
                signed(self._seal, presence, b"offline", self._rivals.notes), will=True
            )
            client.will_set(client.full(presence), b"offline", qos=1, retain=True, properties=will)
        self._warnings = warnings = RepeatedWarnings()
        self._outbox = Outbox(
            client, broker, warnings, lambda why: refusal("publish", why), self._seal
        )
        forever = retry_forever and broker.connect_seconds is None
        patience = None if forever else broker.connect_timeout
        listeners = Listeners(
            up=self._on_up,
            down=lambda: watch(False),
            back=lambda: self._inbox.put(Reconnected()),
        )
        self._link = link = Link(client, broker, listeners, warnings, patience, self._rivals)
        self._filters = TopicFilters(
            client, subscriptions, warnings, lambda why: refusal("subscribe", why), link.subscribed
        )
        self._filters.on_answer = self._inbox.put

    def __enter__(self) -> Self:
        """Connect and subscribe.

        Raises:
            BrokerAwayError: if the broker cannot be reached in time.
            RefusedError: if it refuses this client: `BusyError` where time can help.
        """
        self._link.begin(self._persistent, self._inflight)
        return self

    def __exit__(self, *_: object) -> None:
        if self._presence is not None:
            self.publish(self._presence, b"offline", retain=True, notes=self._rivals.notes)
        self.flush(timeout=5.0)
        self._link.end()

    @property
    def connected(self) -> bool:
        """Return whether the connection is up."""
        return self._client.is_connected()

    def redial(self) -> None:
        """Connect again, with the certificate and the password that the files hold now."""
        self._link.redial()

    @property
    def certificate_number(self) -> int:
        """Return another number when messages are signed by another certificate; 0 without."""
        return 0 if self._seal is None else self._seal.certificate_number

    @property
    def state(self) -> str:
        """Return whether the connection is up, or why it is not."""
        return self._link.state

    @property
    def takeovers(self) -> int:
        """Return how many connections were lost to another client of this id, as far as known."""
        return self._link.takeovers

    # ---- on paho's network thread

    def _on_up(self, packet: int) -> None:
        self._outbox.connected(packet - overhead(self._seal, packet), self._link.packet)
        if (place := self._rivals.where_to_look(self._link.brief)) is not None:
            self._filters.look(place)
        self._filters.subscribe_all()
        self._watch(True)
        self._say_online()

    def _say_online(self) -> None:
        if self._presence is not None:
            notes = {**self._presence_notes, **self._rivals.notes}
            self.publish(self._presence, b"online", retain=True, notes=notes)

    def _on_message(self, client: Client, _data: Any, message: MQTTMessage) -> None:
        try:
            topic = self._client.bare(message.topic)
        except UnicodeDecodeError:  # Mosquitto lets none through; others do
            self._warnings.warn("topic", "ignored a message whose topic is not valid text")
            client.ack(message.mid, message.qos)
            return
        if message.qos == 0 and self._inbox.qsize() >= self._inflight:
            self._warnings.warn(
                f"flood {topic}", "dropped messages on %s: more of them than can be read", topic
            )
            return
        notes = dict(getattr(message.properties, "UserProperty", ()))
        acknowledge = partial(self._acknowledge, self._link.number, message.mid, message.qos)
        if self._rivals.take(topic, notes, bool(message.retain)):
            acknowledge()
            return
        content, kept = bytes(message.payload), bool(message.retain)
        reply = reply_of(message.properties)
        self._inbox.put(Arrival(topic, content, acknowledge, notes, kept, reply=reply))

    def _take_plain(self, topic: str, payload: bytes, number: int, retained: bool) -> None:
        acknowledge = partial(self._acknowledge, self._link.number, number, 1)
        bare = self._client.bare(topic)
        if self._rivals.take(bare, NONE, retained):
            acknowledge()
            return
        self._inbox.put(Arrival(bare, payload, acknowledge, NONE, retained))

    # ---- on the owner's thread

    def _acknowledge(self, connection: int, number: int, qos: int) -> None:
        if connection == self._link.number:  # a later connection delivers it again
            self._client.ack(number, qos)

    def together(self) -> AbstractContextManager[None]:
        """Send what this thread publishes and acknowledges in a block at the block's end."""
        return self._client.together()

    def receive(self, timeout: float | None) -> Arrival | Reconnected | None:
        """Return the next event, or None when the time is up."""
        event = self._next(timeout)
        while isinstance(event, Answer):  # to what is not asked any more
            event = self._next(timeout)
        return event

    def receive_kept(self, quiet: float) -> Arrival | Reconnected | None:
        """Return the next event, or None when the broker has sent all that it keeps.

        It has when it was quiet for so many seconds, and then answers a question with nothing else
        before the answer: on a slow link silence alone says nothing.

        Raises:
            BrokerAwayError: if it does not answer.
        """
        event = self.receive(quiet)
        if event is not None:
            return event
        asked = self._filters.ask()
        while (found := self._next(ANSWER_SECONDS)) is not None:
            if not isinstance(found, Answer):
                return found
            if found == asked:
                return None
        raise BrokerAwayError(self._address, "does not answer", "try again")

    def _next(self, timeout: float | None) -> Arrival | Reconnected | Answer | None:
        try:
            event = self._inbox.get(timeout=timeout)
        except queue.Empty:
            return None
        if isinstance(event, BrokerError):
            raise event
        return checked(self._seal, event) if isinstance(event, Arrival) else event

    def receive_all(self, timeout: float | None, most: int) -> list[Arrival | Reconnected]:
        """Return the next event and, without waiting, at most so many; none when the time is up."""
        events: list[Arrival | Reconnected] = []
        while len(events) < most and (event := self.receive(0.0 if events else timeout)):
            events.append(event)
        return events

    def refusals(self) -> list[str]:
        """Return what the broker refuses now, each as a sentence for a person."""
        published, filters = self._outbox.refused(), self._filters.refused()
        full = self._client.full
        return [
            *(f"refuses messages on {full(topic)} ({why})" for topic, why in published.items()),
            *(f"refuses to send {full(name)} ({why})" for name, why in filters.items()),
        ]

    def full(self, topic: str) -> str:
        """Return a topic as the broker knows it: behind the prefix of the settings."""
        return self._client.full(topic)

    def resubscribe_refused(self) -> None:
        """Subscribe again to what the broker has refused to send."""
        self._filters.ask_again()

    def subscribe(self, name: str) -> None:
        """Have the messages of one more topic filter, the retained ones at once."""
        self._filters.add(name)

    def unsubscribe(self, name: str) -> None:
        """Have the messages of a topic filter no longer."""
        self._filters.remove(name)

    def publish(
        self,
        topic: str,
        payload: bytes,
        *,
        retain: bool = False,
        notes: Notes = NONE,
        expiry: int | None = None,
    ) -> None:
        """Send one packet at least once; while the broker is away it waits here.

        Args:
            topic: where.
            payload: its bytes.
            retain: whether the broker keeps it for those who come later.
            notes: go with it, as user properties.
            expiry: seconds after which the broker may forget it for those who are away.
        """
        self._outbox.publish(topic, payload, retain=retain, notes=notes, expiry=expiry)

    def respond(self, reply: Reply, payload: bytes, notes: Notes = NONE) -> None:
        """Send the answer to a request to where it asks for it."""
        self._outbox.respond(reply, payload, notes)

    def send(self, topic: str, payload: bytes, notes: Notes = NONE) -> int:
        """Send a payload of any size, in chunks, to one topic; return the bytes that takes.

        The notes go with each chunk: whichever comes last has them.
        """
        return self._outbox.send(topic, payload, notes)

    def send_again(
        self, topic: str, payload: bytes, indices: Collection[int], count: int, notes: Notes = NONE
    ) -> int:
        """Send some chunks of a payload once more; see `Outbox.send_again`."""
        return self._outbox.send_again(topic, payload, indices, count, notes)

    def chunks_of(self, payload: bytes) -> list[bytes]:
        """Return the chunks that a payload is cut into now."""
        return self._outbox.chunks_of(payload)

    def publish_retained(self, topic: str, payload: bytes) -> None:
        """Have the broker keep a payload of any size: chunk i retained at topic/i."""
        self._outbox.publish_retained(topic, payload)

    def say_presence(self, notes: Notes) -> None:
        """Have these notes go with "online" from now on, and say it if there is a connection."""
        self._presence_notes = notes
        if self.connected:
            self._say_online()

    def republish(self, topic: str, payload: bytes, expiry: int) -> None:
        """Send what is held once more, for those who have subscribed to it and miss it."""
        self._outbox.republish(topic, payload, expiry)

    def is_pending(self, topic: str) -> bool:
        """Return whether something that was sent there waits for the broker's word on it."""
        return self._outbox.is_pending(topic)

    def is_refused(self, topic: str) -> bool:
        """Return whether the broker refuses what was last sent there."""
        return self._outbox.is_refused(topic)

    def flush(self, timeout: float, topic: str | None = None) -> bool:
        """Wait until the broker has all that was sent, or all on one topic; tell whether it has.

        What it refuses it does not have.
        """
        return self._outbox.flush(timeout, topic)
