"""`edgeloop base`: built, imported, listed and shown."""

# Over 320 lines: one set of built bases, which takes seconds to make.

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from cloud.generator_service.bases import importing, storing
from cloud.generator_service.bases.importing import Preprocessing
from edgeloop import bases, data
from edgeloop.bases import manifest
from edgeloop.bases.running import Base
from edgeloop.cli.main import main
from edgeloop.errors import BaseError, ConfigError
from tests.bases.tiny import tiny_graph
from tests.one_device import write_data

SMALL = ["--filters", "6", "--dims", "5", "--images", "40", "--second", "0", "--patch", "4"]
MORE = ["--images", "60"]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EDGELOOP_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def build(name: str, *further: str) -> int:
    return main(["base", "build", "--name", name, "--shape", "1x14x14", *SMALL, *further])


def test_built_listed_and_shown(home: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert build("mine") == 0
    base = Base.read(bases.folder_of("mine"))
    assert (base.dims, base.shape) == (5, (1, 14, 14))
    assert base.identity in capfd.readouterr().out
    assert main(["base", "list", "--json"]) == 0
    (listed,) = json.loads(capfd.readouterr().out)
    assert (listed["name"], listed["identity"]) == ("mine", base.identity)
    assert main(["base", "show", "mine"]) == 0
    said = capfd.readouterr().out
    assert "ms an input" in said
    assert "picture: mine.png" in said
    with Image.open(home / "mine.png") as picture:
        assert picture.size[0] > 50


def test_a_name_is_replaced_only_if_asked(capfd: pytest.CaptureFixture[str]) -> None:
    assert build("mine") == 0
    before = Base.read(bases.folder_of("mine")).identity
    assert build("mine", "--seed", "1") == 2
    assert "mine: is in the local store already; use --replace" in capfd.readouterr().err
    assert Base.read(bases.folder_of("mine")).identity == before
    assert build("mine", "--seed", "1", "--replace") == 0
    assert Base.read(bases.folder_of("mine")).identity != before


def two_at_once() -> None:
    with storing.new("mine") as slower:
        (slower / "of").write_text("slower")
        with storing.new("mine") as quicker:
            (quicker / "of").write_text("quicker")


def test_two_that_build_one_name_at_once_do_not_replace_each_other() -> None:
    with pytest.raises(BaseError, match="is in the local store already"):
        two_at_once()
    assert (bases.store() / "mine" / "of").read_text() == "quicker"
    assert [each.name for each in bases.store().iterdir()] == ["mine"]


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["--name", "a/b", "--shape", "1x14x14"], "is no name for a base"),
        (["--name", "auto", "--shape", "1x14x14"], "is no name for a base"),
        (["--name", "a", "--shape", "square"], "'square' is no shape"),
        (["--name", "a", "--shape", "0x14x14"], "is no shape"),
        (["--name", "a", "--shape", "1x14x14", "--dims", "0"], "--dims: 0 is too small; give"),
        (["--name", "a", "--shape", "1x14x14", "--generator", "nobody"], "no generator 'nobody'"),
        (
            ["--name", "a", "--shape", "1x14x14", *SMALL, "--dims", "200"],
            "fewer than 200 dimensions",
        ),
        (["--name", "a", "--shape", "5x14x14", *SMALL], "inputs of 5 colours"),
    ],
)
def test_what_cannot_be_built(
    words: list[str], problem: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["base", "build", *words]) == 2
    assert problem in capfd.readouterr().err
    assert not list(bases.store().glob("[!.]*"))
    assert not list(bases.store().glob(".new-*"))


def test_of_public_data(home: Path, capfd: pytest.CaptureFixture[str]) -> None:
    source = write_data(home / "data")
    shape = "x".join(map(str, data.load(str(source)).shape))
    assert (
        main(
            [
                "base",
                "build",
                "--name",
                "own",
                "--shape",
                shape,
                "--windows",
                str(source),
                *SMALL,
                *MORE,
            ]
        )
        == 0
    )
    base = Base.read(bases.folder_of("own"))
    inputs = data.load(str(source)).client(0).train.inputs
    assert np.isfinite(base.features(inputs)).all()
    assert main(["base", "build", "--name", "b", "--shape", "9x64", "--windows", str(source)]) == 2
    assert "give the data's own shape" in capfd.readouterr().err


