"""A step of training as CUDA graphs, captured once and replayed."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

Tensors = dict[str, Tensor]


class CudaGraphs:
    """A step as CUDA graphs, one for each set of its inputs' shapes.

    Args:
        step: changes state in place, whose memory is always the same.
    """

    def __init__(self, step: Callable[[Mapping[str, Tensor]], Tensor | None]) -> None:
        self._step = step
        self._graphs: dict[Any, tuple[torch.cuda.CUDAGraph, Tensors, Tensor | None]] = {}
        self._pool: Any = None
        self._warm = False

    def clear(self) -> None:
        """Drop all graphs: what they read has moved."""
        self._graphs.clear()
        self._warm = False

    def __call__(self, batch: Mapping[str, Tensor]) -> Tensor | None:
        """Take one step; return what it saw, in memory of its own."""
        if not self._warm:  # libraries choose their kernels in the first step, uncaptured
            self._warm = True
            return self._step(batch)
        key = tuple((name, tensor.shape) for name, tensor in batch.items())
        if key not in self._graphs:
            self._graphs[key] = self._capture(batch)
        graph, inputs, noted = self._graphs[key]
        for name, tensor in inputs.items():
            tensor.copy_(batch[name])
        graph.replay()
        return None if noted is None else noted.clone()

    def _capture(
        self, batch: Mapping[str, Tensor]
    ) -> tuple[torch.cuda.CUDAGraph, Tensors, Tensor | None]:
        inputs = {name: tensor.clone() for name, tensor in batch.items()}
        graph = torch.cuda.CUDAGraph()
        stream = torch.cuda.current_stream()
        with torch.cuda.graph(graph, pool=self._pool, stream=stream):
            noted = self._step(inputs)
        self._pool = self._pool or graph.pool()
        return graph, inputs, noted
