"""A device's classifier as ONNX: the same scores as torch's, metadata, and what is refused."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn

import edgeloop
from edge.agent.export import Classifier, check, export
from edge.agent.predict import open_model
from edgeloop.errors import ModelError
from edgeloop.knowledge import etf
from edgeloop.models import SplitModel, build
from tests.edge.predictors import by_angle, by_head, nearest

NAMES = ("ant", "bee", "cat")
OUTPUTS = ["label", "probabilities", "scores"]


class Plain(nn.Module):
    """Features that are the inputs themselves, so that scores can be told by hand."""

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs.flatten(1)


def plain() -> SplitModel:
    model = SplitModel(Plain(), 2, 3, features=2)
    with torch.no_grad():
        model.head.weight.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0], [2.0, 2.0]]))
        model.head.bias.copy_(torch.tensor([0.0, 0.5, -1.0]))
    return model


def convolutional() -> SplitModel:
    """Features of an odd number, so that the pooling's bins overlap, and a batch norm."""
    layers = nn.Sequential(nn.Conv2d(1, 5, 3), nn.BatchNorm2d(5), nn.ReLU(), nn.MaxPool2d(2))
    return SplitModel(nn.Sequential(layers, nn.Flatten()), 16, 3, features=45)


def written(scores: nn.Module, path: Path, shape: tuple[int, ...], pixels: bool = False) -> Path:
    export(scores, path, shape=shape, class_names=NAMES, pixels=pixels, facts={})
    return path


def drawn(*shape: int, seed: int = 3) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def pixels_of(*shape: int) -> Tensor:
    return torch.randint(0, 256, shape, generator=torch.Generator().manual_seed(4)).float()


def test_the_heads_scores_by_hand(tmp_path: Path) -> None:
    path = written(Classifier(plain(), by_head, False), tmp_path / "model.onnx", (2,))
    scores = open_model(path).scores(np.array([[1, 2], [3, 0]], np.float32))
    assert scores.tolist() == [[1.0, 2.5, 5.0], [3.0, 0.5, 5.0]]


def test_the_nearest_prototypes_scores_by_hand(tmp_path: Path) -> None:
    prototypes = torch.tensor([[0.0, 0.0], [3.0, 0.0], [1.0, 2.0]])
    known = torch.tensor([True, True, False])
    path = written(
        Classifier(plain(), nearest(known, prototypes), False), tmp_path / "model.onnx", (2,)
    )
    scores = open_model(path).scores(np.array([[1, 2], [2, 0]], np.float32))
    assert scores.tolist() == [[-2.5, -4.0, -np.inf], [-2.0, -0.5, -np.inf]]


def test_pixels_are_mapped_inside_the_graph(tmp_path: Path) -> None:
    path = written(Classifier(plain(), by_head, True), tmp_path / "model.onnx", (2,), True)
    scores = open_model(path).scores(np.array([[0, 255], [255, 127.5]], np.float32))
    assert scores.tolist() == [[-1.0, 1.5, -1.0], [1.0, 0.5, 1.0]]


@pytest.mark.parametrize("pixels", [False, True])
@pytest.mark.parametrize("known", [None, (True, True, True), (True, False, True)])
def test_a_small_net_agrees(tmp_path: Path, known: tuple[bool, ...] | None, pixels: bool) -> None:
    ending = by_head if known is None else nearest(torch.tensor(known), drawn(3, 16))
    classifier = Classifier(convolutional(), ending, pixels)
    path = written(classifier, tmp_path / "model.onnx", (1, 8, 8), pixels)
    for count in (1, 2, 7):
        inputs = pixels_of(count, 1, 8, 8) if pixels else drawn(count, 1, 8, 8)
        assert check(path, classifier, inputs) < 1e-4


ENDINGS = {
    "head": by_head,
    "nearest": nearest(torch.tensor([True, True, False]), drawn(3, 48)),
    "angle": by_angle(etf.frame(3, 0)),
}


@pytest.mark.parametrize("ending", list(ENDINGS))
@pytest.mark.parametrize(
    ("architecture", "shape"),
    [
        ("cnn", (1, 28, 28)),
        ("cnn", (3, 32, 32)),
        ("resnet4", (3, 32, 32)),
        ("resnet10", (1, 28, 28)),
        ("harcnn-s2", (9, 1, 128)),
        ("harcnn3-s1", (9, 1, 128)),
    ],
)
def test_architectures_agree(
    tmp_path: Path, architecture: str, shape: tuple[int, ...], ending: str
) -> None:
    pixels = architecture[:3] != "har"
    model = build(architecture, shape, 3, width=48, seed=5)
    classifier = Classifier(model, ENDINGS[ending], pixels)
    path = written(classifier, tmp_path / "model.onnx", shape, pixels)
    assert check(path, classifier, pixels_of(3, *shape) if pixels else drawn(3, *shape)) < 1e-3


