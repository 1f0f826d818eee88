"""Architectures, their sizes and seeds, and the groups that clients share out."""

import dataclasses

import pytest
import torch
from torch import nn

from edgeloop.algorithms import fedavg
from edgeloop.errors import ModelError
from edgeloop.models import (
    ALIASES,
    ARCHITECTURES,
    GROUPS,
    auxiliary,
    build,
    client_architectures,
    families,
    feature_width,
    fitting,
    initial_model,
    known_names,
    usual_shape,
)
from edgeloop.models.layered import split_name
from edgeloop.models.vision import VISION

HAR = (9, 1, 128)
CIFAR = (3, 32, 32)


def parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def convolution(inputs: int, outputs: int, *kernel: int) -> int:
    """Weights and biases of a convolution."""
    return outputs * inputs * kernel[0] * kernel[1] + outputs


@pytest.mark.parametrize("kind", ["IMAGES", "SIGNALS", "TEXTS", "VECTORS"])
def test_every_name_is_in_the_file_that_needs_no_torch(kind: str) -> None:
    assert list(getattr(known_names, kind)) == list(getattr(families, kind))


def test_the_first_model_is_the_one_of_these_fields() -> None:
    config = fedavg.Config(classes=3, width=4, shape=(1, 16, 16), architecture="resnet4", seed=7)
    found, expected = initial_model(config), build("resnet4", (1, 16, 16), 3, 4, seed=7)
    pairs = zip(found.own(), expected.own(), strict=True)
    assert all(torch.equal(ours, theirs) for ours, theirs in pairs)
    other = initial_model(dataclasses.replace(config, seed=8))
    assert not torch.equal(found.head.weight, other.head.weight)


def test_the_cnn_has_the_papers_parameters() -> None:
    model = build("cnn", CIFAR, 100)
    layers = convolution(3, 32, 5, 5) + convolution(32, 64, 5, 5) + (1600 + 1) * 512
    assert parameters(model.base) == layers == 873_408
    assert parameters(model.head) == (512 + 1) * 100 == 51_300


@pytest.mark.parametrize(("pixels", "flat"), [(28, 1024), (32, 1600), (64, 10_816), (16, 64)])
def test_the_cnn_fits_its_linear_layer_to_the_image(pixels: int, flat: int) -> None:
    layers = convolution(1, 32, 5, 5) + convolution(32, 64, 5, 5) + (flat + 1) * 512
    assert parameters(build("cnn", (1, pixels, pixels), 10).base) == layers


def stage(inputs: int, width: int) -> int:
    """A basic block: two convolutions without bias, each normalised, and a projection if wider."""
    block = 9 * inputs * width + 9 * width * width + 2 * 2 * width
    return block + (inputs * width + 2 * width if inputs != width else 0)


@pytest.mark.parametrize(
    ("architecture", "stages", "expected", "features"),
    [
        ("resnet4", [(64, 64)], 83_520, 64),
        ("resnet6", [(64, 64), (64, 128)], 313_664, 128),
        ("resnet8", [(64, 64), (64, 128), (128, 256)], 1_232_704, 256),
        ("resnet10", [(64, 64), (64, 128), (128, 256), (256, 512)], 4_905_792, 512),
    ],
)
def test_residual_networks_have_the_papers_parameters(
    architecture: str, stages: list[tuple[int, int]], expected: int, features: int
) -> None:
    stem = 64 * 3 * 7 * 7 + 2 * 64
    base = build(architecture, CIFAR, 10).base
    assert parameters(base) == stem + sum(stage(*each) for each in stages) == expected
    assert feature_width(architecture, CIFAR) == features


@pytest.mark.parametrize(
    ("architecture", "features", "expected"),
    [
        ("harcnn-s1", 1664, convolution(9, 32, 1, 9) + convolution(32, 64, 1, 9)),
        ("harcnn-s2", 320, convolution(9, 32, 1, 9) + convolution(32, 64, 1, 9)),
        ("harcnn-s3", 128, convolution(9, 32, 1, 9) + convolution(32, 64, 1, 9)),
        ("harcnn1-s1", 1920, convolution(9, 32, 1, 9)),
        ("harcnn1-s2", 960, convolution(9, 32, 1, 9)),
        ("harcnn1-s3", 640, convolution(9, 32, 1, 9)),
        ("harcnn3-s1", 1536, 9 * 32 * 5 + 32 + 32 * 64 * 5 + 64 + 64 * 128 * 5 + 128),
        ("harcnn3-s2", 128, 9 * 32 * 5 + 32 + 32 * 64 * 5 + 64 + 64 * 128 * 5 + 128),
    ],
)
def test_sensor_networks(architecture: str, features: int, expected: int) -> None:
    assert feature_width(architecture, HAR) == features
    assert parameters(build(architecture, HAR, 6).base) == expected


