"""A function's tensor operations, recorded once for given shapes, then run without what found them.

A step mapped over models takes Python, `torch.func` and autograd many times as long as its
operations do where the models are small. The recorded operations are the same ones in the same
order, so their results are too, to the bit.
"""

import logging
from collections import Counter
from collections.abc import Callable, Hashable
from typing import Any

import torch
from torch import Tensor
from torch.fx import GraphModule
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils._pytree import tree_leaves, tree_map_only

log = logging.getLogger(__name__)

CALLS_BEFORE_TRACING = 8
"""Calls with the same shapes before they are recorded: recording takes as long as dozens."""


class TracedFunction:
    """A function of tensors in any nesting, recorded for the shapes it is often called with.

    Args:
        function: of its arguments alone; it may change them in place. What it does must not depend
            on their values, and other tensors it reads must keep their values.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function
        self._calls: Counter[Hashable] = Counter()
        self._ways: dict[Hashable, Callable[..., Any]] = {}

    def __call__(self, *arguments: Any) -> Any:
        """Return what the function returns."""
        key = tuple(_kind(leaf) for leaf in tree_leaves(arguments))
        if key not in self._ways:
            self._calls[key] += 1
            if self._calls[key] <= CALLS_BEFORE_TRACING:
                return self._function(*arguments)
            self._ways[key] = self._trace(arguments)
        return self._ways[key](*arguments)

    def _trace(self, arguments: tuple[Any, ...]) -> Callable[..., Any]:
        """Return the operations, or the function itself where they cannot be recorded."""
        copies = tree_map_only(Tensor, torch.clone, arguments)  # recording runs it, too
        try:
            graph: GraphModule = make_fx(lambda *given: self._function(*given))(*copies)
        except RuntimeError as error:  # torch says in many ways what it cannot record
            log.info("a training step cannot be recorded: %s", error)
            return self._function
        return graph


def _kind(leaf: Any) -> Hashable:
    return (leaf.shape, leaf.dtype, leaf.stride()) if isinstance(leaf, Tensor) else leaf
