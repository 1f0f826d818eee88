"""Inside the tree, a model and a data source are one file each: those of docs/extending.md."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgeloop import data, models
from edgeloop.cli.main import main
from edgeloop.data import layouts
from tests.extending.test_extending import files


@pytest.fixture
def more(tmp_path: Path) -> Iterator[Path]:
    """A folder whose files are as if they lay beside those of both rooms."""
    rooms = (models, data)
    for room in rooms:
        room.__path__.append(str(tmp_path / room.__name__))
        (tmp_path / room.__name__).mkdir()
    yield tmp_path
    for room in rooms:
        room.__path__.remove(str(tmp_path / room.__name__))
        for path in (tmp_path / room.__name__).glob("*.py"):
            sys.modules.pop(f"{room.__name__}.{path.stem}", None)
            delattr(room, path.stem)


def test_a_model(more: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (more / models.__name__ / "two_stripes.py").write_text(files()["extras/stripes.py"])
    assert models.build("two-stripes+relu", (1, 28, 28), 3).classes == 3
    assert "two-stripes" in models.fitting((1, 28, 28))
    assert models.client_architectures("cnn,two-stripes", 2) == ["cnn", "two-stripes"]
    for measured in ([], ["--measured"]):
        assert main(["models", "--json", *measured]) == 0
        found = json.loads(capsys.readouterr().out)["architectures"]
        (facts,) = [each for each in found if each["name"] == "two-stripes"]
        assert (facts["shape"], facts["features"]) == ([3, 32, 32], 32)
        assert "from" not in facts


def test_a_data_source(more: Path) -> None:
    path = more / "table.csv"
    path.write_text("label,x,y\nb,1,2\na,3,4\n")
    assert data.layout_of(more).layout == "table with labels"
    (more / data.__name__ / "labelled.py").write_text(files()["extras/labelled.py"])
    assert data.layout_of(path).layout == "labelled CSV"
    assert data.read(path).class_names == ("a", "b")
    assert layouts.origins()["labelled CSV"] == "edgeloop"
    assert data.layout_of(more).layout == "table with labels"