def built(name: str, *words: str) -> Base:
    assert main(["base", "build", "--name", name, *words, *SMALL, *MORE]) == 0
    return Base.read(bases.folder_of(name))


def interleaved(folder: Path) -> Path:
    """Write a folder of windows as others do, whose channels may be interleaved."""
    inputs = np.random.default_rng(0).normal(size=(120, 2, 1, 64)).astype(np.float32)
    inputs[:, 0] += np.linspace(0, 3, 64, dtype=np.float32)
    pool = data.Pool(inputs, np.arange(120) % 2, ("still", "moving"))
    data.write(data.split(pool, data.Partition("iid", clients=2)), folder)
    config = json.loads((folder / "config.json").read_text())
    del config["format"]
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def test_of_public_windows_that_were_interleaved(
    home: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    source = interleaved(home / "data")
    shape = "2x1x64"
    words = ["--shape", shape, "--windows", str(source)]
    base = built("signal", *words, "--layout", "signal")
    assert base.identity != built("files", *words).identity
    undone = data.load(str(source), layout="signal")
    again = data.write(undone, home / "undone")
    assert base.identity == built("undone", *words[:3], str(again)).identity
    refused = ["base", "build", "--name", "b", "--shape", shape]
    assert main([*refused, "--windows", str(source), "--layout", "waves"]) == 2
    assert "layout: there is no 'waves'" in capfd.readouterr().err
    assert main([*refused, "--layout", "signal"]) == 2
    assert "--layout: is 'signal' of windows, and none are given" in capfd.readouterr().err


def test_of_public_data_that_nobody_divided(home: Path, capfd: pytest.CaptureFixture[str]) -> None:
    base = built("own", "--shape", "1x28x28", "--windows", "fashion-sample", "--second", "0")
    assert base.shape == (1, 28, 28)
    both = ["--windows", "fashion-sample", "--generator", "gan-face"]
    assert main(["base", "build", "--name", "b", "--shape", "1x28x28", *both]) == 2
    assert (
        "--generator: is 'gan-face', and the base is computed from fash" in capfd.readouterr().err
    )
    words = ["base", "build", "--name", "b", "--shape", "1x28x28", "--layout", "signal"]
    assert main([*words, "--windows", "fashion-sample"]) == 2
    assert "layout: 'signal', but this source has no config.json" in capfd.readouterr().err


def test_of_a_public_table(home: Path, tmp_path: Path) -> None:
    """Its rows have one side, the number of columns."""
    rows = np.random.default_rng(0).standard_normal((120, 10)).astype(np.float32)
    np.savez(tmp_path / "table.npz", x=rows, y=np.arange(120) % 2)
    base = built("table", "--shape", "10", "--windows", str(tmp_path / "table.npz"))
    assert np.isfinite(base.features(rows)).all()
    assert base.shape == (10,)


def extractor(path: Path, size: int = 8, channels: int = 3, last: bool = False) -> Path:
    """Write a frozen extractor: the means of each channel and quarter, times weights."""
    shape: list[str | int | None] = (
        ["N", size, size, channels] if last else ["N", channels, size, size]
    )
    nodes = [helper.make_node("Transpose", ["x"], ["t"], perm=[0, 3, 1, 2])] if last else []
    nodes += [
        helper.make_node(
            "AveragePool", ["t" if last else "x"], ["p"], kernel_shape=[2, 2], strides=[2, 2]
        ),
        helper.make_node("Flatten", ["p"], ["f"], axis=1),
        helper.make_node("MatMul", ["f", "w"], ["y"]),
    ]
    width = channels * (size // 2) ** 2
    weights = np.random.default_rng(0).standard_normal((width, 12)).astype(np.float32)
    graph = helper.make_graph(
        nodes,
        "extractor",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 12])],
        [numpy_helper.from_array(weights, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 9
    onnx.save_model(model, str(path))
    return path


def test_an_extractor_reads_what_its_makers_say(tmp_path: Path) -> None:
    """Mean and deviation of each colour, of values in [0, 1]; channels first or last."""
    mean, std = (0.4, 0.5, 0.6), (0.2, 0.3, 0.4)
    inputs = np.random.default_rng(1).uniform(-1, 1, (4, 3, 8, 8)).astype(np.float32)
    plain = Base(
        importing.wrap_extractor(
            extractor(tmp_path / "a.onnx").read_bytes(), (3, 8, 8), Preprocessing()
        )
    )
    whole = importing.wrap_extractor(
        extractor(tmp_path / "b.onnx", last=True).read_bytes(),
        (3, 8, 8),
        Preprocessing(None, mean, std, channels_last=True),
    )
    unit = (inputs + 1) / 2
    wanted = (unit - np.reshape(mean, (1, 3, 1, 1))) / np.reshape(std, (1, 3, 1, 1))
    expected = plain.features((2 * wanted - 1).astype(np.float32))
    assert np.allclose(Base(whole).features(inputs), expected, atol=1e-4)


def test_grey_inputs_are_coloured_and_resized(tmp_path: Path) -> None:
    content = extractor(tmp_path / "a.onnx").read_bytes()
    graph = importing.wrap_extractor(
        content, (1, 4, 4), Preprocessing((8, 8), (0.0,) * 3, (1.0,) * 3)
    )
    plain = Base(importing.wrap_extractor(content, (3, 8, 8), Preprocessing()))
    flat = np.full((1, 1, 4, 4), 0.5, np.float32)
    same = np.full((1, 3, 8, 8), 0.5, np.float32)
    assert np.allclose(Base(graph).features(flat), plain.features(same), atol=1e-4)


def test_imported_and_projected(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = extractor(tmp_path / "net.onnx")
    words = ["base", "import", str(path), "--name", "net", "--shape", "1x28x28", "--size", "8x8"]
    words += ["--mean", "0.5,0.5,0.5", "--std", "0.5,0.5,0.5", "--dims", "4"]
    assert main(words) == 0
    base = Base.read(bases.folder_of("net"))
    assert base.dims == 4
    assert base.variances_D.mean() == pytest.approx(1, abs=1e-4)
    assert base.variances_D[0] > 2 * base.variances_D[1]
    copied = ["base", "import", str(bases.folder_of("net")), "--name", "copy"]
    assert main(copied) == 0
    assert Base.read(bases.folder_of("copy")).identity == base.identity
    assert main(["base", "show", "net"]) == 0
    assert "no picture" in capfd.readouterr().out


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        ([], "--shape: is missing"),
        (["--shape", "3x8x8", "--mean", "a"], "'a' are no numbers"),
        (["--shape", "3x8x8", "--std", "0"], "one number or three above 0"),
        (["--shape", "3x8x8", "--mean", "1,2,3"], "1 numbers, and --mean has 3"),
        (["--shape", "3x8x8", "--size", "8"], "is no height x width"),
        (["--shape", "3x8x8", "--output", "z"], "has no output 'z'"),
        (["--shape", "9x128"], "has no height and width"),
        (["--shape", "3x30x30"], "cannot be run on inputs of"),
    ],
)
def test_what_cannot_be_imported(
    words: list[str], problem: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = extractor(tmp_path / "net.onnx")
    assert main(["base", "import", str(path), "--name", "net", *words]) == 2
    assert problem in capfd.readouterr().err
    assert not list(bases.store().glob("[!.]*"))


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["--shape", "3x12x12"], "it reads 3 x 8 x 8, and would get 3 x 12 x 12; give --size 8x8"),
        (["--shape", "3x8x8", "--size", "16x16"], "would get 3 x 16 x 16; give --size 8x8"),
        (["--shape", "1x8x8"], "it reads 3 x 8 x 8, and would get 1 x 8 x 8; give --shape"),
        (["--shape", "3x8x8", "--channels-last"], "would get 8 x 8 x 3"),
    ],
)
def test_inputs_of_other_sides_than_a_file_declares(
    words: list[str], problem: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Though a network of convolutions computes on any: it was trained on the sides it declares."""
    path = small(tmp_path / "net.onnx", ["x", 3, 8, 8], helper.make_node("Identity", ["p"], ["y"]))
    assert main(["base", "import", str(path), "--name", "net", *words]) == 2
    assert problem in capfd.readouterr().err
    assert not list(bases.store().glob("[!.]*"))
    free = small(tmp_path / "free.onnx", ["x"] * 4, helper.make_node("Identity", ["p"], ["y"]))
    importing.wrap_extractor(free.read_bytes(), (3, 12, 12), Preprocessing())


@pytest.mark.parametrize(("shape", "group", "reads"), [("1x8x8", 1, 3), ("3x8x8", 2, 2)])
def test_channels_that_a_file_does_not_declare(
    shape: str, group: int, reads: int, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    weights = np.zeros((4, reads // group, 3, 3), np.float32)
    nodes = [helper.make_node("Conv", ["x", "w"], ["y"], group=group)]
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", "C", "H", "W"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 4, "H", "W"])],
        [numpy_helper.from_array(weights, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save_model(model, str(tmp_path / "net.onnx"))
    words = ["base", "import", str(tmp_path / "net.onnx"), "--name", "net", "--shape", shape]
    assert main(words) == 2
    said = capfd.readouterr().err
    assert f"it reads {reads} channels, and would get {shape[0]}; give --shape" in said
    assert "--size" not in said


@pytest.mark.parametrize(
    "words",
    [
        ["--shape", "3x8x8"],
        ["--size", "8x8"],
        ["--mean", "0.5"],
        ["--std", "0.5"],
        ["--channels-last"],
        ["--output", "y"],
        ["--dims", "5"],
        ["--generator", "gan-face"],
        ["--images", "60"],
        ["--title", "mine"],
        ["--source", "me"],
        ["--licence", "MIT"],
        ["--weights", "weights.pth"],
    ],
)
def test_a_folder_says_of_itself_what_it_is(
    words: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "base"
    folder.mkdir()
    manifest.write(folder, tiny_graph((1, 4, 4)), name="tiny", shape=(1, 4, 4), dims=6)
    assert main(["base", "import", str(folder), "--name", "mine", *words]) == 2
    assert f"error: {words[0]}: " in capfd.readouterr().err
    assert main(["base", "import", str(folder), "--name", "mine"]) == 0


@pytest.mark.parametrize(
    ("nodes", "problem"),
    [
        (
            [("RandomUniformLike", ["p"], "r"), ("Add", ["p", "r"], "y")],
            "other numbers for the same inputs each time",
        ),
        (
            [("ReduceMean", ["p"], "m", {"axes": [0]}), ("Sub", ["p", "m"], "y")],
            "other numbers for an input when others are computed with it",
        ),
    ],
)
def test_an_extractor_in_training_mode(nodes: list[Any], problem: str, tmp_path: Path) -> None:
    """Dropout draws, and normalisation by the batch mixes an input with its neighbours."""
    made = [
        helper.make_node(kind, reads, [to], **(more[0] if more else {}))
        for kind, reads, to, *more in nodes
    ]
    path = small(tmp_path / "net.onnx", ["x", 3, 8, 8], *made)
    with pytest.raises(BaseError, match=problem):
        importing.wrap_extractor(path.read_bytes(), (3, 8, 8), Preprocessing())


def small(path: Path, shape: list[Any], *nodes: onnx.NodeProto) -> Path:
    """Write a frozen extractor: the mean of each colour, "p", and what nodes make of it, "y"."""
    first = helper.make_node("ReduceMean", ["x"], ["p"], axes=[2, 3], keepdims=0)
    graph = helper.make_graph(
        [first, *nodes],
        "small",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["x", 3])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 9
    onnx.save_model(model, str(path))
    return path


def test_files_that_are_no_extractor(tmp_path: Path) -> None:
    for content in (b"", b"nothing", tiny_graph((1, 4, 4))[:-9]):
        with pytest.raises(BaseError, match=r"is no ONNX model|cannot be run|reads 0 inputs"):
            importing.wrap_extractor(content, (1, 4, 4), Preprocessing(), name="net")
    with pytest.raises(ConfigError, match="has no output"):
        importing.wrap_extractor(tiny_graph((1, 4, 4)), (1, 4, 4), Preprocessing(), "nope", "net")
    with pytest.raises(BaseError, match="cannot be read"):
        importing.read_file(tmp_path / "absent.onnx")
