"""What a client sends: cut to the broker's packets, and waiting for the broker's word on it."""

from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any

from paho.mqtt.client import Client
from paho.mqtt.enums import MQTTErrorCode
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from edgeloop.errors import ForbiddenError
from edgeloop.mqtt.deliveries import Deliveries
from edgeloop.mqtt.link_pace import LinkPace
from edgeloop.mqtt.messages import properties
from edgeloop.mqtt.paho_client import PahoClient
from edgeloop.mqtt.reason_codes import SEE_ITS_LOG, remedy_for
from edgeloop.mqtt.sealing import signed
from edgeloop.mqtt.trouble import RepeatedWarnings, broker_error
from edgeloop.protocol import chunks
from edgeloop.runtime.config import BrokerSettings
from edgeloop.runtime.tracing import NONE, Notes

if TYPE_CHECKING:
    from edgeloop.mqtt.seal import Seal

LEAST = 2048
"""Bytes of a chunk, however slow the link is."""

HEAD = 9
"""Bytes of a packet besides topic, properties and payload: its length, its number."""


class Outbox:
    """Sends at least once; while the broker is away, messages wait here.

    Args:
        client: paho's.
        broker: where it sends to.
        warnings: of what is refused.
        refused: called, on the network thread, with a reason.
        seal: signs what is sent; None where nobody asks for that.

    Attributes:
        limit: bytes of a chunk; each connection's broker has its own.
        packet: bytes of the largest packet that this connection's broker takes; None for any.
    """

    def __init__(
        self,
        client: PahoClient,
        broker: BrokerSettings,
        warnings: RepeatedWarnings,
        refused: Callable[[str], None],
        seal: "Seal | None" = None,
    ) -> None:
        self.limit = broker.chunk_bytes
        self.packet: int | None = None
        self._client, self._broker, self._seal = client, broker, seal
        self._warnings, self._tell = warnings, refused
        self._deliveries: Deliveries[str, ReasonCode] = Deliveries()
        self._held: dict[str, int] = {}
        self._pace = LinkPace()
        self._cuts: dict[str, tuple[int, int]] = {}  # topic -> a payload's length, its chunks' size
        client.on_publish = self._on_publish

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

        Raises:
            RefusedError: if the broker takes no packet so large: it would part with this client.
        """
        about = properties(signed(self._seal, topic, payload, notes), expiry)
        if self.packet is not None:
            self._check_fits(topic, len(payload), 1 if about is None else len(about.pack()))  # type: ignore[no-untyped-call]  # paho left it out
        self._deliveries.renew(topic)
        self._publish(topic, payload, retain, about)

    def _check_fits(self, topic: str, size: int, about: int) -> None:
        whole = HEAD + len(self._client.full(topic).encode()) + about + size
        if self.packet is not None and whole > self.packet:
            problem = f"takes packets of {self.packet} bytes, and {topic} has {size}"
            remedy = (
                f"raise its limit to {whole} (Mosquitto: max_packet_size), or shorten what is in it"
            )
            raise broker_error(self._broker, problem, remedy, ForbiddenError)

    def connected(self, limit: int, packet: int | None) -> None:
        """A connection is up, whose broker takes chunks and packets of so many bytes."""
        self.limit, self.packet = limit, packet
        self._pace.connected()

    def _publish(
        self, topic: str, payload: bytes, retain: bool, properties: Properties | None
    ) -> None:
        place, begun = self._client.full(topic), self._pace.clock()
        info = self._client.publish(place, payload, qos=1, retain=retain, properties=properties)
        if info.rc not in (MQTTErrorCode.MQTT_ERR_SUCCESS, MQTTErrorCode.MQTT_ERR_NO_CONN):
            raise broker_error(self._broker, f"takes no message ({info.rc.name})", SEE_ITS_LOG)
        self._pace.sent(info.mid, len(payload), begun)
        if (refusal := self._deliveries.sent(info.mid, topic)) is not None:
            self._warn_refused(topic, refusal)

    def send(self, topic: str, payload: bytes, notes: Notes = NONE) -> int:
        """Send a payload of any size, in chunks, to one topic; return the bytes that takes.

        The notes go with each chunk: whichever comes last has them.
        """
        size = self._piece(len(payload))
        self._cuts[topic] = len(payload), size
        return self._send(topic, chunks.split(payload, size), notes)

    def _piece(self, length: int) -> int:
        """Return the size of a payload's chunks that suits the link."""
        return min(self.limit, max(self._pace.piece(self.limit), chunks.least_limit(length), LEAST))

    def _last_cut(self, topic: str, length: int) -> int:
        """Return the size of the chunks that a payload was sent in before, if that still suits."""
        before, size = self._cuts.get(topic, (length, self._piece(length)))
        suits = before == length and size <= self.limit and size <= 2 * self._piece(length)
        return size if suits else self._piece(length)

    def send_again(
        self, topic: str, payload: bytes, indices: Collection[int], count: int, notes: Notes = NONE
    ) -> int:
        """Send some chunks once more, all if they are cut otherwise now; return the bytes.

        Args:
            topic: where.
            payload: the whole.
            indices: of the chunks.
            count: of all of them, as they were cut; 0 for as they are cut now.
            notes: go with each chunk.
        """
        size = self._last_cut(topic, len(payload))
        self._cuts[topic] = len(payload), size
        parts = chunks.split(payload, size)
        if count in (0, len(parts)):
            parts = [parts[index] for index in sorted(set(indices)) if index < len(parts)]
        return self._send(topic, parts, notes)

    def chunks_of(self, payload: bytes) -> list[bytes]:
        """Return the chunks that a payload is cut into for the broker to keep."""
        return chunks.split(payload, self.limit)

    def _send(self, topic: str, parts: Collection[bytes], notes: Notes) -> int:
        self._deliveries.renew(topic)
        for chunk in parts:
            about = properties(signed(self._seal, topic, chunk, notes), None)
            self._publish(topic, chunk, False, about)
        return sum(map(len, parts))

    def publish_retained(self, topic: str, payload: bytes) -> None:
        """Have the broker keep a payload of any size: chunk i retained at topic/i."""
        parts = chunks.split(payload, self.limit)
        for index, chunk in enumerate(parts):
            self.publish(f"{topic}/{index}", chunk, retain=True)
        for index in range(len(parts), self._held.get(topic, 0)):
            self.publish(f"{topic}/{index}", b"", retain=True)
        self._held[topic] = len(parts)

    def republish(self, topic: str, payload: bytes, expiry: int) -> None:
        """Send what is held once more, for those who have subscribed to it and miss it."""
        for index, chunk in enumerate(chunks.split(payload, self.limit)):
            self.publish(f"{topic}/{index}", chunk, expiry=expiry)

    def is_pending(self, topic: str) -> bool:
        """Return whether something that was sent there waits for the broker's word on it."""
        return topic in self._deliveries.open()

    def is_refused(self, topic: str) -> bool:
        """Return whether the broker refuses what was last sent there."""
        return topic in self._deliveries.refused()

    def refused(self) -> dict[str, str]:
        """Return the topics on which the broker refuses what was last sent, and why."""
        return {topic: str(why) for topic, why in self._deliveries.refused().items()}

    def flush(self, timeout: float, topic: str | None = None) -> bool:
        """Wait until the broker has all that was sent, or all on one topic; tell whether it has.

        What it refuses it does not have.
        """
        return self._deliveries.flush(timeout, topic)

    def _on_publish(
        self,
        _client: Client,
        _data: Any,
        number: int,
        reason: ReasonCode,
        _properties: Properties | None,
    ) -> None:
        self._pace.acknowledged(number)
        if not reason.is_failure:
            self._deliveries.acknowledged(number, None)
            return
        topic = self._deliveries.acknowledged(number, reason)
        self._tell(str(reason))
        if topic is not None:  # else `publish` has not come to note it, and will warn
            self._warn_refused(topic, reason)

    def _warn_refused(self, topic: str, reason: ReasonCode) -> None:
        place = self._client.full(topic)
        text = "the broker refuses messages on %s (%s); %s"
        key = f"publish {place.rstrip('0123456789')}"  # one line for all chunks
        remedy = remedy_for(reason.value, self._client.account)
        self._warnings.warn(key, text, place, reason, remedy)
