"""A function's tensor operations, recorded once for given shapes, then run without what found them.

A step mapped over models takes Python, `torch.func` and autograd many times as long as its
operations do where the models are small. The recorded operations are the same ones in the same
order, so their results are too, to the bit.
"""

from collections import Counter
from collections.abc import Callable, Hashable
from typing import Any

import torch
from torch import Tensor
from torch.fx import GraphModule
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils._pytree import tree_leaves, tree_map_only

PATIENCE = 8
"""Calls with the same shapes before they are recorded: recording takes as long as dozens."""


class Recorded:
    """A function of tensors in any nesting, recorded for the shapes it is often called with.

    Args:
        function: of its arguments alone; it may change them in place. What it does must not depend
            on their values, and other tensors it reads must keep their values.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function
        self._calls: Counter[Hashable] = Counter()
        self._graphs: dict[Hashable, GraphModule] = {}

    def __call__(self, *arguments: Any) -> Any:
        """Return what the function returns; gradients do not flow through it."""
        key = tuple(_kind(leaf) for leaf in tree_leaves(arguments))
        if key not in self._graphs:
            self._calls[key] += 1
            if self._calls[key] <= PATIENCE:
                return self._function(*arguments)
            copies = tree_map_only(Tensor, torch.clone, arguments)  # recording runs it, too
            self._graphs[key] = make_fx(lambda *given: self._function(*given))(*copies)
        with torch.no_grad():
            return self._graphs[key](*arguments)


def _kind(leaf: Any) -> Hashable:
    return (leaf.shape, leaf.dtype, leaf.stride()) if isinstance(leaf, Tensor) else leaf
