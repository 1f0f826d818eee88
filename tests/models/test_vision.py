"""torchvision's architectures: without it a clear error, with it what the papers say they are.

torchvision and this environment's torch may not suit each other, so that a program of its own looks
at them, in an environment that tools/vision.sh makes.
"""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from edgeloop.errors import ModelError
from edgeloop.models import build, fitting, missing
from edgeloop.models.vision import VISION
from tests.vision import ROOT, interpreter, told

# Features and parameters of the bases; the latter in millions, as the papers round them.
FACTS = {
    "resnet18": (512, "11.18"),
    "resnet34": (512, "21.28"),
    "resnet50": (2048, "23.51"),
    "resnet101": (2048, "42.50"),
    "resnet152": (2048, "58.14"),
    "googlenet": (1024, "5.60"),
    "mobilenetv2": (1280, "2.22"),
    "vit-b-16": (768, "85.65"),
    "vit-b-32": (768, "87.42"),
}


@pytest.fixture(scope="module")
def python() -> Path:
    """The interpreter of an environment with torchvision."""
    return interpreter()


@pytest.fixture(scope="module")
def found(python: Path) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(told(python, "tests/models/vision_program.py"))
    return answer


@pytest.mark.vision
def test_they_are_what_the_papers_say(found: dict[str, Any]) -> None:
    looked = found["architectures"]
    assert looked.keys() == VISION.keys() == FACTS.keys()
    for name, (features, millions) in FACTS.items():
        assert looked[name]["features"] == looked[name]["base_gives"] == features, name
        assert f"{looked[name]['parameters'] / 1e6:.2f}" == millions, name


@pytest.mark.vision
def test_they_are_unified_learn_and_predict(found: dict[str, Any]) -> None:
    for name, look in found["architectures"].items():
        assert look["pooled"], name
        assert look["pools"] == (look["features"] != 512), name
        assert look["learned"] > 50, name
        assert look["logits"] == [3, 5], name
        dropped = [0.2] if name in ("googlenet", "mobilenetv2") else []
        assert (look["dropout"], look["draws"]) == (dropped, bool(dropped)), name


@pytest.mark.vision
def test_a_seeds_weights_are_the_references(found: dict[str, Any]) -> None:
    assert set(found["reference"].values()) == {True}


@pytest.mark.vision
def test_images_of_other_colours_and_sizes(found: dict[str, Any]) -> None:
    assert set(found["grey"].values()) == {True}
    refused = {name for name, fits in found["of_28_pixels"].items() if not fits}
    assert refused == {"vit-b-16", "vit-b-32"}
    assert set(found["of_64_pixels"].values()) == {True}


@pytest.mark.vision
def test_they_are_exported_and_have_the_heads_that_their_names_ask_for(
    found: dict[str, Any],
) -> None:
    assert len(found["exported"]) == 4
    assert all(difference < 1e-3 for difference in found["exported"].values())
    assert found["heads"] == {
        "resnet34+relu": [[512, 5]],
        "resnet34+relu-512": [[512, 512], [512, 5]],
        "resnet34+relu-256": [[512, 256], [256, 5]],
        "resnet34+relu-128": [[512, 128], [128, 5]],
    }


@pytest.mark.vision
def test_the_page_is_what_the_command_writes_there(python: Path) -> None:
    program = (
        "from simulations.commands.models import main;"
        " print(main(['--markdown']), main(['--markdown', '--measured']))"
    )
    page = (ROOT / "docs" / "models.md").read_text()
    tables = page.partition("<!-- models -->\n")[2].partition("<!-- /models -->")[0]
    assert tables.strip()
    assert told(python, "-c", program).split() == [*tables.split() * 2, "0", "0"]


@pytest.mark.parametrize("broken", [None, RuntimeError("operator torchvision::nms does not exist")])
def test_without_torchvision_the_error_names_the_remedy(
    broken: Exception | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It is not there, or it is of another version of torch: what it raises then."""
    monkeypatch.delitem(sys.modules, "torchvision.models", raising=False)
    if broken is None:
        monkeypatch.setitem(sys.modules, "torchvision", None)
        reason = "is not installed"
    else:
        (tmp_path / "torchvision").mkdir()
        (tmp_path / "torchvision" / "__init__.py").write_text(f"raise RuntimeError('{broken}')\n")
        monkeypatch.delitem(sys.modules, "torchvision", raising=False)
        monkeypatch.syspath_prepend(tmp_path)
        reason = f"fails: {broken}"
    expected = rf"resnet18: needs torchvision, which {reason}; pip install 'edgeloop\[vision\]'"
    with pytest.raises(ModelError, match=expected):
        build("resnet18", (2, 32, 32), 5)
    assert missing("resnet18") == "torchvision"
    assert missing("resnet10") is None
    assert not set(fitting((2, 32, 32))) & set(VISION)
