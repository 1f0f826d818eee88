"""`edgeloop agent init` says what the data are, and writes a file that an agent can use."""

import os
import pty
import subprocess
import tomllib
from pathlib import Path

import pytest

from edge.agent.command import main
from edge.agent.settings import DeviceSettings
from edge.device.describing import are_recordings, describe
from edgeloop.errors import ConfigError, ModelError, NoSamplesError, RunError
from edgeloop.runtime import config as config_files
from tests.edge.test_joining import pictures
from tests.one_device import EDGELOOP, write_data


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = pictures(tmp_path / 'pho"tos', {"ok": 5, "dent": 3})
    (folder / "ok" / "notes.txt").write_text("no photo")
    return folder


def words(photos: Path, *more: str) -> list[str]:
    known = {"--name": "press-1", "--task": "shop", "--data": str(photos), "--host": "b.example"}
    return ["init", *(each for pair in known.items() for each in pair), *more]


def test_it_writes_a_file_with_comments(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "device.toml"
    assert main(words(photos, "--config", str(file), "--username", "u")) == 0
    said = capsys.readouterr().out
    assert "class folders, 8 photos" in said
    assert "2 classes: dent (3), ok (5)" in said
    assert "left out: 1 .txt" in said
    device = config_files.read(file, DeviceSettings)
    assert (device.name, device.task, device.broker.host) == ("press-1", "shop", "b.example")
    assert (device.data.source, device.broker.username) == (str(photos), "u")
    assert "# name of the task to join" in file.read_text()


def test_a_file_is_never_overwritten_unless_told(photos: Path, tmp_path: Path) -> None:
    file = tmp_path / "device.toml"
    file.write_text("mine")
    with pytest.raises(RunError, match="--force"):
        main(words(photos, "--config", str(file)))
    assert file.read_text() == "mine"
    assert main(words(photos, "--config", str(file), "--force")) == 0
    assert tomllib.loads(file.read_text())["name"] == "press-1"


@pytest.mark.parametrize("missing", ["--name", "--task", "--data", "--host"])
def test_without_a_terminal_the_missing_option_is_named(
    photos: Path, tmp_path: Path, missing: str
) -> None:
    given = words(photos, "--config", str(tmp_path / "device.toml"))
    at = given.index(missing)
    with pytest.raises(ConfigError, match=f"{missing}: is missing"):
        main(given[:at] + given[at + 2 :])


def test_on_a_terminal_it_asks(photos: Path, tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    given = words(photos, "--config", str(tmp_path / "device.toml"))
    at = given.index("--task")
    command = [EDGELOOP, "agent", *given[:at], *given[at + 2 :]]
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs) as process:
        os.write(ours, b"asked-for\n")
        assert process.wait(120) == 0
    os.close(ours)
    os.close(theirs)
    assert tomllib.loads((tmp_path / "device.toml").read_text())["task"] == "asked-for"


@pytest.mark.parametrize("wrong", ["a b", "aggregator"])
def test_a_wrong_name_writes_nothing(photos: Path, tmp_path: Path, wrong: str) -> None:
    file = tmp_path / "device.toml"
    with pytest.raises(ConfigError, match="name"):
        main(words(photos, "--config", str(file), "--name", wrong))
    assert not file.exists()


@pytest.mark.parametrize(
    ("wrong", "remedy"),
    [("resnet-4", "did you mean resnet4"), ("mine", "choose one of cnn, .*resnet4")],
)
def test_an_architecture_that_is_not_there_writes_nothing(
    photos: Path, tmp_path: Path, wrong: str, remedy: str
) -> None:
    config = tmp_path / "device.toml"
    more = ["--architecture", wrong, "--config", str(config)]
    with pytest.raises(ModelError, match=f"architecture: there is no '{wrong}'; {remedy}"):
        main(words(photos, *more))
    assert not config.exists()


def test_other_layouts(tmp_path: Path) -> None:
    divided = describe(str(write_data(tmp_path / "divided")))
    assert divided.shape == (1, 28, 28)
    assert "one file per client, 1 clients" in divided.lines[0]
    whole = describe("fashion-sample")
    assert "10 classes" in whole.lines[1]
    (tmp_path / "empty").mkdir()
    with pytest.raises(NoSamplesError, match="one subfolder for each class"):
        describe(str(tmp_path / "empty"))
    assert not are_recordings("fashion-sample")
    assert not are_recordings(str(tmp_path / "divided"))
    table = tmp_path / "samples.csv"
    table.write_text("a,b,label\n1,2,x\n2,1,y\n")
    assert not are_recordings(str(table))


def test_the_largest_model_that_trains_in_time(tmp_path: Path) -> None:
    brought = describe("fashion-sample")
    assert brought.choose("mlp-500,resnet4,resnet6", 1e6) == "resnet6"
    assert brought.choose("", 1e6) == "cnn"
    with pytest.raises(ValueError, match="none of resnet4 trains a round in"):
        brought.choose("resnet4", 1e-9)
    with pytest.raises(ModelError, match="mlp-500: does not fit"):
        brought.choose("mlp-layers", 1e6)


def test_characters_that_toml_escapes(tmp_path: Path) -> None:
    folder = pictures(tmp_path / "a\x7f\U0001f600\\b", {"ok": 1, "no": 1})
    file = tmp_path / "device.toml"
    assert main(words(folder, "--config", str(file))) == 0
    assert tomllib.loads(file.read_text(encoding="utf-8"))["data"]["source"] == str(folder)
