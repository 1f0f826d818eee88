"""Heads of several layers, and who refuses them."""

import onnxruntime
import pytest
import torch
from torch import nn

from edgeloop import algorithms
from edgeloop.errors import ConfigError, ModelError
from edgeloop.models import build, exportable
from edgeloop.models.tracing import traced

SHAPE = (1, 16, 16)


def kinds(name: str) -> list[type[nn.Module]]:
    return [type(layer) for layer in build(name, SHAPE, 3, 4).head.children()]


def test_a_head_of_the_groups_ends_in_a_relu() -> None:
    assert kinds("cnn+relu") == [nn.Linear, nn.ReLU]
    assert kinds("cnn+relu-256") == [nn.Linear, nn.ReLU, nn.Linear, nn.ReLU]
    logits = build("cnn+relu-128", SHAPE, 3, 4)(torch.randn(9, *SHAPE))[1]
    assert float(logits.detach().min()) >= 0


def test_a_head_for_transformers_ends_in_its_logits() -> None:
    assert kinds("CNN+tanh-768") == [nn.Linear, nn.Tanh, nn.Linear]


def test_the_base_is_what_it_is_without_the_head() -> None:
    deep, plain = build("cnn+relu-512", SHAPE, 3, 4).base, build("cnn", SHAPE, 3, 4).base
    pairs = zip(deep.parameters(), plain.parameters(), strict=True)
    assert all(torch.equal(ours, theirs) for ours, theirs in pairs)


def test_a_deep_head_is_exported() -> None:
    model = exportable(build("conv3+relu-128", SHAPE, 3, 4).eval())
    inputs = torch.randn(2, *SHAPE, generator=torch.Generator().manual_seed(1))

    class Logits(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            logits: torch.Tensor = self.model(inputs)[1]
            return logits

    graph = traced(Logits().eval(), (inputs,), ["inputs"], "logits").SerializeToString()
    (computed,) = onnxruntime.InferenceSession(graph).run(None, {"inputs": inputs.numpy()})
    torch.testing.assert_close(torch.tensor(computed), model(inputs)[1], atol=1e-5, rtol=0)


def test_an_unknown_head_lists_the_known() -> None:
    with pytest.raises(ModelError, match=r"unknown head: 'relu-3'; use relu, relu-512"):
        build("cnn+relu-3", SHAPE, 3)


@pytest.mark.parametrize("name", ["fedgh", "lgfedavg", "fedgen", "fedcp"])
def test_who_exchanges_heads_refuses_deep_ones(name: str) -> None:
    with pytest.raises(ConfigError, match=f"models: {name} needs heads of one linear layer"):
        algorithms.check_models(name, ["cnn", "cnn+relu"], classes=3, width=4)


def test_others_take_them() -> None:
    algorithms.check_models("fedproto", ["cnn", "cnn+relu"], classes=3, width=4)
