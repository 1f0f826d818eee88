import json
import re
from pathlib import Path

import pytest

from edgeloop import algorithms
from edgeloop.cli.main import main
from simulations.commands.algorithms import describe, markdown, meanings


def test_json_tells_everything(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["algorithms", "--json"]) == 0
    found = {each["name"]: each for each in json.loads(capsys.readouterr().out)}
    assert list(found) == algorithms.names()
    fedtgp = found["fedtgp"]
    assert fedtgp["hyperparameters"]["server_epochs"] == 100
    assert "classes" not in fedtgp["hyperparameters"]
    assert fedtgp["variants"]["paper"]["stale"] is False
    assert set(found["local"]["variants"]) == {"released"}
    experimental = {name for name, each in found.items() if each["experimental"]}
    assert {"class-statistics", "fedorgp", "tinyproto"} <= experimental
    assert not {"fedavg", "fedktl", "fedtgp"} & experimental


def test_the_table_names_every_algorithm(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["algorithms"]) == 0
    text = capsys.readouterr().out
    for name in algorithms.names():
        assert algorithms.info(name).title in text


def test_the_table_says_what_is_experimental(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["algorithms"]) == 0
    text = capsys.readouterr().out
    infos = map(algorithms.info, algorithms.names())
    assert text.count("experimental") == sum(each.experimental for each in infos) > 2


def test_one_algorithm_with_what_its_hyperparameters_mean(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["algorithms", "fedtgp"]) == 0
    text = capsys.readouterr().out
    assert "server_epochs" in text
    assert "server epochs" in text


def test_an_unknown_algorithm(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["algorithms", "fedtpg"]) == 2
    assert "there is no 'fedtpg'; did you mean fedtgp" in capsys.readouterr().err


def test_every_hyperparameter_has_a_meaning() -> None:
    for name in algorithms.built_in():
        found = describe(name)
        assert set(found["hyperparameters"]) <= set(found["meanings"]), name


def test_meanings_of_several_lines() -> None:
    docstring = """Numbers.

    Attributes:
        one: first,
            and more.
        two: last.

    Raises:
        ValueError: never.
    """
    assert meanings(docstring) == {"one": "first, and more.", "two": "last."}


def test_the_page_is_what_the_command_writes() -> None:
    """Of the algorithms that it has; one that comes is there when the page is written again."""
    page = (Path(__file__).parents[3] / "docs" / "algorithms.md").read_text()
    written = page.partition("<!-- algorithms -->\n")[2].partition("<!-- /algorithms -->")[0]
    known = re.findall(r"^### (\S+)$", written, re.MULTILINE)
    assert {"class-statistics", "fedavg", "fedktl"} <= set(known) <= set(algorithms.built_in())
    assert markdown([describe(name) for name in known]) == written.strip()
