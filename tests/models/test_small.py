"""The eight small CNNs of htcnn8, and the CNNs of HCNNs8."""

import pytest
import torch
from torch import nn

from edgeloop.algorithm import Batches
from edgeloop.errors import ModelError
from edgeloop.models import GROUPS, base_without_data, build
from edgeloop.training.sgd import cross_entropy, train_sgd
from simulations.engine.flops import forward_flops

SHAPES = [(3, 32, 32), (1, 28, 28), (3, 64, 64)]
EIGHT = GROUPS["htcnn8"]


def parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize("shape", SHAPES)
def test_they_are_small_and_cheap_for_every_image(shape: tuple[int, ...]) -> None:
    dearest = forward_flops(base_without_data("cnn", shape), shape)
    for name in EIGHT:
        assert 20_000 <= parameters(base_without_data(name, shape)) <= 900_000, name
        assert forward_flops(base_without_data(name, shape), shape) <= dearest, name


def test_they_are_eight_and_differ() -> None:
    layers = [
        tuple(
            (type(module).__name__, getattr(module, "kernel_size", None))
            for module in base_without_data(name, (3, 32, 32)).modules()
        )
        for name in EIGHT
    ]
    assert len(set(EIGHT)) == len(set(layers)) == 8


@pytest.mark.parametrize("name", EIGHT)
def test_the_number_in_a_name_is_its_convolutions(name: str) -> None:
    modules = list(base_without_data(name, (3, 32, 32)).modules())
    deep = [
        each
        for each in modules
        if isinstance(each, nn.Conv2d) and each.groups == 1 and name != "cnn-separable5"
    ]
    if name == "cnn-separable5":
        deep = [
            each for each in modules if isinstance(each, nn.Conv2d) and each.kernel_size == (3, 3)
        ]
    if name == "cnn-residual5":  # two more are the shortcuts' projections
        deep = [each for each in deep if each.kernel_size == (3, 3)]
    assert len(deep) == int(name[-1])


@pytest.mark.parametrize("name", EIGHT)
def test_they_learn_a_batch(name: str) -> None:
    inputs = torch.randn(8, 1, 16, 16, generator=torch.Generator().manual_seed(1))
    labels = torch.arange(8) % 2
    batches = Batches(inputs + labels.reshape(8, 1, 1, 1), labels, 8)
    model = build(name, (1, 16, 16), 2, 32)
    (batch,) = batches.epoch(0)
    first = cross_entropy(model, batch).item()
    train_sgd(model, batches, cross_entropy, epochs=40, lr=0.05)
    assert cross_entropy(model, batch).item() < 0.9 * first


@pytest.mark.parametrize("name", [*EIGHT, "resnet4", "resnet10"])
def test_nothing_is_drawn_for_a_base_without_data(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Torch would import its compiler for that: more than a second, in every process."""
    drawn: list[bool] = []
    monkeypatch.setattr(nn.init, "kaiming_normal_", lambda to, **_: drawn.append(to.is_meta))
    base_without_data(name, (3, 32, 32))
    build(name, (3, 32, 32), 10)
    assert drawn
    assert not any(drawn)


@pytest.mark.parametrize("shape", [(3, 15, 15), (3, 32, 64), (9, 1, 128)])
def test_other_images_do_not_fit(shape: tuple[int, ...]) -> None:
    for name in EIGHT:
        with pytest.raises(ModelError, match="does not fit inputs of shape"):
            build(name, shape, 2)


@pytest.mark.parametrize(
    ("name", "flat", "hidden"),
    [
        ("hcnn1", 32 * 12 * 12, []),
        ("cnn", 64 * 4 * 4, []),
        ("hcnn1-512", 32 * 12 * 12, [512]),
        ("hcnn2-512", 64 * 4 * 4, [512]),
        ("hcnn1-1024", 32 * 12 * 12, [1024]),
        ("hcnn2-1024", 64 * 4 * 4, [1024]),
        ("hcnn1-1024-512", 32 * 12 * 12, [1024, 512]),
        ("hcnn2-1024-512", 64 * 4 * 4, [1024, 512]),
    ],
)
def test_the_linear_layers_of_hcnns8(name: str, flat: int, hidden: list[int]) -> None:
    linear = [
        each
        for each in base_without_data(name, (1, 28, 28)).modules()
        if isinstance(each, nn.Linear)
    ]
    assert [each.in_features for each in linear] == [flat, *hidden]
    assert [each.out_features for each in linear] == [*hidden, 512]
