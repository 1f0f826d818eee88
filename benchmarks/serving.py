"""`edgeloop serve` beside bare onnxruntime: classifications a second, in turns in one run.

    python -m benchmarks.serving [--store]

A server process answers over HTTP on connections that stay. Bare is one `InferenceSession.run`
after the other, on one thread of the client's process, on the same pixels, which it too must make
float32 where the model wants that; beside several clients it has single inputs, as each of them
has. Photos go through the Resize in the graph, in both. Medians of the turns.

The clients send requests that were made before, and look at no more of an answer than its two ends,
so that what is measured is the server. With several of them the server uses all processors that are
free, and bare has one. So the processor time is told, too: the server's for an input, as a multiple
of bare's.
"""

import io
import selectors
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import onnx
import psutil
import torch
import typer
from numpy.typing import NDArray

from benchmarks import environment
from edge.agent import picture_form
from edge.agent.export import Classifier, export
from edge.agent.predict import Exported, open_model
from edgeloop.models import build
from edgeloop.runtime.ports import free_port

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Work:
    """What is measured of a model.

    Attributes:
        what: for a reader.
        shape: of the array in each request.
        clients: at once.
        inputs: of each request.
    """

    what: str
    shape: Shape
    clients: int = 1
    inputs: int = 1


PHOTO = (480, 640, 3)
CLIENTS = 8
MODELS: tuple[tuple[str, Shape, bool], ...] = (
    ("cnn", (1, 28, 28), False),
    ("cnn", (3, 32, 32), False),
    ("resnet8", (3, 32, 32), False),
    ("cnn", (3, 32, 32), True),
    ("resnet8", (3, 64, 64), True),
)
"""Architecture, input, and whether it takes whole photos; `cnn` is the CNN of 4 layers."""

CLASSES = 10
SECONDS, TURNS = 0.4, 9
"""Of a turn, and so many turns of each."""

COLUMNS = [
    "model",
    "request",
    "clients",
    "bare, a second",
    "served, a second",
    "served / bare",
    "processor time, served / bare",
]
SERVE = "import sys; from edge.serving.command import main; sys.exit(main(sys.argv[1:]))"


def serving(
    turns: Annotated[int, typer.Option(min=1, help="Of each.")] = TURNS,
    store: Annotated[bool, typer.Option("--store", help="Write benchmarks/results too.")] = False,
) -> None:
    """Print a row a model and kind of request."""
    rows = [row for model in MODELS for row in _measured(*model, turns)]
    cells = [
        [
            row["model"],
            row["request"],
            row["clients"],
            f"{row['bare']:,.0f}",
            f"{row['served']:,.0f}",
            f"{row['served'] / row['bare']:.2f}",
            f"{row['served_processor'] / row['bare_processor']:.2f}",
        ]
        for row in rows
    ]
    text = environment.markdown(COLUMNS, cells)
    sys.stdout.write(text)
    if store:
        environment.write("serving", {"machine": environment.machine(), "rows": rows}, text)


def works(shape: Shape, is_picture: bool) -> tuple[Work, ...]:
    """Return what is measured of a model."""
    if is_picture:
        photo = "a photo of 640 x 480"
        return Work(photo, PHOTO), Work(photo, PHOTO, clients=CLIENTS)
    return (
        Work("one input", (1, *shape)),
        Work("one input", (1, *shape), clients=CLIENTS),
        Work("16 inputs", (16, *shape), inputs=16),
        Work("64 inputs", (64, *shape), inputs=64),
    )


def _measured(name: str, shape: Shape, is_picture: bool, turns: int) -> Iterator[dict[str, Any]]:
    with tempfile.TemporaryDirectory() as folder:
        path = _exported(Path(folder, "model.onnx"), name, shape, is_picture)
        with _server(path) as (port, process):
            for work in works(shape, is_picture):
                sides = " x ".join(map(str, shape))
                facts = {"request": work.what, "clients": work.clients}
                found = _turns(open_model(path), work, port, process, turns)
                yield {"model": f"`{name}`, {sides}", **facts, **found}


