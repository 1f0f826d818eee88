"""`edgeloop base import --torchvision`: torchvision's own numbers, with weights that are at hand.

torchvision and this environment's torch may not suit each other, so that a program of its own
imports them, in an environment that tools/vision.sh makes. Its weights are drawn.
"""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from edgeloop.cli.main import main
from tests.vision import ROOT, interpreter, told

PROGRAM = ROOT / "tests" / "cloud" / "generator_service" / "vision_bases_program.py"
WIDTHS = {
    "resnet18": 512,
    "mobilenet_v3_small": 1024,
    "vit_b_32": 768,
    "googlenet": 1024,
    "squeezenet1_1": 512,
}


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    """What the program has found."""
    read: dict[str, Any] = json.loads(told(interpreter(), str(PROGRAM)))
    return read


@pytest.mark.vision
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", WIDTHS)
def test_features_are_torchvisions(found: dict[str, Any], name: str) -> None:
    told = found["networks"][name]
    assert told["dims"] == [WIDTHS[name]] * 2
    assert told["size"] > 1000 * told["difference"]
    assert told["difference"] < 1e-4
    assert told["varies"]
    assert told["source"] == f"torchvision {name}, {name}.pth"


@pytest.mark.vision
@pytest.mark.timeout(600)
def test_grey_smaller_and_projected(found: dict[str, Any]) -> None:
    assert found["projected"] < 1e-3


@pytest.mark.vision
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("unknown", "there is no 'resnet19'; did you mean resnet18"),
        ("absent", "are not on this machine, and nothing is fetched; fetch https://"),
        ("nowhere", "cannot be read (No such file or directory); name a file"),
        ("another", "has no weights of resnet18"),
        ("damaged", "is damaged: its SHA-256 begins with"),
        ("half", "holds no plain tensors"),
        ("number", "is no state dict"),
        ("size", "cannot be exported for images of 64x64"),
    ],
)
def test_what_cannot_be_imported(found: dict[str, Any], what: str, said: str) -> None:
    error = found["refused"][what]
    assert said in error
    assert error.startswith("error: ")
    assert error.count("\n") == 1


@pytest.mark.vision
@pytest.mark.timeout(600)
def test_weights_in_torch_hubs_cache_are_used(found: dict[str, Any]) -> None:
    assert found["cached"] == "torchvision resnet18, resnet18-DIGEST.pth"


def test_without_torchvision_the_error_says_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("EDGELOOP_HOME", str(tmp_path))
    monkeypatch.delitem(sys.modules, "torchvision.models", raising=False)
    monkeypatch.setitem(sys.modules, "torchvision", None)
    words = ["base", "import", "--torchvision", "resnet18", "--shape", "3x32x32", "--name", "a"]
    assert main(words) == 2
    error = capfd.readouterr().err
    assert "needs torchvision, which is not installed; pip install 'edgeloop[vision]'" in error


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "nothing to import"),
        (["m.onnx", "--torchvision", "resnet18"], "two things to import"),
        (["m.onnx", "--weights", "w.pth"], "are --torchvision's"),
        (["--torchvision", "resnet18", "--output", "y"], "is of ONNX files"),
        (["--torchvision", "resnet18", "--channels-last"], "is of ONNX files"),
        (["--torchvision", "resnet18"], "--shape: is missing"),
    ],
)
def test_what_does_not_go_together(
    words: list[str],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("EDGELOOP_HOME", str(tmp_path))
    assert main(["base", "import", *words, "--name", "a"]) == 2
    assert said in capfd.readouterr().err
