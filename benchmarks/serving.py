"""`edgeloop serve` beside bare onnxruntime: classifications a second, in turns in one run.

    python -m benchmarks.serving [--store]

A server process answers one client that keeps its connection; the client sends uint8 pixels as an
`.npy` batch. Bare is `InferenceSession.run` in the client's own process, on the same pixels, which
it too must make float32; both on one thread. Medians of the turns.
"""

import http.client
import io
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from numpy.typing import NDArray

from benchmarks import environment
from edge.agent.export import Classifier, export
from edge.agent.predict import open_model
from edgeloop.models import build
from edgeloop.runtime.ports import free_port

MODELS = (("cnn", (1, 28, 28)), ("cnn", (3, 32, 32)), ("resnet8", (3, 32, 32)))
BATCHES = (1, 16, 64)
CLASSES = 10
SECONDS, TURNS = 0.5, 15
"""Of a turn, and so many turns of each."""

SERVE = "import sys; from edge.serving.command import main; sys.exit(main(sys.argv[1:]))"


def serving(
    turns: Annotated[int, typer.Option(min=1, help="Of each.")] = TURNS,
    store: Annotated[bool, typer.Option("--store", help="Write benchmarks/results too.")] = False,
) -> None:
    """Print a row a model and batch size."""
    rows: list[dict[str, Any]] = [
        {"model": f"`{name}`, {' x '.join(map(str, shape))}", "batch": batch, **found}
        for name, shape in MODELS
        for batch, found in _measured(name, shape, turns).items()
    ]
    columns = ["model", "batch", "bare, a second", "served, a second", "served / bare"]
    cells = [
        [
            row["model"],
            row["batch"],
            f"{row['bare']:,.0f}",
            f"{row['served']:,.0f}",
            f"{row['served'] / row['bare']:.2f}",
        ]
        for row in rows
    ]
    text = environment.markdown(columns, cells)
    sys.stdout.write(text)
    if store:
        environment.write("serving", {"machine": environment.machine(), "rows": rows}, text)


def _measured(name: str, shape: tuple[int, ...], turns: int) -> dict[int, dict[str, float]]:
    with tempfile.TemporaryDirectory() as folder:
        path, port = Path(folder, "model.onnx"), free_port()
        model = build(name, shape, CLASSES, width=512, seed=0)
        classifier = Classifier(model, lambda model, inputs: model(inputs)[1], pixels=True)
        names = [f"class {number}" for number in range(CLASSES)]
        torch.set_num_threads(1)
        export(classifier, path, shape=shape, class_names=names, pixels=True, facts={})
        words = [sys.executable, "-c", SERVE, str(path), "--port", str(port)]
        server = subprocess.Popen(words, stderr=subprocess.DEVNULL)  # noqa: S603
        try:
            environment.until_it_listens(server, port)
            connection = http.client.HTTPConnection("127.0.0.1", port)
            return {batch: _turns(path, connection, batch, turns) for batch in BATCHES}
        finally:
            server.terminate()
            server.wait()


def _turns(
    path: Path, connection: http.client.HTTPConnection, batch: int, turns: int
) -> dict[str, float]:
    """Return classifications a second, bare and served."""
    bare = open_model(path)
    shape = (batch, *bare.shape)
    pixels: NDArray[np.uint8] = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    buffer = io.BytesIO()
    np.save(buffer, pixels)
    body = buffer.getvalue()

    def ask() -> None:
        connection.request("POST", "/v1/predict", body)
        answer = connection.getresponse()
        answer.read()
        if answer.status != 200:
            raise RuntimeError(f"status {answer.status}")

    kinds: dict[str, Callable[[], Any]] = {
        "bare": lambda: bare.scores(pixels.astype(np.float32)),
        "served": ask,
    }
    rates: dict[str, list[float]] = {kind: [] for kind in kinds}
    for _ in range(turns):
        for kind, do in kinds.items():
            rates[kind].append(batch * _rate(do))
    return {kind: statistics.median(found) for kind, found in rates.items()}


def _rate(do: Callable[[], Any]) -> float:
    """Return how often a second something can be done."""
    do()
    begun, count = time.perf_counter(), 0
    while (elapsed := time.perf_counter() - begun) < SECONDS:
        do()
        count += 1
    return count / elapsed


if __name__ == "__main__":
    sys.exit(environment.run(serving, "serving"))
