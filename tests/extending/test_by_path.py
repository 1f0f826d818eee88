"""What a person names by an import path is imported; what anybody else names so is not."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeloop import algorithms, data, generators, models
from edgeloop.cli.main import main
from edgeloop.data import Partition, sources
from edgeloop.errors import ConfigError, DataError, EdgeloopError, GeneratorError, ModelError
from edgeloop.runtime import plugins
from edgeloop.training import descent, metrics
from tests.extending.test_extending import files

MARK = "imported_by_a_stranger"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with a module that leaves a mark when it is imported."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "mine.py").write_text(f"import sys\nsys.{MARK} = True\nTHING = 3\n")
    monkeypatch.delattr(sys, MARK, raising=False)
    monkeypatch.delitem(sys.modules, "mine", raising=False)
    monkeypatch.setattr(plugins, "_BROUGHT", {})
    return tmp_path


def test_a_stranger_s_import_path_is_imported_nowhere(folder: Path) -> None:
    """As in a task's contract, or a cluster's resource."""
    sys.path.append(str(folder))
    facts: dict[str, Any] = {"classes": 2, "width": 4, "shape": (1, 16, 16)}
    with pytest.raises(ConfigError, match="algorithm: there is no 'mine:THING'"):
        algorithms.load("mine:THING", **facts)
    with pytest.raises(ModelError, match="there is no 'mine:THING'"):
        algorithms.load("fedavg", architecture="mine:THING", **facts)
    with pytest.raises(GeneratorError):
        generators.load("mine:THING:x")
    with pytest.raises(DataError, match="no such file or folder"):
        data.read("mine:THING:x")
    with pytest.raises(ConfigError, match="there is no 'mine:THING'"):
        Partition("mine:THING")
    with pytest.raises(ConfigError, match="there is no 'mine:THING'"):
        metrics.find("mine:THING")
    with pytest.raises(ConfigError, match="there is no 'mine:THING'"):
        descent.optimizer_of("mine:THING")
    assert not hasattr(sys, MARK)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["mine:THING"], "algorithm: mine:THING cannot be used (AttributeError: 'int' object"),
        (["mine:NOTHING"], "has no attribute 'NOTHING'); fix mine:NOTHING"),
        (["yours:THING"], "(ModuleNotFoundError: No module named 'yours'); fix yours:THING"),
        (["local", "--models", "mine:THING"], "it is no Architecture, no class of modules"),
        (["local", "--partition", "mine:THING"], "partition: mine:THING cannot be used (TypeErr"),
        (["local", "--metrics", "mine:THING"], "it is no function of scores and labels"),
        (["local", "--optimizer", "mine:THING"], "optimizer: mine:THING cannot be used"),
        (["local", "--data", "mine:THING:x.csv"], "data source: mine:THING cannot be used"),
        (["fedktl", "--generator", "mine:THING:28"], "generator: mine:THING cannot be used"),
    ],
)
def test_what_is_none(
    folder: Path, words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The file lies in the working folder, which is on no path."""
    usual = {"--data": "fashion-sample", "--partition": "iid", "--samples": "200"}
    more = [word for pair in usual.items() if pair[0] not in words for word in pair]
    assert main(["simulate", *words, *more, "--clients", "2", "--out", "run"]) == 2
    text = " ".join(capsys.readouterr().err.split())
    assert said in text
    assert "Traceback" not in text
    assert not (folder / "run").exists()


def test_nothing_is_hidden_by_the_working_folder(folder: Path) -> None:
    (folder / "json.py").write_text("raise RuntimeError\n")
    plugins.METRICS.admit("json:dumps")
    with pytest.raises(EdgeloopError, match="TypeError"):
        metrics.find("json:dumps")(np.zeros((1, 2), np.float32), np.zeros(1, np.int64))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("pkg.mod:Name", ("pkg.mod:Name", None)),
        ("mod:Name:a:b/c", ("mod:Name", "a:b/c")),
        ("mod:Outer.Inner", ("mod:Outer.Inner", None)),
        ("mod:Name:", ("mod:Name", "")),
        ("mod", None),
        ("rings:28", None),
        ("triton://host:1/x", None),
        (r"C:\data", None),
        ("a-b:c", None),
    ],
)
def test_what_an_import_path_is(text: str, found: tuple[str, str | None] | None) -> None:
    assert plugins.reference(text) == found


def test_a_file_of_such_a_name_is_a_file(folder: Path) -> None:
    (folder / "mine:THING:x").mkdir()
    sources.admit("mine:THING:x")
    assert data.layout_of("mine:THING:x").layout == "class folders"


def test_names_of_ours_are_no_import_paths() -> None:
    before = plugins.GENERATORS.names()
    for text in ("diffusers:folder", "triton:x", "digits"):
        assert generators.admit(text) == text
    assert plugins.GENERATORS.names() == before
    before = plugins.SOURCES.names()
    assert sources.admit("hf:mnist") == "hf:mnist"
    assert plugins.SOURCES.names() == before


def test_an_architecture_keeps_its_capitals_in_a_group() -> None:
    from edgeloop.models.layered import split_name

    assert split_name("pkg:Net+ReLU-64") == ("pkg:Net", "relu-64")
    assert split_name("ResNet4") == ("resnet4", "")
    with pytest.raises(ModelError, match="'pkg:Net' is neither a group nor an architecture"):
        models.client_architectures("cnn,pkg:Net", 2)


def test_an_algorithm_in_a_lone_file(folder: Path) -> None:
    """A module is named from its package; a file that is in none, by its `build`."""
    (folder / "lone.py").write_text(files()["extras/median.py"])
    name = plugins.ALGORITHMS.admit("lone:build")
    facts: dict[str, Any] = {"classes": 2, "width": 4, "shape": (1, 16, 16), "architecture": "cnn"}
    assert algorithms.info(name).title == "FedMedian"
    assert algorithms.load(name, **facts).sizes["P"] > 0
    with pytest.raises(ConfigError, match="cannot be used"):
        algorithms.info(plugins.ALGORITHMS.admit("lone:median"))
    sys.modules.pop("lone")
