"""What secure aggregation costs: bytes of each device, and processor time on both sides.

python -m benchmarks.secure [--devices 10,50,100] [--store]

A round's frames in one process, without a broker: the bytes are those that travel but for MQTT's
own headers and a frame's chunks; the seconds are the process' own. Every tenth device vanishes
after its shares, so that the server has masks to take away for it.
"""

import os
import time
from collections.abc import Iterator, Sequence
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


def exchange(count: int, what: str, upload: Any, summing: Any) -> dict[str, Any]:
    """Return what one round of so many devices takes."""
    values_V, names = summing.encode(upload), [f"device-{n:03}" for n in range(count)]
    up, down, seconds = 0, 0, 0.0
    me = names[1]

    def of_device(name: str, work: Any) -> Any:
        nonlocal seconds
        begun = time.process_time()
        found = work()
        seconds += (time.process_time() - begun) * (name == me)
        return found

    devices = {name: of_device(name, partial(made, name, values_V)) for name in names}
    keys = {name: each.public_keys for name, each in devices.items()}
    up += len(wire.encode(PLACE, keys[me]))
    begun = time.process_time()
    server = ServerRound(PLACE, keys, max(LEAST, count // 2 + 1))
    spent = time.process_time() - begun
    while server.step <= 4:
        said, answers = server.said(), {}
        for place, name in enumerate(names):
            if name not in said or (server.step > 2 and place % VANISHES == VANISHES - 1):
                continue
            answer = of_device(name, partial(devices[name].answer, said[name]))
            if name == me:
                up, down = up + len(answer), down + len(said[name])
            answers[name] = wire.decode(answer, server.kind, sizes=server.sizes)[server.kind]
        begun = time.process_time()
        server.close(answers)
        spent += time.process_time() - begun
    plain = len(wire.encode(PLACE, upload))
    return {
        "upload": what,
        "devices": count,
        "plain_bytes": plain,
        "up_bytes": up,
        "down_bytes": down,
        "device_seconds": seconds,
        "server_seconds": spent,
    }


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
