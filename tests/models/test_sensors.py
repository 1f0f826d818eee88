"""PFLlib's HAR-CNN, whole: both ways to cut its three-layer classifier."""

import pytest
import torch
from torch import nn

from edgeloop import algorithms
from edgeloop.errors import ModelError
from edgeloop.models import build, feature_width, fitting

HAR, CLASSES = (9, 1, 128), 6
CONVOLUTIONS = 9 * 32 * 9 + 32 + 32 * 64 * 9 + 64
CLASSIFIER = 1664 * 1024 + 1024 + 1024 * 512 + 512 + 512 * CLASSES + CLASSES


def as_written() -> nn.Sequential:
    """The network as PFLlib writes it."""
    return nn.Sequential(
        nn.Conv2d(9, 32, (1, 9)),
        nn.ReLU(),
        nn.MaxPool2d((1, 2), 2),
        nn.Conv2d(32, 64, (1, 9)),
        nn.ReLU(),
        nn.MaxPool2d((1, 2), 2),
        nn.Flatten(),
        nn.Linear(1664, 1024),
        nn.ReLU(),
        nn.Linear(1024, 512),
        nn.ReLU(),
        nn.Linear(512, CLASSES),
    )


@pytest.mark.parametrize(
    ("name", "width"), [("harcnn-s1-1024-512", 512), ("harcnn-s1+mlp-1024-512", 1664)]
)
def test_it_is_the_same_network_however_it_is_cut(name: str, width: int) -> None:
    model, whole = build(name, HAR, CLASSES, width), as_written()
    theirs = list(whole.parameters())
    assert [each.shape for each in model.own()] == [each.shape for each in theirs]
    assert sum(each.numel() for each in model.own()) == CONVOLUTIONS + CLASSIFIER
    with torch.no_grad():
        for ours, other in zip(model.own(), theirs, strict=True):
            ours.copy_(other)
    signals = torch.randn(5, *HAR, generator=torch.Generator().manual_seed(0))
    features, logits = model(signals)
    torch.testing.assert_close(logits, whole(signals))
    assert features.shape == (5, width)


def test_its_features_are_of_the_last_hidden_layer() -> None:
    assert feature_width("harcnn-s1-1024-512", HAR) == 512
    assert isinstance(build("harcnn-s1-1024-512", HAR, CLASSES).unify, nn.Identity)
    assert build("harcnn-s1-1024-512", HAR, CLASSES)(torch.ones(1, *HAR))[0].min() >= 0


def test_a_signal_of_another_length_fits() -> None:
    model = build("harcnn-s1-1024-512", (40, 1, 256), 12)
    assert model.own()[4].shape == (1024, 3712)
    with pytest.raises(ModelError, match="does not fit"):
        build("harcnn-s1-1024-512", (9, 1, 20), CLASSES)
    assert "harcnn-s1-1024-512" not in fitting((9, 1, 20))
    assert "harcnn1-s1" in fitting((9, 1, 20))


def test_weights_of_a_seed_are_the_same() -> None:
    one, other = (build("harcnn-s1-1024-512", HAR, CLASSES, seed=3) for _ in range(2))
    for ours, theirs in zip(one.own(), other.own(), strict=True):
        assert torch.equal(ours, theirs)


def test_algorithms_of_one_linear_head_take_the_one_with_hidden_layers_in_its_base() -> None:
    algorithms.check_same_architecture("fedgh", ["harcnn-s1-1024-512"], classes=2, width=512)
