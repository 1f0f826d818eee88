"""`edgeloop predict`, from the command's words to its screen, without torch."""

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from torch import Tensor, nn

from edge.agent.export import Classifier, export
from edge.agent.predict import main, open_model
from edgeloop.cli.main import main as edgeloop
from edgeloop.errors import DataError, ModelError
from edgeloop.models import SplitModel, build
from tests.edge.predictors import by_head, nearest

ROOT = Path(__file__).parents[2]
NAMES = ("ant", "bumblebee", "cat")


class Means(nn.Module):
    """The mean of each colour of an image, so that scores can be told by hand."""

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs.mean(dim=(2, 3))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A classifier of 3 x 2 x 2 pixels; the third class has no prototype."""
    path = tmp_path_factory.mktemp("device") / "model.onnx"
    prototypes = torch.tensor([[1.0, -1, -1], [-1, 1, 1], [0, 0, 0]])
    known = torch.tensor([True, True, False])
    split = SplitModel(Means(), 3, 3, features=3)
    scores = Classifier(split, nearest(known, prototypes), pixels=True)
    export(scores, path, shape=(3, 2, 2), class_names=NAMES, pixels=True, facts={"round": "2"})
    return path


@pytest.fixture
def pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with a red and a cyan picture of four times the model's size."""
    (tmp_path / "red.ppm").write_bytes(b"P6 4 4 255 " + b"\xff\0\0" * 16)
    (tmp_path / "cyan.ppm").write_bytes(b"P6 4 4 255 " + b"\0\xff\xff" * 16)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.usefixtures("pictures")
def test_columns(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(model), "red.ppm", "cyan.ppm"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "image     label      score  second     score",
        "red.ppm   ant        0      bumblebee  -4",
        "cyan.ppm  bumblebee  0      ant        -4",
    ]


