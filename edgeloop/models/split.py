"""A model in two halves: a base that ends in features of one unified width, and a head.

Shape suffixes, here and in every model: B samples, D base features, K unified features, C classes,
W features of a window.
"""

from collections.abc import Callable
from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from edgeloop.errors import ModelError
from edgeloop.models.layered import head as head_of
from edgeloop.seeds import drawing


class SplitModel(nn.Module):
    """A client's model: any base, pooled to the unified feature width K, then a head.

    Args:
        base: inputs to a (B, any) matrix; the architecture without its classifier.
        width: K, the feature width that all clients share.
        classes: C.
        features: D, the base's own feature width, where it is known.
        head: the kind of head, as `layered.split_name` returns it.

    Attributes:
        width: K.
        classes: C.
        head: nn.Linear from K to C; several layers where another kind is asked for.
        kept: what an algorithm keeps on the client beside the model, from round to round; empty
            until `Algorithm.init_client_state` fills it.
        precision: that its products are computed in, where it is another than its weights'; what
            it returns is float32 all the same.

    Source: HtFLlib's base/head split; the pooling runs along the feature axis, without parameters.
    """

    def __init__(
        self,
        base: nn.Module,
        width: int,
        classes: int,
        features: int | None = None,
        head: str = "",
    ) -> None:
        super().__init__()
        self.features, self.width, self.classes = features, width, classes
        self.base = base
        self.unify: nn.Module = nn.Identity() if features == width else nn.AdaptiveAvgPool1d(width)
        self.head: Any = head_of(head, width, classes)
        self.kept = nn.ModuleDict()
        self.precision: torch.dtype | None = None

    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Return features (B, K) and logits (B, C)."""
        if self.precision is None:
            return self._outputs(inputs)
        with torch.autocast(inputs.device.type, self.precision):
            features_BK, logits_BC = self._outputs(inputs)
        return features_BK.float(), logits_BC.float()

    def _outputs(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        features_BK: Tensor = self.unify(torch.flatten(self.base(inputs), 1))
        return features_BK, self.head(features_BK)

    @property
    def draws(self) -> bool:
        """Whether training draws random numbers: a layer of it, or of what is kept, drops out."""
        return any(_drops_out(module) for module in self.modules())

    def own(self) -> list[nn.Parameter]:
        """Return the parameters of base and head, in the order of the layers; not what is kept."""
        return [*self.base.parameters(), *self.head.parameters()]


def _drops_out(module: nn.Module) -> bool:
    if isinstance(module, nn.RNNBase | nn.MultiheadAttention):
        return module.dropout > 0
    return isinstance(module, nn.modules.dropout._DropoutNd) and module.p > 0


class WindowPooling(nn.Module):
    """The unification as sums over windows of W features: K W numbers, where a matrix has D K."""

    window_KW: Tensor
    weight_KW: Tensor

    def __init__(self, features: int, width: int) -> None:
        super().__init__()
        starts_K, ends_K = _windows(features, width)
        lengths_K1 = (ends_K - starts_K).unsqueeze(1)
        steps_W = torch.arange(int(lengths_K1.max()))
        window_KW = (starts_K.unsqueeze(1) + steps_W).clamp(max=features - 1)
        weight_KW = (steps_W < lengths_K1).float() / lengths_K1
        self.register_buffer("window_KW", window_KW, persistent=False)
        self.register_buffer("weight_KW", weight_KW, persistent=False)

    def forward(self, features_BD: Tensor) -> Tensor:
        """Return features (B, K)."""
        return (features_BD[:, self.window_KW] * self.weight_KW).sum(2)


class Exportable(nn.Module):
    """A split model without adaptive pooling; it shares every weight with the original."""

    def __init__(
        self, base: nn.Module, unify: nn.Module, head: nn.Module, kept: nn.ModuleDict
    ) -> None:
        super().__init__()
        self.base = base
        self.unify = unify
        self.head = head
        self.kept = kept

    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Return features (B, K) and logits (B, C)."""
        features_BK: Tensor = self.unify(torch.flatten(self.base(inputs), 1))
        return features_BK, self.head(features_BK)


def pooling_matrix(features: int, width: int) -> Tensor:
    """Return the matrix (D, K) whose product equals adaptive average pooling from D to K.

    Column i averages the features floor(i D / K) up to, but not including, ceil((i + 1) D / K).
    """
    starts_K, ends_K = _windows(features, width)
    rows_D1 = torch.arange(features).unsqueeze(1)
    inside_DK = ((rows_D1 >= starts_K) & (rows_D1 < ends_K)).float()
    return inside_DK / (ends_K - starts_K)


def _windows(features: int, width: int) -> tuple[Tensor, Tensor]:
    """Return the first features (K,) of adaptive average pooling's windows, and their ends (K,)."""
    columns = torch.arange(width)
    return columns * features // width, -(-(columns + 1) * features // width)


def exportable(model: SplitModel) -> nn.Module:
    """Return the model in operations that ONNX has; its pooling must divide, adaptive need not.

    So are the models that it keeps. The weights are shared, and the results equal up to rounding.
    Put it in evaluation mode first.

    Raises:
        ModelError: the model pools, and was built without the number of its base's features.
    """
    unify = model.unify if isinstance(model.unify, nn.Identity) else _window_pooling(model)
    kept = nn.ModuleDict(
        {
            name: exportable(each) if isinstance(each, SplitModel) else each
            for name, each in model.kept.items()
        }
    )
    return Exportable(model.base, unify, model.head, kept).train(model.training)


def _window_pooling(model: SplitModel) -> WindowPooling:
    if model.features is None:
        problem = "does not say how many features its base has"
        raise ModelError("model", problem, "give SplitModel `features`, or use models.build")
    pooling = WindowPooling(model.features, model.width)
    return pooling.to(next(model.head.parameters()).device)


@torch.no_grad()
def features_of(base: nn.Module, shape: tuple[int, ...]) -> int:
    """Return D, by one pass of an input of zeros; the base and torch's stream stay as they are.

    A pass without data, on torch's meta device, would do; the first one of a process imports sympy
    and torch's compiler, 75 MB that a small device lacks.

    Args:
        base: inputs to features.
        shape: of one input.
    """
    modes = [(module, module.training) for module in base.modules()]
    with torch.random.fork_rng(devices=[]):
        outputs = base.eval()(torch.zeros(1, *shape))
    for module, training in modes:
        module.training = training
    return int(outputs.flatten(1).shape[1])


@torch.no_grad()
def features_without_data(build: Callable[[], nn.Module], shape: tuple[int, ...]) -> int:
    """Return D of a base that nobody has built yet.

    A base of many weights, or of large inputs, takes no memory: its pass is on the meta device.

    Args:
        build: makes the base.
        shape: of one input.
    """
    with torch.device("meta"):
        base = build().eval()
        weights = sum(each.numel() for each in base.parameters() if not is_lazy(each))
        if weights > 2**21 or prod(shape) > 2**17:
            return int(base(torch.empty(1, *shape)).flatten(1).shape[1])
    with drawing(0):
        return features_of(build(), shape)
