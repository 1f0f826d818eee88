import json
import subprocess
import sys
from pathlib import Path

import pytest

from edgeloop.errors import InputError
from edgeloop.models import ARCHITECTURES, GROUPS, names, usual_shape
from edgeloop.models.vision import VISION
from simulations.commands.model_costs import describe, groups, measured
from simulations.commands.models import TABLE, main, markdown

PAGE = Path(__file__).parents[3] / "docs" / "models.md"


def test_json_tells_everything(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    looked = {each["name"]: each for each in found["architectures"]}
    assert list(looked)[: len(ARCHITECTURES)] == list(ARCHITECTURES)
    cnn = 2 * (28 * 28 * 32 * 75 + 10 * 10 * 64 * 800 + 1600 * 512)
    facts = {"shape": [3, 32, 32], "features": 512, "parameters": 873_408, "flops": cnn}
    assert looked["cnn"] == {"name": "cnn", "needs": None, **facts}
    shared = {each["name"]: each for each in found["groups"]}
    assert list(shared) == list(GROUPS)
    assert shared["htfe-img-2"]["aliases"] == ["htfe2"]
    assert shared["htfe-img-2"]["architectures"] == ["cnn", "resnet18"]


def test_a_shape_lists_what_fits_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--json", "--shape", "5000"]) == 0
    found = json.loads(capsys.readouterr().out)["architectures"]
    assert [each["name"] for each in found][:2] == ["mlp", "mlp-200"]
    assert found[0]["parameters"] == 5000 * 100 + 100
    assert main(["--shape", "1, 16, 16"]) == 0
    text = capsys.readouterr().out
    assert "1 x 16 x 16" in text
    assert "fasttext " not in text


@pytest.mark.parametrize(
    ("shape", "problem"),
    [("3,x", "'3,x' is no list of sizes"), ("0", "is no list"), ("2,2", "no architecture fits")],
)
def test_a_shape_that_is_none(shape: str, problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        main(["--shape", shape])


def test_the_page_is_what_the_command_writes() -> None:
    """But for what needs torchvision: test_vision.py looks at the whole page."""
    page = PAGE.read_text().partition("<!-- models -->\n")[2].partition("<!-- /models -->")[0]
    here = [describe(name, usual_shape(name)) for name in ARCHITECTURES if name not in VISION]
    expected = markdown(here, groups()).splitlines()
    away = {f"| `{name}` " for name in VISION}
    found = page.strip().splitlines()
    kept = [line for line in found if not any(line.startswith(each) for each in away)]
    assert kept == expected
    assert len(found) - len(kept) == len(VISION)


def test_the_table_is_what_is_measured() -> None:
    """But for what needs torchvision: the page, which test_vision.py looks at, has it."""
    table = json.loads(TABLE.read_text())
    assert table["groups"] == groups()
    assert [each["name"] for each in table["architectures"]] == list(ARCHITECTURES)
    found = {each["name"]: each for each in measured()["architectures"]}
    for told in table["architectures"]:
        if told["needs"] is None:
            assert told == found[told["name"]]
    needing = {each["name"]: each["needs"] for each in table["architectures"] if each["needs"]}
    assert needing == dict.fromkeys(VISION, "torchvision")


def test_what_torchvision_is_needed_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The numbers are told where it can be built only."""
    for there, needs in ((None, "torchvision"), (object(), None)):
        monkeypatch.setattr("simulations.commands.models.find_spec", lambda _, there=there: there)
        assert main(["--json"]) == 0
        found = json.loads(capsys.readouterr().out)["architectures"]
        (resnet18,) = [each for each in found if each["name"] == "resnet18"]
        assert resnet18["needs"] == needs
        assert resnet18["features"] == (512 if needs is None else None)


@pytest.mark.parametrize("command", [["models"], ["algorithms"], ["--help"], ["--version"]])
def test_lists_need_no_torch(command: list[str]) -> None:
    """Where all that is there stands in the table: a later model is measured."""
    listed = {each["name"] for each in json.loads(TABLE.read_text())["architectures"]}
    if command == ["models"] and not set(names()) <= listed:
        return
    program = (
        "import sys; from edgeloop.cli.main import main; code = main(sys.argv[1:])"
        "; sys.exit(code or 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program, *command], capture_output=True)
    assert (done.stderr, done.returncode) == (b"", 0)
