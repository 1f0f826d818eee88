"""Extractors as they come: of old and new versions, of other types, and what is none."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from cloud.generator_service.bases import importing
from cloud.generator_service.bases.importing import Preprocessing
from edgeloop import bases
from edgeloop.bases import opsets
from edgeloop.bases.running import Base
from edgeloop.cli.main import main
from edgeloop.errors import BaseError

SHAPE, WIDTH = (3, 8, 8), 12
node = helper.make_node
BODY = [
    node("AveragePool", ["x"], ["p"], kernel_shape=[2, 2], strides=[2, 2]),
    node("Flatten", ["p"], ["f"], axis=1),
    node("MatMul", ["f", "w"], ["y"]),
]
"""Of an extractor: the means of each channel and quarter, times weights."""
DOUBLED = helper.make_function(
    "own", "Twice", ["a"], ["b"], [node("Add", ["a", "a"], ["b"])], [helper.make_opsetid("", 17)]
)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EDGELOOP_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def extractor(
    *more: onnx.NodeProto,
    made: str = "y",
    kind: int = TensorProto.FLOAT,
    shape: Sequence[Any] = ("N", *SHAPE),
    opset: int = 17,
    ir: int = 9,
    constants: Sequence[tuple[str, Any]] = (),
    functions: Sequence[onnx.FunctionProto] = (),
    domain: str = "own",
) -> onnx.ModelProto:
    drawn = np.random.default_rng(0).standard_normal((48, WIDTH)).astype(np.float32)
    weights = [numpy_helper.from_array(each, name) for name, each in (("w", drawn), *constants)]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, list(shape))]
    if ir < 4:  # as was the rule then
        inputs += [helper.make_tensor_value_info(e.name, e.data_type, e.dims) for e in weights]
    outputs = [helper.make_tensor_value_info(made, kind, ["N", "F"])] if made else []
    graph = helper.make_graph([*BODY, *more], "net", inputs, outputs, weights)
    versions = [helper.make_opsetid("", opset), helper.make_opsetid(domain, 1)]
    return helper.make_model(graph, opset_imports=versions, functions=functions, ir_version=ir)


def features(model: onnx.ModelProto, shape: tuple[int, ...] = SHAPE, **asked: Any) -> Any:
    """Return what the base of an extractor makes of some inputs."""
    graph = importing.wrap_extractor(model.SerializeToString(), shape, Preprocessing(**asked))
    inputs = np.random.default_rng(1).uniform(-1, 1, (4, *shape)).astype(np.float32)
    return Base(graph).features(inputs)


PLAIN = extractor()


@pytest.mark.parametrize(("opset", "ir"), [(7, 3), (9, 3), (9, 9), (10, 9), (12, 9), (18, 9)])
def test_of_any_version_with_preprocessing(opset: int, ir: int) -> None:
    asked = {"size": (8, 8), "mean": (0.4, 0.5, 0.6), "std": (0.2, 0.3, 0.4)}
    old = extractor(opset=opset, ir=ir)
    assert np.allclose(features(old, (3, 12, 12), **asked), features(PLAIN, (3, 12, 12), **asked))


def test_what_needs_no_other_version_keeps_its_own() -> None:
    for opset in (11, 13, 17, 20):
        graph = importing.wrap_extractor(
            extractor(opset=opset).SerializeToString(), SHAPE, Preprocessing()
        )
        assert opsets.version_of(onnx.load_from_string(graph)) == opset


@pytest.mark.parametrize("kind", [TensorProto.FLOAT16, TensorProto.DOUBLE])
@pytest.mark.parametrize("declared", [True, False])
def test_other_real_numbers_become_single_precision(kind: int, declared: bool) -> None:
    cast = node("Cast", ["y"], ["z"], to=kind)
    if declared:
        found = features(extractor(cast, made="z", kind=kind))
    else:  # an inner tensor, of which the file says nothing
        inner = extractor(cast, node("Cast", ["z"], ["a"], to=TensorProto.FLOAT), made="a")
        graph = importing.wrap_extractor(inner.SerializeToString(), SHAPE, Preprocessing(), "z")
        inputs = np.random.default_rng(1).uniform(-1, 1, (4, *SHAPE)).astype(np.float32)
        found = Base(graph).features(inputs)
    assert np.allclose(found, features(PLAIN), atol=1e-2)


def test_a_function_of_the_files_own_is_written_out() -> None:
    own = extractor(node("Twice", ["y"], ["z"], domain="own"), made="z", functions=[DOUBLED])
    assert np.allclose(features(own), 2 * features(PLAIN))


ENDS = [("from", np.array([0])), ("to", np.array([0])), ("axis", np.array([1]))]
ODD = {
    "whole": (
        extractor(node("ArgMax", ["y"], ["z"], axis=1), made="z", kind=TensorProto.INT64),
        "its output 'z' has entries of int64, which are no features; name another --output",
    ),
    "without": (extractor(made=""), "has no output; export it again"),
    "empty": (
        extractor(node("Slice", ["y", "from", "to", "axis"], ["z"]), made="z", constants=ENDS),
        "makes (2, 0) of two inputs; choose an --output that has a row of 1 to 200,000 numbers",
    ),
    "one": (
        extractor(
            node("Reshape", ["y", "row"], ["z"]),
            made="z",
            shape=(1, *SHAPE),
            constants=[("row", np.array([1, WIDTH]))],
        ),
        "it declares inputs of 1 at a time; export it for any number (in torch: dynamic_axes",
    ),
    "foreign": (
        extractor(node("Nope", ["y"], ["z"], domain="own"), made="z"),
        "is not a registered function/op); export it with ONNX's own operators",
    ),
}


@pytest.mark.parametrize("odd", ODD)
def test_what_is_no_extractor_is_told_with_its_own_remedy(odd: str) -> None:
    model, problem = ODD[odd]
    with pytest.raises(BaseError) as caught:
        features(model)
    assert problem in str(caught.value)


def test_weights_in_other_files(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "net.onnx"
    onnx.save_model(
        extractor(), str(path), save_as_external_data=True, location="w", size_threshold=0
    )
    assert main(["base", "import", str(path), "--name", "net", "--shape", "3x8x8"]) == 2
    assert "keeps its weights in other files; save it as one file" in capfd.readouterr().err


def imported(path: Path, *words: str) -> int:
    return main(["base", "import", str(path), "--name", "net", "--images", "60", *words])


def test_inputs_of_other_colours(tmp_path: Path) -> None:
    """Such as pictures with a depth: each channel is of another generated picture."""
    path = tmp_path / "net.onnx"
    flat = node("Flatten", ["x"], ["y"], axis=1)
    graph = helper.make_graph(
        [flat],
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 4, 6, 6])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 144])],
    )
    opset = [helper.make_opsetid("", 17)]
    onnx.save_model(helper.make_model(graph, opset_imports=opset, ir_version=9), str(path))
    assert imported(path, "--shape", "4x6x6", "--dims", "5") == 0
    base = Base.read(bases.folder_of("net"))
    assert (base.shape, base.dims) == ((4, 6, 6), 5)
    assert imported(path, "--shape", "4x6x6", "--dims", "0", "--replace") == 0
    variances = Base.read(bases.folder_of("net")).variances_D.reshape(4, -1)
    assert (variances.sum(1) > 0).all()
    assert len({round(float(each), 6) for each in variances.sum(1)}) == 4


@pytest.mark.parametrize(("factor", "told"), [(1.0, False), (1000.0, True)])
def test_numbers_that_would_be_cut_off_are_told(
    factor: float, told: bool, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    scale = [("k", np.array([factor], np.float32))]
    onnx.save_model(
        extractor(node("Mul", ["y", "k"], ["z"]), made="z", constants=scale),
        str(tmp_path / "net.onnx"),
    )
    assert imported(tmp_path / "net.onnx", "--shape", "3x8x8", "--dims", "0") == 0
    said = capfd.readouterr().err
    assert ("of its numbers are above 64, where class statistics cut them off" in said) is told
    assert imported(tmp_path / "net.onnx", "--shape", "3x8x8", "--dims", "4", "--replace") == 0
    assert "cut them off" not in capfd.readouterr().err
