"""A model in two halves: a base that ends in features of one unified width, and a head.

Shape suffixes, here and in every model: B samples, D base features, K unified features, C classes.
"""

from typing import Any

import torch
from torch import Tensor, nn

from edgeloop.errors import ModelError
from edgeloop.models.layered import head as head_of


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


class MatrixPooling(nn.Module):
    """The unification as one product with a constant matrix."""

    matrix_DK: Tensor

    def __init__(self, features: int, width: int) -> None:
        super().__init__()
        self.register_buffer("matrix_DK", pooling_matrix(features, width), persistent=False)

    def forward(self, features_BD: Tensor) -> Tensor:
        """Return features (B, K)."""
        return features_BD @ self.matrix_DK


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
    columns = torch.arange(width)
    starts_K = columns * features // width
    ends_K = -(-(columns + 1) * features // width)
    rows_D1 = torch.arange(features).unsqueeze(1)
    inside_DK = ((rows_D1 >= starts_K) & (rows_D1 < ends_K)).float()
    return inside_DK / (ends_K - starts_K)


def exportable(model: SplitModel) -> nn.Module:
    """Return the model in operations that ONNX has; its pooling must divide, adaptive need not.

    The weights are shared, and the results equal up to rounding. Put it in evaluation mode first.

    Raises:
        ModelError: the model pools, and was built without the number of its base's features.
    """
    unify = model.unify if isinstance(model.unify, nn.Identity) else _matrix_pooling(model)
    return Exportable(model.base, unify, model.head, model.kept).train(model.training)


def _matrix_pooling(model: SplitModel) -> MatrixPooling:
    if model.features is None:
        problem = "does not say how many features its base has"
        raise ModelError("model", problem, "give SplitModel `features`, or use models.build")
    pooling = MatrixPooling(model.features, model.width)
    return pooling.to(next(model.head.parameters()).device)