def _exported(path: Path, name: str, shape: Shape, is_picture: bool) -> Path:
    torch.set_num_threads(1)
    model = build(name, shape, CLASSES, width=512, seed=0)
    classifier = Classifier(model, lambda model, inputs: model(inputs)[1], pixels=True)
    names = [f"class {number}" for number in range(CLASSES)]
    export(classifier, path, shape=shape, class_names=names, pixels=True, facts={})
    if is_picture:
        path.write_bytes(picture_form.of_pictures(onnx.load(path), {}))
    return path


@contextmanager
def _server(path: Path) -> Iterator[tuple[int, psutil.Process]]:
    port = free_port()
    words = [sys.executable, "-c", SERVE, str(path), "--port", str(port)]
    server = subprocess.Popen(words, stderr=subprocess.DEVNULL)  # noqa: S603
    try:
        environment.until_it_listens(server, port)
        yield port, psutil.Process(server.pid)
    finally:
        server.terminate()
        server.wait()


def _turns(
    bare: Exported, work: Work, port: int, process: psutil.Process, turns: int
) -> dict[str, float]:
    """Return classifications a second, and processor seconds of one, bare and served."""
    pixels: NDArray[np.uint8] = np.random.default_rng(0).integers(0, 256, work.shape, np.uint8)
    own = psutil.Process()
    found: dict[str, list[float]] = {}
    with clients(port, request(pixels), work.clients) as ask:
        kinds: tuple[tuple[str, Callable[[], int], psutil.Process], ...] = (
            ("bare", lambda: run(bare, pixels), own),
            ("served", lambda: ask() * work.inputs, process),
        )
        for _ in range(turns):
            for kind, do, whose in kinds:
                rate, processor = _rate(do, whose)
                found.setdefault(kind, []).append(rate)
                found.setdefault(f"{kind}_processor", []).append(processor)
    return {kind: statistics.median(values) for kind, values in found.items()}


def run(bare: Exported, pixels: NDArray[np.uint8]) -> int:
    """Classify an array by onnxruntime alone; return how many inputs that were."""
    if bare.is_picture:
        return len(bare.scores([pixels]))
    return len(bare.scores(pixels.astype(np.float32)))


def request(pixels: NDArray[np.uint8]) -> bytes:
    """Return an HTTP request with an array."""
    buffer = io.BytesIO()
    np.save(buffer, pixels)
    body = buffer.getvalue()
    head = f"POST /v1/predict HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


@contextmanager
def clients(port: int, asked: bytes, count: int) -> Iterator[Callable[[], int]]:
    """Connect, and give what has each client that has its answer ask again: how many had theirs."""
    with ExitStack() as stack:
        links = [socket.create_connection(("127.0.0.1", port), timeout=30) for _ in range(count)]
        waiting = stack.enter_context(selectors.DefaultSelector())
        for link in links:
            stack.enter_context(link)
            link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if count == 1:
            yield lambda: _asked(links[0], asked)
            return
        for link in links:
            waiting.register(link, selectors.EVENT_READ)
            link.sendall(asked)

        def ask() -> int:
            ready = waiting.select(30)
            for key, _ in ready:
                _answer(key.fileobj)  # type: ignore[arg-type]
                key.fileobj.sendall(asked)  # type: ignore[union-attr]
            return len(ready)

        yield ask
        for link in links:
            _answer(link)


def _asked(link: socket.socket, asked: bytes) -> int:
    link.sendall(asked)
    _answer(link)
    return 1


def _answer(link: socket.socket) -> None:
    """Read an answer.

    Raises:
        RuntimeError: if it is another one than predictions.
    """
    answer = b""
    while not answer.endswith(b"]}"):
        part = link.recv(65_536)
        answer += part
        if not part or not answer.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(answer[:200].decode(errors="replace") or "the server has gone")


def _rate(do: Callable[[], int], process: psutil.Process) -> tuple[float, float]:
    """Return how many inputs a second something classifies, and a process's seconds for each."""
    do()
    before, begun, count = sum(process.cpu_times()[:2]), time.perf_counter(), 0
    while (elapsed := time.perf_counter() - begun) < SECONDS:
        count += do()
    return count / elapsed, (sum(process.cpu_times()[:2]) - before) / count


if __name__ == "__main__":
    sys.exit(environment.run(serving, "serving"))
