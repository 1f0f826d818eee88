"""What an ONNX file says of itself, read without onnx; and that nobody runs a loop."""

import json
from contextlib import suppress
from pathlib import Path

import onnx
import pytest
from onnx import helper

from cloud.generator_service import repository
from cloud.generator_service.bases import importing
from cloud.generator_service.bases.importing import Preprocessing
from edge.agent.predict import open_model
from edgeloop import generators
from edgeloop.bases.running import Base
from edgeloop.cli.main import main
from edgeloop.errors import BaseError, GeneratorError, ModelError
from edgeloop.generators import manifest
from edgeloop.generators.onnx import OnnxGenerator
from edgeloop.runtime import onnx_graphs
from tests.bases.tiny import tiny_graph
from tests.generators.tiny import write_tiny
from tests.runtime.endless import add_loop

SHAPE = (1, 4, 4)
PLAIN = tiny_graph(SHAPE)
WITHIN = ["", "if", "function"]


def endless(within: str = "") -> bytes:
    return add_loop(onnx.load_from_string(PLAIN), "features", within)


def test_operators_are_those_that_onnx_reads() -> None:
    for path in Path(generators.__file__).parent.glob("*/*.onnx"):
        content = path.read_bytes()
        expected = sorted(node.op_type for node in onnx.load_from_string(content).graph.node)
        assert sorted(onnx_graphs.operators(content)) == expected
        onnx_graphs.check(content)


@pytest.mark.parametrize("within", WITHIN)
def test_a_loop_is_found_wherever_it_stands(within: str) -> None:
    onnx.checker.check_model(onnx.load_from_string(endless(within)))
    with pytest.raises(ValueError, match="its operator Loop may run for ever"):
        onnx_graphs.check(endless(within))


@pytest.mark.parametrize(
    "content",
    [b"no model", b"\xff" * 30, b"\x3a", b"\x3a\x05ab", b"\x3b", b"\0\0\0\0", b"\x18\0\0\0ORTM"],
)
def test_what_is_no_onnx_file_is_refused(content: bytes) -> None:
    with pytest.raises(ValueError, match="it is"):
        onnx_graphs.check(content)


@pytest.mark.parametrize("length", range(0, len(PLAIN), 37))
def test_a_part_of_a_file_is_read_or_refused_and_no_more(length: int) -> None:
    with suppress(ValueError):  # and no other error
        onnx_graphs.check(PLAIN[:length])


@pytest.mark.parametrize("within", WITHIN)
def test_a_base_with_a_loop_is_not_opened(within: str) -> None:
    """By a device either: it opens what it fetched so."""
    with pytest.raises(BaseError, match="its operator Loop may run for ever"):
        Base(endless(within))


@pytest.mark.parametrize("within", WITHIN)
def test_nor_imported(within: str) -> None:
    with pytest.raises(BaseError, match="its operator Loop may run for ever"):
        importing.wrap_extractor(endless(within), SHAPE, Preprocessing())


@pytest.mark.parametrize("part", manifest.PARTS)
def test_nor_is_a_generator(
    tmp_path: Path,
    part: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("EDGELOOP_HOME", str(tmp_path / "home"))
    folder = write_tiny(tmp_path / "tiny")
    model = onnx.load(str(folder / part))
    (folder / part).write_bytes(add_loop(model, model.graph.output[0].name))
    told = json.loads((folder / manifest.MANIFEST).read_text())
    told["sha256"][part] = manifest.digest(folder / part)
    (folder / manifest.MANIFEST).write_text(json.dumps(told))
    with pytest.raises(GeneratorError, match="its operator Loop may run for ever"):
        OnnxGenerator(folder)
    with pytest.raises(GeneratorError, match="its operator Loop may run for ever"):
        repository.write(folder, tmp_path / "models", "tiny")
    assert main(["generator", "import", str(folder), "--name", "mine"]) == 2
    assert "its operator Loop may run for ever" in capsys.readouterr().err


def test_nor_is_a_classifier_for_predictions(tmp_path: Path) -> None:
    model = onnx.load_from_string(tiny_graph(SHAPE, names=("images", "scores")))
    facts = {"class_names": ["a"] * 6, "shape": SHAPE, "pixels": False}
    helper.set_model_props(model, {f"edgeloop.{n}": json.dumps(v) for n, v in facts.items()})
    path = tmp_path / "model.onnx"
    path.write_bytes(bytes(model.SerializeToString()))
    open_model(path)
    path.write_bytes(add_loop(model, "scores"))
    with pytest.raises(ModelError, match="its operator Loop may run for ever"):
        open_model(path)
