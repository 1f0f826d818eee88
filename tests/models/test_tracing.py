from concurrent.futures import ThreadPoolExecutor

import torch
from torch import nn

from edgeloop.models.tracing import trace_graph


def test_threads_trace_at_once() -> None:
    """torch's exporter is one for the whole process."""

    def traced(width: int) -> int:
        module = nn.Sequential(nn.Linear(width, 50), nn.ReLU(), nn.Linear(50, 2)).eval()
        graph = trace_graph(module, (torch.zeros(2, width),), ["x"], "y").graph
        return int(graph.input[0].type.tensor_type.shape.dim[1].dim_value)

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(traced, range(3, 35))) == list(range(3, 35))