def test_metadata_tell_what_the_model_is(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    names = ("été", "b\nc", '"')
    facts = {"task": "shoes", "device": "cam-1", "round": "7", "accuracy": "0.91"}
    classifier = Classifier(plain(), by_head, False)
    export(classifier, path, shape=(2, 1), class_names=names, pixels=False, facts=facts)
    found = {entry.key: entry.value for entry in onnx.load(path).metadata_props}
    assert json.loads(found.pop("edgeloop.class_names")) == list(names)
    assert found == {
        "edgeloop.shape": "[2, 1]",
        "edgeloop.pixels": "false",
        "edgeloop.licence": "not stated",
        "edgeloop.onnxruntime": ">=1.20,<2",
        "edgeloop.version": edgeloop.__version__,
        **{f"edgeloop.{name}": value for name, value in facts.items()},
    }
    model = open_model(path)
    assert (model.class_names, model.shape, model.pixels) == (names, (2, 1), False)


def test_the_batch_is_free_and_the_rest_is_not(tmp_path: Path) -> None:
    path = written(Classifier(plain(), by_head, False), tmp_path / "model.onnx", (2,))
    graph = onnx.load(path).graph
    sides = graph.input[0].type.tensor_type.shape.dim
    assert (graph.input[0].name, [each.name for each in graph.output]) == ("images", OUTPUTS)
    assert (sides[0].dim_param, sides[1].dim_value) == ("batch", 2)


def test_the_model_that_trains_is_left_alone(tmp_path: Path) -> None:
    model = convolutional().train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    classifier = Classifier(model, by_head, False)
    assert not any(module.training for module in classifier.modules())
    path = written(classifier, tmp_path / "model.onnx", (1, 8, 8))
    with torch.no_grad():
        model.head.weight.zero_()
    assert check(path, classifier, drawn(2, 1, 8, 8)) < 1e-4
    assert all(module.training for module in model.modules())
    assert all(
        torch.equal(value, before[name])
        for name, value in model.state_dict().items()
        if name != "head.weight"
    )


def test_a_failed_export_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"old")
    classifier = Classifier(plain(), by_head, False)
    with pytest.raises(ModelError, match="class_names: 2 for a model of 3 classes"):
        export(classifier, path, shape=(2,), class_names=("a", "b"), pixels=False, facts={})
    assert path.read_bytes() == b"old"
    written(classifier, path, (2,))
    assert [file.name for file in tmp_path.iterdir()] == ["model.onnx"]


def test_facts_do_not_overwrite_metadata(tmp_path: Path) -> None:
    classifier = Classifier(plain(), by_head, False)
    with pytest.raises(ValueError, match=r"\['shape'\] cannot be facts"):
        export(
            classifier,
            tmp_path / "model.onnx",
            shape=(2,),
            class_names=NAMES,
            pixels=False,
            facts={"shape": "round"},
        )


def test_some_class_must_be_known(tmp_path: Path) -> None:
    nobody = nearest(torch.zeros(3, dtype=torch.bool), torch.zeros(3, 2))
    with pytest.raises(ModelError, match="no class has one"):
        written(Classifier(plain(), nobody, False), tmp_path / "model.onnx", (2,))


def test_check_finds_another_label(tmp_path: Path) -> None:
    path = written(Classifier(plain(), by_head, False), tmp_path / "model.onnx", (2,))
    model = plain()
    with torch.no_grad():
        model.head.weight.neg_()
    with pytest.raises(ModelError, match="names another class for sample 1"):
        check(path, Classifier(model, by_head, False), torch.tensor([[0.0, 0.0], [9.0, 1.0]]))


def test_check_finds_another_score(tmp_path: Path) -> None:
    path = written(Classifier(plain(), by_head, False), tmp_path / "model.onnx", (2,))
    model = plain()
    inputs = torch.tensor([[1.0, 2.0]])
    with torch.no_grad():
        model.head.bias[0] += 0.004
    assert check(path, Classifier(model, by_head, False), inputs) == pytest.approx(0.004, rel=0.01)
    with torch.no_grad():
        model.head.bias[0] += 0.002
    with pytest.raises(ModelError, match=r"differs by 0\.006, 0\.005 is allowed"):
        check(path, Classifier(model, by_head, False), inputs)


def test_check_lets_a_tie_fall_either_way(tmp_path: Path) -> None:
    path = written(Classifier(plain(), by_head, False), tmp_path / "model.onnx", (2,))
    model = plain()
    with torch.no_grad():
        model.head.bias[2] += 1e-4
    classifier = Classifier(model, by_head, False)
    tied = torch.tensor([[1.0, 0.0]])
    assert classifier(tied).argmax().item() == 2
    assert open_model(path).scores(tied.numpy()).argmax() == 0
    assert check(path, classifier, tied) == pytest.approx(1e-4, rel=0.01)


def test_check_finds_other_known_classes(tmp_path: Path) -> None:
    prototypes, known = drawn(3, 2), torch.tensor([True, True, False])
    path = written(
        Classifier(plain(), nearest(known, prototypes), False), tmp_path / "model.onnx", (2,)
    )
    with pytest.raises(ModelError, match="knows other classes"):
        check(path, Classifier(plain(), nearest(~known, prototypes), False), drawn(1, 2))


def test_check_refuses_a_model_that_diverged(tmp_path: Path) -> None:
    model = plain()
    with torch.no_grad():
        model.head.bias[0] = torch.nan
    classifier = Classifier(model, by_head, False)
    path = written(classifier, tmp_path / "model.onnx", (2,))
    with pytest.raises(ModelError, match="not numbers"):
        check(path, classifier, drawn(1, 2))
