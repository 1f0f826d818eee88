"""The unification of feature widths, and what an exported model computes."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from edgeloop.errors import ModelError
from edgeloop.models import SplitModel, build, exportable, pooling_matrix
from edgeloop.models.split import WindowPooling, features_of


@pytest.mark.parametrize("features", [64, 128, 448, 512, 1280, 1664, 2048])
@pytest.mark.parametrize("width", [64, 512])
def test_the_matrix_equals_adaptive_pooling(features: int, width: int) -> None:
    features_BD = torch.randn(5, features, generator=torch.Generator().manual_seed(1))
    pooled_BK = F.adaptive_avg_pool1d(features_BD, width)
    product_BK = features_BD @ pooling_matrix(features, width)
    torch.testing.assert_close(product_BK, pooled_BK, atol=1e-6, rtol=0)
    windowed_BK = WindowPooling(features, width)(features_BD)
    torch.testing.assert_close(windowed_BK, pooled_BK, atol=1e-6, rtol=0)


def test_windows_need_few_numbers() -> None:
    pooling = WindowPooling(1664, 512)
    assert pooling.window_KW.shape == pooling.weight_KW.shape == (512, 4)


class Drawing(nn.Module):
    """Draws a number in each pass, and has a layer that never trains."""

    def __init__(self) -> None:
        super().__init__()
        self.frozen = nn.BatchNorm2d(1).eval()

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.frozen(inputs) + torch.rand(1)
        return found


def test_counting_features_leaves_the_base_and_the_stream_as_they_are() -> None:
    base = Drawing().train()
    base.frozen.eval()
    before = torch.get_rng_state()
    assert features_of(base, (1, 3, 4)) == 12
    assert torch.equal(torch.get_rng_state(), before)
    assert (base.training, base.frozen.training) == (True, False)
    assert base.frozen.state_dict()["running_mean"].tolist() == [0]


def test_bins_overlap_where_the_width_does_not_divide() -> None:
    assert pooling_matrix(3, 2).tolist() == [[0.5, 0.0], [0.5, 0.5], [0.0, 0.5]]
    assert pooling_matrix(2, 4).tolist() == [[1, 1, 0, 0], [0, 0, 1, 1]]


@pytest.mark.parametrize("architecture", ["cnn", "resnet4", "resnet8", "harcnn-s1", "harcnn3-s2"])
def test_an_exported_model_computes_the_same(architecture: str) -> None:
    model = build(architecture, (1, 28, 28), 7).eval()
    exported = exportable(model)
    images = torch.randn(3, 1, 28, 28, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        for expected, computed in zip(model(images), exported(images), strict=True):
            torch.testing.assert_close(computed, expected, atol=1e-6, rtol=0)
    assert not any(isinstance(module, nn.AdaptiveAvgPool1d) for module in exported.modules())
    shared = {parameter.data_ptr() for parameter in model.parameters()}
    assert {parameter.data_ptr() for parameter in exported.parameters()} == shared
    assert not exported.training


def test_equal_widths_need_no_pooling() -> None:
    assert isinstance(build("cnn", (3, 32, 32), 10).unify, nn.Identity)
    assert isinstance(build("resnet8", (3, 32, 32), 10).unify, nn.AdaptiveAvgPool1d)
    assert isinstance(build("resnet8", (3, 32, 32), 10, width=256).unify, nn.Identity)


def test_features_and_logits_have_the_unified_shapes() -> None:
    model = build("harcnn-s2", (9, 1, 128), 6, width=100)
    features_BK, logits_BC = model(torch.zeros(4, 9, 1, 128))
    assert (features_BK.shape, logits_BC.shape) == ((4, 100), (4, 6))
    torch.testing.assert_close(logits_BC, model.head(features_BK))


def test_a_model_that_pools_from_an_unknown_width_cannot_be_exported() -> None:
    with pytest.raises(ModelError, match="model: does not say how many features"):
        exportable(SplitModel(nn.Flatten(), 2, 3))
    assert exportable(SplitModel(nn.Flatten(), 2, 3, features=2))
