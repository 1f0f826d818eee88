import json
from pathlib import Path
from typing import Any

import pytest

from edgeloop import data
from edgeloop.data import Partition
from edgeloop.data.catalogue import CATALOGUE
from edgeloop.errors import InputError
from simulations.datasets.command import main
from simulations.datasets.showing import markdown
from tests.data.layouts import picture, place

PAGE = Path(__file__).parents[2] / "docs" / "data.md"


def told(capsys: pytest.CaptureFixture[str], *words: str) -> Any:
    assert main(["show", *words, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_the_page_is_what_the_command_writes(capsys: pytest.CaptureFixture[str]) -> None:
    page = PAGE.read_text().partition("<!-- data -->\n")[2].partition("<!-- /data -->")[0]
    assert page.strip() == markdown(CATALOGUE)
    assert main(["list", "--markdown"]) == 0
    assert capsys.readouterr().out.strip() == page.strip()


def test_the_list_says_how_each_is_got(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list"]) == 0
    said = capsys.readouterr().out
    for words in ("in the package", "by torchvision: CIFAR100", "by hand", "70,000", "9 x 3 x 256"):
        assert words in said


def test_an_undivided_set_is_shown_whole(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in (("cat/0", 1), ("cat/1", 2), ("dog/0", 3)):
        place(tmp_path / f"{name}.png", picture(value, (5, 2)))
    expected = {
        **{"layout": "class folders", "samples": 3, "classes": 2, "shape": [3, 2, 5]},
        **{"pixels": True, "natural_clients": None, "samples_by_class": {"cat": 2, "dog": 1}},
    }
    assert told(capsys, str(tmp_path)) == expected
    assert told(capsys, str(tmp_path), "--image-size", "7")["shape"] == [3, 7, 7]
    assert main(["show", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert "class folders" in said
    assert "natural" not in said


def test_a_divided_set_is_shown_client_by_client(
    capsys: pytest.CaptureFixture[str], images: Path
) -> None:
    found = told(capsys, str(images))
    federation = data.load(images)
    assert found["fingerprint"] == federation.fingerprint()
    assert (found["clients"], found["train"] + found["test"]) == (3, 240)
    assert found["columns"][:4] == ["client", "train", "test", "T-shirt/top"]
    assert [row[1:3] for row in found["rows"]] == [list(sizes) for sizes in federation.sizes()]


def test_a_partition_is_shown_before_it_is_written(capsys: pytest.CaptureFixture[str]) -> None:
    partition = ["--partition", "exdir", "--clients", "5", "--alpha", "100"]
    found = told(capsys, "fashion-sample", *partition, "--partition-seed", "3")
    asked = Partition("exdir", clients=5, alpha=100.0, seed=3)
    assert found["fingerprint"] == data.load("fashion-sample", asked).fingerprint()
    assert main(["show", "fashion-sample", *partition]) == 0
    assert "fingerprint" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["nowhere/mnist"], "nowhere/mnist: no such file or folder; check the path, or run: edge"),
        (["fashion-sample", "--clients", "3"], "clients: is of a partition, and none is asked"),
        (["fashion-sample", "--samples", "3"], "samples: is of a partition, and none is asked"),
        (["fashion-sample", "--layout", "signal"], "layout: 'signal', but this source has no conf"),
        (["fashion-sample", "--image-size", "0"], "--image-size: 0 is too small; give"),
        (["fashion-sample", "--image-size", "9"], "--image-size: is of image files, and this"),
        (["fashion-sample", "--partition", "fair"], "partition: "),
    ],
)
def test_what_is_wrong_is_named(words: list[str], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        main(["show", *words])
