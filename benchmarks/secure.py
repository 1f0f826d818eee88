"""What secure aggregation costs: bytes of each device, and processor time on both sides.

python -m benchmarks.secure [--devices 10,50,100] [--store]

A round's frames in one process, without a broker: the bytes are those that travel but for MQTT's
own headers and a frame's chunks; the seconds are the process' own. Every tenth device vanishes
after its shares, so that the server has masks to take away for it.
"""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Annotated, Any

import numpy as np
import typer

from benchmarks import environment
from edgeloop.algorithms import load
from edgeloop.cli import console
from edgeloop.knowledge.prototypes import PrototypeUpload
from edgeloop.knowledge.weights import WeightsUpload
from edgeloop.protocol import wire
from edgeloop.protocol.task import SERVER
from edgeloop.protocol.wire import Envelope
from edgeloop.secure.exchange import DeviceRound, ServerRound

PLACE = Envelope("presses", "measured", 0, SERVER)
LEAST = 3
VANISHES = 10  # each so many-th device

CLASSES, WIDTH, WEIGHTS = 10, 512, 100_000


def uploads() -> Iterator[tuple[str, Any, Any]]:
    """Yield what is uploaded: its name, an upload, and how it is added."""
    random = np.random.default_rng(0)
    labels_N, counts_N = np.arange(CLASSES), np.full(CLASSES, 20)
    prototypes_ND = random.normal(size=(CLASSES, WIDTH)).astype(np.float32)
    fedproto = load("fedproto", classes=CLASSES, width=WIDTH)
    upload = PrototypeUpload(labels_N, counts_N, prototypes_ND)
    yield f"{CLASSES} prototypes of {WIDTH}", upload, fedproto.summing
    weights_P = random.normal(size=WEIGHTS).astype(np.float32)
    fedavg = load("fedavg", classes=CLASSES, width=WIDTH, shape=(1, 28, 28), architecture="cnn")
    yield f"{WEIGHTS:,} weights", WeightsUpload(200, weights_P), fedavg.summing


class Stopwatch:
    """Adds up what pieces of work take of the processor.

    Attributes:
        seconds: so far.
    """

    seconds = 0.0

    def time(self, work: Callable[[], Any]) -> Any:
        """Do a piece of work; return what it returns."""
        begun = time.process_time()
        found = work()
        self.seconds += time.process_time() - begun
        return found


def exchange(count: int, what: str, upload: Any, summing: Any) -> dict[str, Any]:
    """Return what one round of so many devices takes."""
    values_V, names = summing.encode(upload), [f"device-{n:03}" for n in range(count)]
    own, others, servers = Stopwatch(), Stopwatch(), Stopwatch()
    me = names[1]
    watches = {name: own if name == me else others for name in names}
    devices = {name: watches[name].time(partial(made, name, values_V)) for name in names}
    keys = {name: each.public_keys for name, each in devices.items()}
    up, down = len(wire.encode(PLACE, keys[me])), 0
    begin = partial(ServerRound, PLACE, keys, max(LEAST, count // 2 + 1))
    server: ServerRound = servers.time(begin)
    while server.step <= 4:
        said = server.said()
        answers = {
            name: watches[name].time(partial(devices[name].answer, said[name]))
            for name in present(names, server.step)
            if name in said
        }
        if me in answers:
            up, down = up + len(answers[me]), down + len(said[me])
        kind, sizes = server.kind, server.sizes
        read = {name: wire.decode(each, kind, sizes=sizes)[kind] for name, each in answers.items()}
        servers.time(partial(server.close, read))
    return {
        "upload": what,
        "devices": count,
        "plain_bytes": len(wire.encode(PLACE, upload)),
        "up_bytes": up,
        "down_bytes": down,
        "device_seconds": own.seconds,
        "server_seconds": servers.seconds,
    }


def present(names: Sequence[str], step: int) -> list[str]:
    """Return who answers a step: some vanish after their shares."""
    gone = VANISHES - 1 if step > 2 else VANISHES
    return [name for place, name in enumerate(names) if place % VANISHES != gone]


def made(name: str, values_V: Any) -> DeviceRound:
    """Return a device's part of a round."""
    return DeviceRound(Envelope(PLACE.task, PLACE.run, 0, name), values_V, LEAST)


def rows(found: Sequence[dict[str, Any]]) -> str:
    """Return the results as a table."""
    head = (
        "| upload | devices | plain, up | secure, up | secure, down besides | device's processor |"
        " server's processor |\n| --- | --- | --- | --- | --- | --- | --- |\n"
    )
    return head + "".join(
        f"| {each['upload']} | {each['devices']} | {each['plain_bytes']:,} B |"
        f" {each['up_bytes']:,} B | {each['down_bytes']:,} B | {each['device_seconds']:.3f} s |"
        f" {each['server_seconds']:.2f} s |\n"
        for each in found
    )


def measure(
    devices: Annotated[str, typer.Option(help="Numbers of devices.")] = "10,50,100",
    store: Annotated[bool, typer.Option(help="Keep the table in benchmarks/results.")] = False,
) -> None:
    """Measure rounds of secure aggregation."""
    before = os.getloadavg()[0]
    counts = [int(each) for each in devices.split(",")]
    found = [exchange(count, *each) for each in uploads() for count in counts]
    loads = f"Load of {os.cpu_count()} cores: {before:.1f} before, {os.getloadavg()[0]:.1f} after."
    text = f"{rows(found)}\n{loads}\n"
    console.say(text)
    if store:
        content = {"machine": environment.machine(), "load_before": before, "rounds": found}
        environment.write("secure", content, text)


if __name__ == "__main__":
    raise SystemExit(environment.run(measure, "secure"))