def test_a_sensor_network_reads_an_image_row_after_row() -> None:
    image = torch.arange(784.0).reshape(1, 1, 28, 28) / 784
    seen = build("harcnn-s1", (1, 28, 28), 10)
    read = build("harcnn-s1", (1, 1, 784), 10)
    torch.testing.assert_close(seen(image)[1], read(image.reshape(1, 1, 1, 784))[1])


def test_residual_networks_start_as_torchvisions_do() -> None:
    base = build("resnet10", CIFAR, 10).base
    convolutions = [module for module in base.modules() if isinstance(module, nn.Conv2d)]
    for module in convolutions:
        fan_out = module.weight[:, 0].numel()
        assert float(module.weight.detach().std()) == pytest.approx((2 / fan_out) ** 0.5, rel=0.05)
    assert len(convolutions) == 1 + 2 * 4 + 3


@pytest.mark.parametrize("architecture", ["cnn", "resnet6", "harcnn-s1"])
def test_the_same_seed_gives_the_same_weights(architecture: str) -> None:
    def weights(seed: int) -> list[torch.Tensor]:
        return list(build(architecture, (1, 28, 28), 5, seed=seed).state_dict().values())

    assert all(map(torch.equal, weights(3), weights(3)))
    assert not all(map(torch.equal, weights(3), weights(4)))


def test_the_base_is_drawn_before_the_head() -> None:
    narrow, wide = (build("cnn", CIFAR, 5, width=width).base.state_dict() for width in (64, 512))
    assert all(torch.equal(narrow[name], wide[name]) for name in wide)


def test_the_global_stream_is_neither_read_nor_moved() -> None:
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    first = build("resnet4", CIFAR, 3).head.weight
    assert torch.equal(torch.rand(3), expected)
    assert torch.equal(build("resnet4", CIFAR, 3).head.weight, first)


@pytest.mark.parametrize(
    ("architecture", "shape", "fits"),
    [
        ("cnn", HAR, "resnet4"),
        ("cnn", (3, 15, 15), "harcnn-s1"),
        ("harcnn-s1", (9, 1, 10), "harcnn1-s1"),
        ("harcnn3-s2", (9, 1, 20), "harcnn1-s3"),
    ],
)
def test_a_model_that_does_not_fit_names_those_that_do(
    architecture: str, shape: tuple[int, ...], fits: str
) -> None:
    with pytest.raises(ModelError) as caught:
        build(architecture, shape, 6)
    assert caught.value.field == architecture
    assert str(shape) in caught.value.problem
    assert fits in caught.value.remedy.removeprefix("use ").split(", ")
    assert architecture not in caught.value.remedy.removeprefix("use ").split(", ")


def test_a_vector_is_a_text_or_for_a_perceptron() -> None:
    texts = [name for name in ARCHITECTURES if usual_shape(name) == (200,)]
    vectors = [name for name in ARCHITECTURES if usual_shape(name) == (5000,)]
    assert fitting((200,)) == [*texts, *vectors]
    assert fitting((5000,)) == vectors
    with pytest.raises(ModelError, match=r"shape \(200,\); use fasttext, textlr, lstm"):
        build("cnn", (200,), 2)


def test_no_model_fits_a_matrix() -> None:
    assert fitting((20, 20)) == []
    with pytest.raises(ModelError, match=r"shape \(20, 20\); use inputs of shape \(channels"):
        build("cnn", (20, 20), 2)


def test_every_architecture_for_images_and_signals_fits_a_small_image() -> None:
    """But for torchvision's, which are not here, or need whole patches."""
    others = [name for name in ARCHITECTURES if len(usual_shape(name)) == 3 and name not in VISION]
    assert [name for name in fitting((1, 28, 28)) if name in others] == others


@pytest.mark.parametrize(("field", "value"), [("classes", 0), ("width", 0)])
def test_no_class_or_no_width_is_named(field: str, value: int) -> None:
    arguments = {"classes": 2, "width": 8, field: value}
    with pytest.raises(ModelError) as caught:
        build("cnn", CIFAR, arguments["classes"], arguments["width"])
    assert caught.value.field == field


def test_an_unknown_architecture_lists_the_known() -> None:
    with pytest.raises(
        ModelError, match=r"architecture: there is no 'vgg'; choose one of cnn, res"
    ):
        build("vgg", CIFAR, 10)


