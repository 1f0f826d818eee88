import json

import pytest

from edgeloop import algorithms
from edgeloop.command import main


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
    assert experimental == {"fedorgp", "tinyproto"}


def test_the_table_names_every_algorithm(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["algorithms"]) == 0
    text = capsys.readouterr().out
    for name in algorithms.names():
        assert algorithms.card(name).title in text


def test_the_table_says_what_is_experimental(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["algorithms"]) == 0
    text = capsys.readouterr().out
    assert text.count("experimental") == 2