@pytest.mark.usefixtures("pictures")
def test_top(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main([str(model), "red.ppm", "--top", "1"])
    assert capsys.readouterr().out == "image    label  score\nred.ppm  ant    0\n"
    main([str(model), "red.ppm", "--top", "9"])
    assert capsys.readouterr().out.splitlines() == [
        "image    label  score  second     score  no. 3  score",
        "red.ppm  ant    0      bumblebee  -4     -      -",
    ]


@pytest.mark.usefixtures("pictures")
def test_json(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main([str(model), "cyan.ppm", "red.ppm", "--json"])
    assert json.loads(capsys.readouterr().out) == [
        {"image": "cyan.ppm", "label": "bumblebee", "class": 1, "scores": [-4, 0, None]},
        {"image": "red.ppm", "label": "ant", "class": 0, "scores": [0, -4, None]},
    ]
    main([str(model), "cyan.ppm", "--json", "--top", "1"])
    (found,) = json.loads(capsys.readouterr().out)
    assert found["top"] == [{"label": "bumblebee", "class": 1, "score": 0}]


def test_more_images_than_a_batch(
    model: Path, pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(130):
        shade = bytes([number, 0, 0]) * 4
        (pictures / f"{number}.ppm").write_bytes(b"P6 2 2 255 " + shade)
    main([str(model), *(f"{number}.ppm" for number in range(130)), "--json"])
    found = json.loads(capsys.readouterr().out)
    assert [each["image"] for each in found] == [f"{number}.ppm" for number in range(130)]
    expected = [-((2 - number / 127.5) ** 2) / 3 for number in range(130)]
    assert [each["scores"][0] for each in found] == pytest.approx(expected, abs=1e-5)


def test_a_sensors_model_reads_arrays(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    split = build("harcnn-s2", (9, 1, 128), 3, width=16, seed=1).eval()
    classifier = Classifier(split, by_head, pixels=False)
    path, sample = tmp_path / "model.onnx", np.random.default_rng(2).normal(size=(9, 128))
    export(classifier, path, shape=(9, 1, 128), class_names=NAMES, pixels=False, facts={})
    np.save(tmp_path / "walk.npy", sample)
    main([str(path), str(tmp_path / "walk.npy"), "--json"])
    (found,) = json.loads(capsys.readouterr().out)
    inputs = torch.tensor(sample, dtype=torch.float32).reshape(1, 9, 1, 128)
    assert found["scores"] == pytest.approx(split(inputs)[1][0].tolist(), abs=1e-4)


def test_names_cannot_write_to_the_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, image = tmp_path / "model.onnx", tmp_path / "\x1b[2J.ppm"
    image.write_bytes(b"P6 2 2 255 " + bytes(12))
    scores = Classifier(SplitModel(Means(), 3, 3, features=3), by_head, pixels=True)
    names = ("a\x1b]0;x\x07", "b\nc", "d")
    export(scores, path, shape=(3, 2, 2), class_names=names, pixels=True, facts={})
    main([str(path), str(image), "--top", "3"])
    shown = capsys.readouterr().out
    assert "?[2J.ppm" in shown
    assert {"\x1b", "\x07"}.isdisjoint(shown)
    assert shown.count("\n") == 2


def foreign(path: Path, metadata: Mapping[str, str], classes: int = 3) -> Path:
    """Write an ONNX model that gives each image the same scores, from no number on."""
    images = helper.make_tensor_value_info("images", TensorProto.FLOAT, ["batch", 2])
    scores = helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["batch", classes])
    weights = helper.make_tensor("w", TensorProto.FLOAT, [2, classes], [np.nan] * 2 * classes)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["images", "w"], ["scores"])],
        "g",
        [images],
        [scores],
        [weights],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(model, {f"edgeloop.{key}": value for key, value in metadata.items()})
    onnx.save(model, path)
    return path


OURS = {"class_names": '["a", "b", "c"]', "shape": "[2]", "pixels": "false"}


@pytest.mark.parametrize(
    ("metadata", "problem"),
    [
        ({}, "that edgeloop did not write"),
        ({"class_names": '["a"]', "shape": "[2]"}, "that edgeloop did not write"),
        (OURS | {"shape": "[2"}, "that edgeloop did not write"),
        (OURS | {"shape": "[true]"}, "not edgeloop's"),
        (OURS | {"shape": "[-2]"}, "not edgeloop's"),
        (OURS | {"shape": "[3, 100000, 100000]"}, "not edgeloop's"),
        (OURS | {"shape": "2"}, "not edgeloop's"),
        (OURS | {"pixels": "1"}, "not edgeloop's"),
        (OURS | {"class_names": "[1, 2, 3]"}, "not edgeloop's"),
        (OURS | {"class_names": '["a", "b"]'}, r"2 class names and scores \(1, 3\)"),
        (OURS | {"shape": "[1, 1, 2]"}, "cannot be run"),
        (OURS, "no score"),
    ],
)
def test_models_that_are_not_ours(
    tmp_path: Path, metadata: Mapping[str, str], problem: str
) -> None:
    path = foreign(tmp_path / "model.onnx", metadata)
    np.save(tmp_path / "x.npy", np.zeros(2))
    with pytest.raises(ModelError, match=problem):
        main([str(path), str(tmp_path / "x.npy")])


@pytest.mark.parametrize("content", [b"", b"no model", b"\x08\x08"])
def test_files_that_are_no_model(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    with pytest.raises(ModelError, match="is no ONNX model"):
        open_model(path)


def test_one_thread_of_the_cpu(model: Path) -> None:
    session = open_model(model).session
    options = session.get_session_options()
    assert (options.intra_op_num_threads, options.inter_op_num_threads) == (1, 1)
    assert session.get_providers() == ["CPUExecutionProvider"]


def test_a_model_cut_short(model: Path, tmp_path: Path) -> None:
    whole = model.read_bytes()
    for length in (40, len(whole) // 2, len(whole) - 1):
        (tmp_path / "model.onnx").write_bytes(whole[:length])
        with pytest.raises(ModelError):
            main([str(tmp_path / "model.onnx"), "x.png"])


def test_a_folder_of_images_is_no_image(model: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"is a folder; give its images: .*/\*"):
        main([str(model), str(tmp_path)])


@pytest.mark.usefixtures("pictures")
def test_what_is_missing_or_broken(model: Path) -> None:
    for path in ("none.onnx", ".", "n" * 300):
        with pytest.raises(ModelError, match=r"no such file|cannot be read"):
            main([path, "red.ppm"])
    with pytest.raises(DataError, match=r"^none.png: there is no such file"):
        main([str(model), "red.ppm", "none.png"])
    Path("broken.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    with pytest.raises(DataError, match=r"^broken.png: "):
        main([str(model), "broken.png"])


@pytest.mark.parametrize(
    "words", [[], ["model.onnx"], ["model.onnx", "x.png", "--top", "0"], ["m", "x", "--what"]]
)
def test_wrong_usage_ends_with_two(words: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(words)
    assert caught.value.code == 2


def test_one_clear_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert edgeloop(["predict", "none.onnx", "x.png"]) == 2
    assert capsys.readouterr().err == (
        "error: none.onnx: there is no such file; give a model that an edgeloop device exported\n"
    )


BARE = """
import sys

class Bare:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"torch", "typer", "pydantic", "onnx", "rich"}:
            raise ModuleNotFoundError(f"a device without torch imports {name}", name=name)

sys.meta_path.insert(0, Bare())
from edge.agent.predict import main
sys.exit(main(sys.argv[1:]))
"""


def bare(words: Sequence[str], folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", BARE, *words],
        cwd=folder,
        env={"PYTHONPATH": str(ROOT), "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_device_without_torch(model: Path, pictures: Path) -> None:
    found = bare([str(model), "red.ppm", "--top", "1"], pictures)
    assert (found.stderr, found.returncode) == ("", 0)
    assert found.stdout == "image    label  score\nred.ppm  ant    0\n"
