"""`edgeloop models`."""

import json
from pathlib import Path

import pytest

from edgeloop import models
from edgeloop.command import main


def test_json_tells_everything(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "--shape", "1,28,28", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert set(found["groups"]) == set(models.GROUPS)
    costs = {each["name"]: each for each in found["architectures"]}
    assert costs["hcnn1"]["parameters"] == 25 * 32 + 32
    assert costs["hcnn1"]["features"] == 32 * 12 * 12
    # 5 x 5 on 24 x 24 places, and the head's 512 to 10; a product is two operations.
    assert costs["hcnn1"]["flops"] == 2 * (25 * 32 * 24 * 24 + 512 * 10)
    assert "mlp" not in costs


def test_the_page_is_what_the_command_writes(capsys: pytest.CaptureFixture[str]) -> None:
    page = (Path(__file__).parents[2] / "docs" / "models.md").read_text()
    written = page.partition("<!-- models -->\n")[2].partition("<!-- /models -->")[0]
    assert main(["models", "--markdown"]) == 0
    assert capsys.readouterr().out.strip() == written.strip()


def test_the_tables_name_groups_and_their_aliases(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "--shape", "3,32,32"]) == 0
    text = capsys.readouterr().out
    assert "htfe-img-8 (htfe8)" in text
    assert "separable4" in text


@pytest.mark.parametrize("shape", ["3,x", "", "0,3"])
def test_a_shape_that_is_none(shape: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "--shape", shape]) == 2
    assert "is no shape; write numbers as in 3,32,32" in capsys.readouterr().err