@pytest.mark.parametrize(
    ("group", "expected"),
    [
        ("cnn", ["cnn"] * 5),
        ("HtFE-sen-2", ["harcnn-s1", "harcnn-s2", "harcnn-s1", "harcnn-s2", "harcnn-s1"]),
        ("htfe-sen-3", ["harcnn-s1", "harcnn-s2", "harcnn-s3", "harcnn-s1", "harcnn-s2"]),
        ("htfe-sen-5", ["harcnn-s1", "harcnn-s2", "harcnn-s3", "harcnn1-s1", "harcnn3-s1"]),
        ("htfe-sen-8", ["harcnn-s1", "harcnn-s2", "harcnn-s3", "harcnn1-s1", "harcnn1-s2"]),
        ("resnets-4", ["resnet4", "resnet6", "resnet8", "resnet10", "resnet4"]),
        ("small-4", ["cnn", "resnet4", "resnet6", "resnet8", "cnn"]),
        ("ResNet10, cnn", ["resnet10", "cnn", "resnet10", "cnn", "resnet10"]),
        ("cnn, ResNet4+ReLU-8", ["cnn", "resnet4+relu-8", "cnn", "resnet4+relu-8", "cnn"]),
        ("HtFE2", ["cnn", "resnet18", "cnn", "resnet18", "cnn"]),
        ("htfe3", ["resnet10", "resnet18", "resnet34", "resnet10", "resnet18"]),
        ("htfe4", ["cnn", "googlenet", "mobilenetv2", "resnet18", "cnn"]),
        ("htfe-img-5", ["googlenet", "mobilenetv2", "resnet18", "resnet34", "resnet50"]),
        ("htfe9", ["resnet4", "resnet6", "resnet8", "resnet10", "resnet18"]),
        ("htfe-txt-2", ["fasttext", "textlr", "fasttext", "textlr", "fasttext"]),
        ("htfe-txt-4", ["fasttext", "textlr", "lstm", "bilstm", "fasttext"]),
        ("htfe-txt-6", ["fasttext", "lstm", "bilstm", "transformer-l2-h8", "textlr"]),
        ("htfe-txt-5-1", [f"transformer-l{n}-h8" for n in (1, 2, 4, 8, 16)]),
        ("htfe-txt-5-2", [f"transformer-l4-h{n}" for n in (1, 2, 4, 8, 16)]),
        ("htfe-txt-5-3", [f"transformer-l{n}-h{n}" for n in (1, 2, 4, 8, 16)]),
        ("MLPs", ["mlp", "mlp-500", "mlp-1000-500", "mlp-1000-500-200", "mlp"]),
        ("MLP_1layer", ["mlp-200", "mlp-500", "mlp-200", "mlp-500", "mlp-200"]),
        ("mlp_layers", ["mlp-500", "mlp-1000-500", "mlp-1000-500-200", "mlp-500", "mlp-1000-500"]),
        ("hcnns8", ["hcnn1", "cnn", "hcnn1-512", "hcnn2-512", "hcnn1-1024"]),
        ("res34-htc4", [f"resnet34+relu{n}" for n in ("", "-512", "-256", "-128", "")]),
    ],
)
def test_clients_share_a_group_out_in_turn(group: str, expected: list[str]) -> None:
    assert client_architectures(group, 5) == expected


def test_the_last_of_the_eight_sensor_models() -> None:
    assert client_architectures("htfe-sen-8", 8)[5:] == ["harcnn1-s3", "harcnn3-s1", "harcnn3-s2"]


def test_the_groups_of_the_papers_tables() -> None:
    eight = ["cnn", "googlenet", "mobilenetv2"]
    eight += [f"resnet{n}" for n in (18, 34, 50, 101, 152)]
    assert client_architectures("htfe8", 9) == [*eight, "cnn"]
    assert client_architectures("htm10", 10) == [*eight, "vit-b-16+tanh-768", "vit-b-32+tanh-768"]
    heads = ["relu", "relu-512", "relu-256", "relu-128"] * 2
    expected = [f"{base}+{head}" for base, head in zip(eight, heads, strict=True)]
    assert client_architectures("htfe8-htc4", 8) == expected
    assert client_architectures("htfe9", 9)[5:] == [
        "resnet34",
        "resnet50",
        "resnet101",
        "resnet152",
    ]
    assert client_architectures("hcnns8", 8)[5:] == [
        "hcnn2-1024",
        "hcnn1-1024-512",
        "hcnn2-1024-512",
    ]
    assert client_architectures("htfe-txt-6", 6)[5] == "gru"


def test_every_group_and_alias_is_of_architectures_that_there_are() -> None:
    for name, entries in GROUPS.items():
        assert client_architectures(name, len(entries)) == list(entries)
        assert {split_name(entry)[0] for entry in entries} <= set(ARCHITECTURES)
    assert set(ALIASES.values()) <= set(GROUPS)
    assert not set(ALIASES) & set(GROUPS)


def test_a_group_with_one_base_has_a_small_auxiliary_model() -> None:
    assert auxiliary("Res34-HtC4", "resnet34+relu") == "cnn+relu"
    assert auxiliary("htfe3", "resnet10") == "resnet10"
    assert auxiliary(None, "cnn") == "cnn"


@pytest.mark.parametrize("group", ["zzz", "cnn,vgg", ""])
def test_an_unknown_group_lists_the_known(group: str) -> None:
    with pytest.raises(ModelError, match="is neither a group nor an architecture; use cnn, htfe"):
        client_architectures(group, 2)
