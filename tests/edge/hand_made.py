"""A hand-made aggregator that can say anything to a device, of a FedKTL task."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from edge.agent.settings import DataSettings, DeviceSettings, TrainingSettings
from edgeloop import data
from edgeloop.knowledge.latent_pairs import Pairs
from edgeloop.mqtt.connection import Arrival, MqttConnection
from edgeloop.protocol import chunks, wire
from edgeloop.protocol.chunks import Assembler
from edgeloop.protocol.task import (
    SERVER,
    SLOTS,
    Contract,
    Opening,
    broadcast_topic,
    contract_topic,
    round_topic,
    upload_topic,
)
from edgeloop.protocol.wire import Envelope
from edgeloop.runtime.config import BrokerSettings
from tests.world import contract

ROUNDS, LATENT_DIM = 2, 8
PACKET = 4096  # bytes, so that a broadcast is several packets


def pairs(seed: int, latent_dim: int = LATENT_DIM) -> Pairs:
    """Return a broadcast for ten classes of 28 x 28 pixels."""
    random = np.random.default_rng(seed)
    latents_NH = random.standard_normal((10, latent_dim)).astype(np.float16)
    return Pairs(random.integers(0, 256, (10, 784), np.uint8), latents_NH)


def framed(broadcast: object, task: str = "t") -> bytes:
    """Return a broadcast as it is sent."""
    return wire.encode(Envelope(task, "r", 0, SERVER), broadcast)


def cut(payload: bytes) -> list[bytes]:
    """Return the packets that a payload takes."""
    return chunks.split(payload, PACKET - 1024)


def device(world: Path, broker: BrokerSettings, folder: Path) -> DeviceSettings:
    """Return the settings of the task's device."""
    return DeviceSettings(
        name="one",
        task="t",
        folder=folder,
        broker=broker.model_copy(update={"chunk_bytes": PACKET}),
        data=DataSettings(source=str(world)),
        training=TrainingSettings(architecture="resnet4", threads=1),
    )


@dataclass
class Cloud:
    """The aggregator.

    Attributes:
        link: subscribed to the device's answers.
        contract: of its task.
        received: bytes of the device's packets.
    """

    link: MqttConnection
    contract: Contract
    received: int = 0
    _assembler: Assembler = field(default_factory=lambda: Assembler(wire.MAX_FRAME))

    def hold(self, number: int, packets: list[bytes]) -> None:
        """Have the broker keep what should be a round's broadcast."""
        for index, packet in enumerate(packets):
            topic = f"{broadcast_topic('t', number % SLOTS)}/{index}"
            self.link.publish(topic, packet, retain=True)

    def name(self, number: int, broadcast: Pairs) -> None:
        """Open a round whose broadcast is where `hold` has put it, or will."""
        text = self.opening(number, broadcast).model_dump_json()
        self.link.publish(round_topic("t"), text.encode(), retain=True)

    def opening(self, number: int, broadcast: Pairs) -> Opening:
        """Return what a round's opening says."""
        return Opening(
            run="r",
            round=number,
            digest=wire.fingerprint(broadcast),
            slot=number % SLOTS,
            size=len(framed(broadcast)),
        )

    def open(self, number: int, broadcast: Pairs) -> None:
        """Open a round as an aggregator does, one that was started again too."""
        self.hold(number, cut(framed(broadcast)))
        self.name(number, broadcast)

    def answer(self) -> bytes:
        """Return the device's next answer."""
        while True:
            arrival = self.link.receive(60)
            assert isinstance(arrival, Arrival), "no answer"
            arrival.acknowledge()
            self.received += len(arrival.payload)
            payload = self._assembler.offer(arrival.payload)
            if payload is not None:
                return payload


@contextmanager
def cloud(settings: DeviceSettings, rounds: int = ROUNDS) -> Iterator[Cloud]:
    """Publish the contract of a device's task, and hear its answers."""
    agreed = contract(
        algorithm="fedktl",
        options={"latent_dim": LATENT_DIM},
        class_names=data.load(settings.data.source).class_names,
        rounds=rounds,
        width=16,
        devices=(settings.name,),
    )
    with MqttConnection(
        settings.broker, "server", [upload_topic("t", settings.name)]
    ) as connection:
        connection.publish(contract_topic("t"), agreed.model_dump_json().encode(), retain=True)
        yield Cloud(connection, agreed)
