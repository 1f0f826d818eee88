"""What a stranger finds beside a device: graphs that say the same of any picture, and a card."""

import hashlib
import io
import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from edge.agent import int8_form, picture_form
from edge.agent.companions import INT8, PICTURE, Companions
from edge.agent.export import Classifier, export
from edge.agent.model_card import CARD
from edge.agent.predict import open_model
from edgeloop.data import ClientData, DeviceSamples, Samples
from edgeloop.models import build
from edgeloop.runtime import pictures
from tests.edge.predictors import by_head, nearest

NAMES = ("ant", "bee", "c|`\nat")
FACTS = {"task": "t", "run": "r", "round": "3", "device": "one", "licence": "CC-BY-4.0"}
SIZES = ((28, 28), (56, 56), (100, 37), (31, 500), (480, 640), (5, 7), (1, 1), (13, 400))


class Pixels(nn.Module):
    """The pixels themselves as scores of 12 classes."""

    def forward(self, images: Tensor) -> Tensor:
        return images.flatten(1)


def session(content: bytes) -> Any:
    return onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])


def drawn(height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    """Return a picture of noise: the hardest to resize alike."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def png(picture: NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG")
    return buffer.getvalue()


def written(folder: Path, architecture: str, shape: tuple[int, ...], *, pixels: bool) -> Path:
    path = folder / "model.onnx"
    model = build(architecture, shape, 3, width=48, seed=5)
    random = torch.Generator().manual_seed(2)
    with torch.no_grad():  # of samples of its own, so that classes occur
        features = model.eval()(torch.randn(3, *shape, generator=random))[0]
    ending = nearest(torch.tensor([True, True, False]), features)
    classifier = Classifier(model, ending, pixels)
    export(classifier, path, shape=shape, class_names=NAMES, pixels=pixels, facts=FACTS)
    return path


def own(path: Path, count: int, seed: int = 1) -> DeviceSamples:
    """Return samples that a model has right, and is sure of, half of them for testing."""
    model, random = open_model(path), np.random.default_rng(seed)
    shape = (4 * count, *model.shape)
    read = random.integers(0, 256, shape) if model.pixels else random.normal(size=shape)
    scores = model.scores(read.astype(np.float32))
    surest = np.argsort(np.abs(scores[:, 0] - scores[:, 1]))[-count:]
    inputs = read[surest].astype(np.float32)
    every = Samples(inputs / 127.5 - 1 if model.pixels else inputs, scores[surest].argmax(1))
    parts = [Samples(every.inputs[at::2], every.labels[at::2]) for at in (0, 1)]
    return DeviceSamples(ClientData(*parts), model.pixels)


@pytest.mark.parametrize("shape", [(1, 3, 4), (3, 2, 2), (1, 12, 1)])
def test_the_graphs_pixels_are_those_of_training(tmp_path: Path, shape: tuple[int, ...]) -> None:
    path = tmp_path / "model.onnx"
    names = [f"p{number}" for number in range(12)]
    export(Pixels(), path, shape=shape, class_names=names, pixels=True, facts={})
    graph = session(picture_form.of_pictures(onnx.load(path), {}))
    for size in SIZES:
        picture = drawn(*size)
        (found,) = graph.run(["scores"], {"image": picture})
        wanted = pictures.decode(png(picture), "x", channels=shape[0], size=(shape[1], shape[2]))
        assert np.abs(found.reshape(shape) - wanted).max() <= picture_form.TOLERANCE, size


@pytest.mark.parametrize(
    ("architecture", "shape"), [("cnn", (1, 28, 28)), ("resnet4", (3, 32, 32))]
)
def test_all_forms_say_the_same(tmp_path: Path, architecture: str, shape: tuple[int, ...]) -> None:
    path = written(tmp_path, architecture, shape, pixels=True)
    floats, graph = (
        session(each) for each in (path.read_bytes(), picture_form.of_pictures(onnx.load(path), {}))
    )
    for number in range(60):
        picture = drawn(20 + number, 90 - number, seed=number)
        read = pictures.decode(png(picture), "x", channels=shape[0], size=(shape[1], shape[2]))
        label, shares, scores = graph.run(None, {"image": picture})
        wanted = floats.run(None, {"images": read[None].astype(np.float32)})
        assert label.tolist() == wanted[0].tolist() == [NAMES[int(scores.argmax())]]
        assert np.allclose(shares, wanted[1], atol=1e-3)
        assert np.allclose(scores, wanted[2], atol=1e-3)
        assert (shares[0, 2], scores[0, 2]) == (0, -np.inf)
        assert shares.sum() == pytest.approx(1)


def test_a_batch_of_sensor_windows_has_all_outputs(tmp_path: Path) -> None:
    path = written(tmp_path, "harcnn-s1", (9, 1, 128), pixels=False)
    windows = np.random.default_rng(0).normal(size=(5, 9, 1, 128)).astype(np.float32)
    label, shares, scores = session(path.read_bytes()).run(None, {"images": windows})
    assert label.tolist() == [NAMES[each] for each in scores.argmax(1)]
    assert shares.sum(1) == pytest.approx(np.ones(5))
    assert not picture_form.is_possible(onnx.load(path))


def test_a_file_tells_what_it_is(tmp_path: Path) -> None:
    path = written(tmp_path, "cnn", (1, 28, 28), pixels=True)
    Companions(tmp_path, own(path, 80), int8=True).write()
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    for name, form in ((PICTURE, "picture"), (INT8, "int8")):
        model = onnx.load(tmp_path / name)
        known = {entry.key: entry.value for entry in model.metadata_props}
        assert known["edgeloop.form"] == form
        assert known["edgeloop.made_of_sha256"] == digest
        assert known["edgeloop.licence"] == "CC-BY-4.0"
        assert json.loads(known["edgeloop.class_names"]) == list(NAMES)
        assert model.producer_name == "edgeloop"
        assert "Licence: CC-BY-4.0" in model.doc_string
        assert all(each.doc_string for each in [*model.graph.input, *model.graph.output])


def test_the_cards_own_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path, "cnn", (1, 28, 28), pixels=True)
    Companions(tmp_path, own(path, 8)).write()
    text = (tmp_path / CARD).read_text()
    assert "2. `c/'?at`" in text
    assert 'license_name: "CC-BY-4.0"' in text
    (tmp_path / "picture.jpg").write_bytes(png(drawn(90, 70)))
    monkeypatch.chdir(tmp_path)
    found: dict[str, Any] = {}
    exec(text.partition("```python\n")[2].partition("```")[0], found)  # noqa: S102 - our own page
    assert found["label"][0] in NAMES

    folder = tmp_path / "sensors"
    folder.mkdir()
    written(folder, "harcnn-s1", (9, 1, 128), pixels=False)
    Companions(folder, own(folder / "model.onnx", 8)).write()
    assert sorted(each.name for each in folder.iterdir()) == [CARD, "model.onnx"]
    monkeypatch.chdir(folder)
    exec((folder / CARD).read_text().partition("```python\n")[2].partition("```")[0], found)  # noqa: S102 - our own page
    assert found["scores"].shape == (1, 3)


def test_what_is_of_another_model_is_made_again_or_removed(tmp_path: Path) -> None:
    path = written(tmp_path, "cnn", (1, 28, 28), pixels=True)
    data = own(path, 80)
    Companions(tmp_path, data, int8=True).write()
    before = {name: (tmp_path / name).stat().st_mtime_ns for name in (PICTURE, INT8, CARD)}
    Companions(tmp_path, data, int8=True).write()
    assert before == {name: (tmp_path / name).stat().st_mtime_ns for name in before}
    other = build("resnet4", (1, 28, 28), 3, width=48, seed=6)
    classifier = Classifier(other, by_head, pixels=True)
    export(classifier, path, shape=(1, 28, 28), class_names=NAMES, pixels=True, facts=FACTS)
    Companions(tmp_path, data).write()
    assert not (tmp_path / INT8).exists()
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert digest in (tmp_path / CARD).read_text()
    assert digest.encode() in (tmp_path / PICTURE).read_bytes()


def test_int8_is_as_good_or_is_not_there(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = written(tmp_path, "harcnn-s1", (9, 1, 128), pixels=False)
    data = own(path, 200).data
    held = data.test.inputs, data.test.labels
    found = int8_form.quantized(path, data.train.inputs, held, {})
    assert found.content is not None
    assert len(found.content) < path.stat().st_size
    assert found.accuracy is not None
    assert found.accuracy >= 1 - int8_form.MOST_LOST
    assert len(set(held[1].tolist())) == 2
    other = int8_form.quantized(path, data.train.inputs * 1e4, held, {})  # a range of other data
    assert other.content is None
    assert "right, and the one of floats 1.0000" in other.why
    none = DeviceSamples(ClientData(data.train, Samples(held[0][:0], held[1][:0])), False)
    with caplog.at_level(logging.WARNING):
        Companions(tmp_path, none, int8=True).write()
    assert "no model.int8.onnx: there are too few samples to decide by" in caplog.text
    assert not (tmp_path / INT8).exists()
