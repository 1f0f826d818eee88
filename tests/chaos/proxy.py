"""A TCP proxy before a broker that spoils a link: cuts, holes, a slow line, spoilt packets."""

import asyncio
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from tests.chaos.packets import Packets, damaged, is_publish, repeated

PIECE = 4096
"""Bytes of a slow line at a time."""

REORDER_SECONDS = 0.3
"""How long a packet waits for another one to overtake it."""


@dataclass
class Spoil:
    """What is to become of the next messages of a direction.

    Attributes:
        damage: where in their payloads, 0 to 1, to change a bit; one entry a message.
        twice: how many to send twice.
        late: how many to send after the one that follows.
    """

    damage: list[float] = field(default_factory=list)
    twice: int = 0
    late: int = 0


@dataclass
class Gate:
    """One client's way to the broker; its fields may be changed from any thread.

    Attributes:
        target: the broker's port.
        port: that the client connects to.
        shut: refuse connections.
        hole: whether the bytes "up", to the broker, and "down" go nowhere; the connection stays.
        rate: bytes a second, both ways together; None for as fast as can be.
        spoil: by direction.
        plain: pass bytes on as they come, and spoil no messages; set before anybody connects.
        count: connections so far.
    """

    target: int
    port: int = 0
    shut: bool = False
    hole: frozenset[str] = frozenset()
    rate: float | None = None
    spoil: dict[str, Spoil] = field(default_factory=lambda: {"up": Spoil(), "down": Spoil()})
    plain: bool = False
    count: int = 0
    _loop: asyncio.AbstractEventLoop | None = None
    _open: set[asyncio.StreamWriter] = field(default_factory=set)

    async def listen(self) -> asyncio.Server:
        self._loop = asyncio.get_running_loop()
        door = socket.create_server(("127.0.0.1", self.port))
        door.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, PIECE)  # a slow line holds little
        self.port = door.getsockname()[1]
        return await asyncio.start_server(self._carry, sock=door, limit=PIECE)

    def cut(self) -> None:
        """Reset all connections."""
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._reset)

    def _reset(self) -> None:
        for writer in self._open:
            _abort(writer)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.count += 1
        with suppress(OSError, asyncio.CancelledError):
            if not self.shut:
                up = await asyncio.open_connection("127.0.0.1", self.target, limit=PIECE)
                await self._both(reader, writer, *up)
        _abort(writer)

    async def _both(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        broker_reader: asyncio.StreamReader,
        broker_writer: asyncio.StreamWriter,
    ) -> None:
        pair = {writer, broker_writer}
        self._open |= pair
        ways = (
            asyncio.ensure_future(self._pump(reader, broker_writer, "up")),
            asyncio.ensure_future(self._pump(broker_reader, writer, "down")),
        )
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            for each in pair:
                _abort(each)
            self._open -= pair

    async def _pump(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, way: str
    ) -> None:
        packets, spoil = Packets(), self.spoil[way]
        late: list[bytes] = []
        while True:
            wait = REORDER_SECONDS if late else None
            try:
                data = await asyncio.wait_for(source.read(PIECE), wait)
            except TimeoutError:
                await self._pass(late, sink, way)
                continue
            if not data:
                return
            if self.rate is not None:
                await asyncio.sleep(len(data) / self.rate)
            for packet in [data] if self.plain else packets.feed(data):
                found = [packet] if self.plain else _spoilt(packet, spoil, late)
                await self._pass(found, sink, way)

    async def _pass(self, packets: list[bytes], sink: asyncio.StreamWriter, way: str) -> None:
        while way in self.hole:
            await asyncio.sleep(0.02)  # between looks
        sink.write(b"".join(packets))
        packets.clear()
        await sink.drain()


def _spoilt(packet: bytes, spoil: Spoil, late: list[bytes]) -> list[bytes]:
    """Return what goes on instead of a packet; what is to come later is put into `late`."""
    if not is_publish(packet):
        return [packet]
    if spoil.damage:
        packet = damaged(packet, spoil.damage.pop())
    found = [packet]
    if spoil.twice:
        spoil.twice -= 1
        found.append(repeated(packet))
    if spoil.late and not late:
        spoil.late -= 1
        late += found
        return []
    found += late
    late.clear()
    return found


def _abort(writer: asyncio.StreamWriter) -> None:
    """Reset a connection, as a router does that has lost its tables."""
    with suppress(OSError, AttributeError):
        wire: socket.socket = writer.get_extra_info("socket")
        wire.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


@contextmanager
def gates(target: int, count: int) -> Iterator[list[Gate]]:
    """Have so many ways to a broker's port, until the block ends."""
    made = [Gate(target) for _ in range(count)]
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="gates")
    thread.start()
    servers: list[asyncio.Server] = []
    try:
        for gate in made:
            servers.append(asyncio.run_coroutine_threadsafe(gate.listen(), loop).result(10))
        yield made
    finally:
        asyncio.run_coroutine_threadsafe(_end(servers), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _end(servers: list[asyncio.Server]) -> None:
    for server in servers:
        server.close()
    while True:
        await asyncio.sleep(0.01)  # who has just come is let in first, and aborted sockets close
        if not (tasks := asyncio.all_tasks() - {asyncio.current_task()}):
            return
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
