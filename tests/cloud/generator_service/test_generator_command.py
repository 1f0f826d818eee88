import json
import sys
from pathlib import Path

import pytest
from PIL import Image

from cloud.generator_service import show
from cloud.generator_service.catalogue import CATALOGUE
from edgeloop import generators
from edgeloop.cli import main
from tests import forked
from tests.cloud.generator_service import networks
from tests.cloud.generator_service.states import saved, tiny_state
from tests.generators.tiny import write_tiny

EDGELOOP = str(Path(sys.executable).with_name("edgeloop"))


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EDGELOOP_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "home" / "generators"


def listed(capsys: pytest.CaptureFixture[str]) -> dict[str, dict[str, object]]:
    capsys.readouterr()
    assert main.main(["generator", "list", "--json"]) == 0
    return {line["name"]: line for line in json.loads(capsys.readouterr().out)}


def test_list_tells_what_is_where(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = listed(capsys)
    assert all(first[entry.name]["where"] == "catalogue" for entry in CATALOGUE)
    write_tiny(home / "mine", shape=(1, 4, 5))
    write_tiny(home / "gan-face")
    (write_tiny(home / "hurt") / "mapping.onnx").write_bytes(b"")
    second = listed(capsys)
    assert second["mine"] == {
        "name": "mine",
        "where": "store",
        "title": "drawn weights, for tests",
        "licence": "Apache-2.0",
        "shape": [1, 4, 5],
        "latent_dim": 8,
        "identity": generators.load("mine").identity,
    }
    assert second["gan-face"]["where"] == "store"
    assert str(second["hurt"]["title"]).startswith("damaged: is not the file")
    embedded = {name for name, line in second.items() if line["where"] == "embedded"}
    there = Path(generators.__file__).parent.glob("*/generator.json")
    assert embedded == {path.parent.name for path in there}


def test_list_as_a_table(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_tiny(home / "mine", shape=(1, 4, 5))
    assert main.main(["generator", "list"]) == 0
    said = capsys.readouterr().out
    (line,) = [line for line in said.splitlines() if "│ mine" in line]
    assert [cell.strip() for cell in line.split("│")[1:5]] == ["mine", "store", "1x4x5", "8"]
    assert f"store: {home}" in said


def test_import_then_show(tmp_path: Path, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "dcgan.pt").write_bytes(saved(tiny_state()))
    words = ["import", "dcgan.pt", "--name", "mine", "--title", "Mine", "--licence", "MIT"]
    assert main.main(["generator", *words]) == 0
    identity = generators.load("mine").identity
    captured = capsys.readouterr()
    assert captured.out == f"mine: identity {identity}\n"
    assert captured.err == "converting to ONNX\n"
    assert main.main(["generator", "show", "mine", "--count", "7"]) == 0
    said = capsys.readouterr().out
    for fact in (identity, "Mine", "MIT", "dcgan.pt", "3 x 16 x 16", str(home / "mine")):
        assert fact in said
    assert "picture: mine.png" in said
    with Image.open("mine.png") as picture:
        # Images of 16 x 16 are drawn four times as large: two rows of five, a title, five means.
        assert picture.size == (5 * 66, 3 * 66 + 14)


@pytest.mark.parametrize(
    ("reference", "name"),
    [
        ("digits", "digits"),
        ("some/folder/", "folder"),
        (".", "generator"),
        ("triton://host:8001/faces?version=2", "faces"),
        ("diffusers:some/folder?prompt=a/b", "folder"),
        ("diffusers:folder", "folder"),
    ],
)
def test_a_pictures_name(reference: str, name: str) -> None:
    assert show.name_of(reference) == name


def test_pictures_follow_the_seed(tmp_path: Path) -> None:
    write_tiny(tmp_path / "mine")
    for name, seed in (("a", "1"), ("b", "1"), ("c", "2")):
        words = ["show", "./mine", "--count", "2", "--out", f"{name}.png", "--seed", seed]
        assert main.main(["generator", *words]) == 0
    a, b, c = (Path(f"{name}.png").read_bytes() for name in "abc")
    assert a == b != c


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["fetch", "dogs"], "error: dogs: is not in the catalogue; choose one of generateme"),
        (["fetch", "gan-face", "--wheel", "w.whl"], "error: w.whl: has another SHA-256 than"),
        (["import", "style.pkl", "--name", "a"], "error: --trust: style.pkl is a pickle: reading"),
        (["import", "no.pt", "--name", "a"], "error: no.pt: is not there; name a file or a folder"),
        (["import", "w.whl", "--name", "a"], "error: w.whl: is no file that can be imported"),
        (["import", "style.pt", "--name", "a"], "error: style.pt: cannot be read as plain tensors"),
        (
            ["import", "mine", "--name", "a", "--title", "x"],
            "error: --title: does not apply to mine",
        ),
        (["import", "mine", "--name", "a", "--trust"], "error: --trust: does not apply to mine"),
        (
            ["import", "style.pkl", "--name", "a", "--key", "x", "--trust"],
            "error: --key: does not apply to style.pkl; leave it out",
        ),
        (["import", "mine", "--name", "a b"], "error: --name: 'a b' is no name for a generator"),
        (["show", "dogs"], "error: generator: there is no generator 'dogs'; see"),
        (["show", "mine", "--out", "a.jpg"], "error: --out: a.jpg is no PNG file's name"),
        (["show", "mine", "--out", "no/a.png"], "error: --out: the folder no is not there"),
    ],
)
def test_bad_input_ends_with_2_and_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], sentence: str
) -> None:
    (tmp_path / "w.whl").write_bytes(b"another wheel")
    (tmp_path / "style.pkl").write_bytes(b"\x80\x04rubbish")
    (tmp_path / "style.pt").write_bytes(b"rubbish")
    write_tiny(tmp_path / "mine")
    assert main.main(["generator", *words]) == 2
    said = capsys.readouterr().err
    assert said.startswith(sentence)
    assert said.count("\n") == 1


def test_wrong_usage_ends_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["generator", "fetsch"]) == 2
    assert main.main(["generator", "import", "a.pt"]) == 2
    assert main.main(["generator", "--help"]) == 0
    said = capsys.readouterr().out
    for name in (
        "list",
        "fetch",
        "import",
        "show",
        "serve",
        "serve-files",
        "remove-files",
        "probe",
    ):
        assert f"  {name} " in said


def test_a_pickle_through_the_installed_command(tmp_path: Path, home: Path) -> None:
    networks.write_random(tmp_path / "style.pkl", networks.STYLE2)
    words = [EDGELOOP, "generator", "import", "style.pkl", "--name", "style"]
    refused = forked.run(words)
    assert refused.returncode == 2
    assert refused.stderr.startswith("error: --trust: ")
    assert refused.stderr.count("\n") == 1
    done = forked.run([*words, "--trust"], check=True)
    assert done.stdout == f"style: identity {generators.load('style').identity}\n"
    assert done.stderr.splitlines()[0] == "reading style.pkl"
    assert [path.name for path in home.iterdir()] == ["style"]
