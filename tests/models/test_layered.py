"""Heads of several layers, and which algorithms take them."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from edge.agent.export import Classifier, check, export
from edgeloop import algorithms, models, server_loop
from edgeloop.client import Client
from edgeloop.cohorts.local import LocalCohort
from edgeloop.data import ClientData
from edgeloop.data.samples import Samples
from edgeloop.errors import ConfigError, ModelError
from edgeloop.generators.onnx import OnnxGenerator
from edgeloop.models.layered import head, split_name
from tests.generators.tiny import write_tiny

SHAPE, CLASSES, WIDTH = (1, 16, 16), 4, 8
LAYERED = "cnn+relu-6"
FEW = {"server_epochs": 2, "server_steps": 2, "horizon": 10, "warm_up": 0}
ONE_HEAD = ["fedcp", "fedgen", "fedgh", "lgfedavg"]


def widths(module: nn.Module) -> list[tuple[int, int]]:
    linear = [each for each in module.modules() if isinstance(each, nn.Linear)]
    return [(each.in_features, each.out_features) for each in linear]


def test_without_a_kind_a_head_is_one_layer() -> None:
    assert split_name("ResNet34") == ("resnet34", "")
    assert isinstance(head("", 8, 3), nn.Linear)


def test_a_heterogeneous_head_ends_in_relu() -> None:
    assert split_name("ResNet34+ReLU-5-4") == ("resnet34", "relu-5-4")
    layers = head("relu-5-4", 8, 3)
    assert widths(layers) == [(8, 5), (5, 4), (4, 3)]
    assert [type(each).__name__ for each in layers.children()] == ["Linear", "ReLU"] * 3
    assert widths(head("relu", 8, 3)) == [(8, 3)]
    features_BK = torch.randn(50, 8, generator=torch.Generator().manual_seed(0))
    assert head("relu", 8, 3)(features_BK).min().item() == 0


def test_an_mlps_head_has_relus_between_its_layers_and_free_logits() -> None:
    layers = head("mlp-5-4", 8, 3)
    assert widths(layers) == [(8, 5), (5, 4), (4, 3)]
    assert [type(each).__name__ for each in layers.children()] == [
        *["Linear", "ReLU"] * 2,
        "Linear",
    ]


def test_a_vision_transformers_head_has_free_logits() -> None:
    layers = head("tanh-768", 8, 3)
    assert widths(layers) == [(8, 768), (768, 3)]
    assert [type(each).__name__ for each in layers.children()] == ["Linear", "Tanh", "Linear"]


@pytest.mark.parametrize(
    "name", ["cnn+", "cnn+gelu", "cnn+relu-0", "cnn+relu256", "cnn+relu-", "+"]
)
def test_an_unknown_head_is_an_error(name: str) -> None:
    with pytest.raises(ModelError):
        models.build(name, SHAPE, CLASSES)
    with pytest.raises(ModelError):
        models.client_architectures(f"cnn,{name}", 2)


def test_the_error_says_how_heads_are_written() -> None:
    with pytest.raises(
        ModelError, match=r"'cnn\+gelu' asks for an unknown head; write relu, relu-2"
    ):
        models.build("cnn+gelu", SHAPE, CLASSES)


def test_the_base_is_the_one_of_the_same_seed_and_the_head_comes_after_it() -> None:
    layered, plain = (models.build(name, SHAPE, CLASSES, WIDTH) for name in (LAYERED, "cnn"))
    pairs = zip(layered.base.parameters(), plain.base.parameters(), strict=True)
    assert all(torch.equal(ours, theirs) for ours, theirs in pairs)
    assert torch.equal(layered.head[0].weight[:4], plain.head.weight)  # the same draws


def data(labels: tuple[int, ...]) -> ClientData:
    random = np.random.default_rng(len(labels))
    inputs = random.standard_normal((len(labels), *SHAPE)).astype(np.float32)
    samples = Samples(inputs, np.array(labels, np.int64))
    return ClientData(samples, samples)


@pytest.fixture(scope="module")
def generator(tmp_path_factory: pytest.TempPathFactory) -> OnnxGenerator:
    return OnnxGenerator(write_tiny(tmp_path_factory.mktemp("layered") / "tiny"))


TRAINED = [
    each
    for each in algorithms.built_in()
    if not (algorithms.info(each).linear_head_only or algorithms.info(each).base)
]


@pytest.mark.parametrize("name", TRAINED)
def test_the_algorithms_train_save_and_export_layered_heads(
    name: str, generator: OnnxGenerator, tmp_path: Path
) -> None:
    asked = generator if algorithms.info(name).generator else None
    facts = {"classes": CLASSES, "width": WIDTH, "shape": SHAPE, "architecture": LAYERED}
    options = algorithms.supported_options(name, **facts, **FEW)
    algorithms.check_same_architecture(name, [LAYERED] * 2, **options)
    options |= algorithms.generator_options(name, asked)
    algorithm = algorithms.load(name, asked, **options)
    clients = {}
    for client, labels in {"a": (0, 1, 2, 3) * 2, "b": (1, 0)}.items():
        model = models.build(LAYERED, SHAPE, CLASSES, WIDTH)
        clients[client] = Client(client, algorithm, model, data(labels), batch_size=4, seed=0)
    before = {key: value.copy() for key, value in clients["a"].weights().items()}
    cohort = LocalCohort(clients)
    run_state, _ = server_loop.run_rounds(
        algorithm, cohort, 2, server_loop.initial_state(algorithm), lambda closed: None
    )
    learned = clients["a"].weights()
    changed = {key.partition(".")[0] for key in before if (learned[key] != before[key]).any()}
    learning = {"base"} if name == "fedktl" else {"base", "head"}  # its classifier is fixed
    assert learning <= changed
    cohort.save(tmp_path)
    cohort.restore(tmp_path)
    targets = algorithm.targets(run_state.broadcast, torch.device("cpu"))
    scores = Classifier(
        clients["a"].model, lambda model, x: algorithm.predict(model, x, targets), pixels=False
    )
    path = tmp_path / "model.onnx"
    export(scores, path, shape=SHAPE, class_names=tuple("abcd"), pixels=False, facts={})
    assert check(path, scores, clients["a"].example_inputs(4)) < 1e-3


def test_some_algorithms_refuse_them() -> None:
    refusing = {name for name in algorithms.names() if algorithms.info(name).linear_head_only}
    assert refusing >= set(ONE_HEAD)


@pytest.mark.parametrize("name", ONE_HEAD)
def test_a_refusal_names_the_client_model_and_the_remedy(name: str) -> None:
    facts = {"classes": CLASSES, "width": WIDTH, "shape": SHAPE, "architecture": "cnn"}
    refused = rf"models: {name} needs heads of one linear layer: resnet4\+relu has another; leave"
    with pytest.raises(ConfigError, match=refused):
        algorithms.check_same_architecture(name, ["cnn", "resnet4+relu"], **facts)
    with pytest.raises(ConfigError, match="one linear layer"):
        algorithms.load(name, None, **{**facts, "architecture": LAYERED})
