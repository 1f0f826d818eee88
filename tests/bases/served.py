"""A folder with a tiny base, and a server of bases in this process."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

from cloud.generator_service.bases import server
from edgeloop.bases import manifest
from tests.bases.tiny import DIMS, tiny_graph


def write_base(folder: Path, scale: float = 1.0, shape: Sequence[int] = (1, 4, 4)) -> str:
    """Write a tiny base; other scales are other bases. Return its identity."""
    model = onnx.load_from_string(tiny_graph(shape))
    weights = numpy_helper.to_array(model.graph.initializer[0]) * np.float32(scale)
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(weights, "weights"))
    graph = bytes(model.SerializeToString(deterministic=True))
    folder.mkdir(parents=True)
    return manifest.write(folder, graph, name="tiny", shape=tuple(shape), dims=DIMS).identity


@contextmanager
def serving(repository: Path, port: int = 0) -> Iterator[str]:
    """Serve a repository; give its address."""
    with server.running(repository, "127.0.0.1", port, {}) as found:
        yield f"http://127.0.0.1:{found.server_port}"
