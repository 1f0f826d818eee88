"""The tutorials are followed as they stand: their files, their commands, what these say."""

import json
import os
import re
import shlex
import subprocess
import tomllib
from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml
from PIL import Image

from cloud.console.settings import ServerSettings
from cloud.operator.spec import Task
from edgeloop import data
from edgeloop.cli.main import main
from edgeloop.runtime import config
from edgeloop.runtime.ports import free_ports
from tests.extending.test_extending import install
from tests.ports import with_ports
from tests.test_operate import BINARIES, installed

TUTORIALS = Path(__file__).parents[2] / "docs" / "tutorials"
PHOTOS = 40  # of each class


def blocks(page: str, language: str) -> list[str]:
    """Return a tutorial's blocks of a language."""
    text = (TUTORIALS / f"{page}.md").read_text()
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def files(page: str) -> dict[str, str]:
    """Return a tutorial's files: blocks that begin with a comment that names them."""
    found = {}
    for text in (*blocks(page, "toml"), *blocks(page, "python")):
        name, _, _ = text.removeprefix("# ").partition("\n")
        found[name] = text
    return found


def follow(page: str, folder: Path, environment: Mapping[str, str] = os.environ) -> str:
    """Run a tutorial's commands in order, and return all that they say."""
    steps = blocks(page, "sh")
    assert steps
    done = subprocess.run(
        ["/bin/bash", "-c", "\n".join(["set -euo pipefail", *steps])],
        cwd=folder,
        env={**environment, "PATH": f"{BINARIES}:{os.environ['PATH']}:/usr/sbin"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


Capture = pytest.CaptureFixture[str]


def follow_here(page: str, capsys: Capture) -> str:
    """Run a tutorial's commands in this process, and return all that they say."""
    lines = "".join(blocks(page, "sh")).replace("\\\n", " ").splitlines()
    assert lines
    for line in lines:
        program, *words = shlex.split(line)
        assert program == "edgeloop"
        assert main(words) == 0, capsys.readouterr().err
    return capsys.readouterr().out


def take_photos(folder: Path) -> None:
    """Make the tutorials' folder of photos: two classes, all sizes."""
    (tree,) = blocks("your-photos", "text")
    classes = re.findall(r"^    (\w+)/ +0001\.jpg", tree, re.MULTILINE)
    assert classes == ["ok", "scratch"]
    pool = data.read("fashion-sample")
    for label, name in enumerate(classes):
        (folder / name).mkdir(parents=True)
        for number, image in enumerate(pool.inputs[pool.labels == label][:PHOTOS], 1):
            photo = Image.fromarray(image[0]).convert("RGB").resize((40 + number, 60))
            photo.save(folder / name / f"{number:04}.jpg")


def test_first_loop(tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    said = follow_here("first-loop", capsys)
    (expected,) = blocks("first-loop", "text")
    assert expected.strip().removesuffix("...") in " ".join(said.split())
    assert "accuracy" in (tmp_path / "runs" / "first" / "report.html").read_text()


def test_your_photos(tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    take_photos(tmp_path / "photos")
    monkeypatch.chdir(tmp_path)
    said = follow_here("your-photos", capsys)
    assert "scratch" in said
    summary = json.loads((tmp_path / "runs" / "together" / "summary.json").read_text())
    assert len(summary["accuracy_by_round"]) == 4


def test_your_algorithm(tmp_path: Path) -> None:
    for name, text in files("your-algorithm").items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    (tmp_path / "mine" / "__init__.py").touch()
    install(tmp_path, {"edgeloop.algorithms": {"fedtrim": "mine.trim"}}, "mine")
    path = os.pathsep.join([str(tmp_path), str(Path(__file__).parents[2])])
    said = follow("your-algorithm", tmp_path, {**os.environ, "PYTHONPATH": path})
    assert "how many uploads are left out at either end" in said
    summary = json.loads((tmp_path / "runs" / "fedtrim" / "summary.json").read_text())
    assert summary["accuracy_by_round"][-1] > 0.2


def write(page: str, folder: Path) -> None:
    """Write a tutorial's files, with free ports in the place of its own."""
    chosen = dict(zip(("8883", "9464"), free_ports(2), strict=True))
    for name, text in files(page).items():
        (folder / name).write_text(with_ports(text, chosen))


@pytest.mark.broker
def test_one_device(tmp_path: Path) -> None:
    installed("mosquitto")
    take_photos(tmp_path / "photos")
    write("one-device", tmp_path)
    said = follow("one-device", tmp_path)
    (expected,) = blocks("one-device", "log")
    for line in expected.splitlines():
        part, _, text = line.partition(" | INFO ")
        assert re.search(rf"^{part} \| .*{re.escape(text)}", said, re.MULTILINE), line
    assert "photos/scratch/0001.jpg" in said


@pytest.mark.broker
def test_a_fleet(tmp_path: Path) -> None:
    installed("mosquitto")
    write("a-fleet", tmp_path)
    said = follow("a-fleet", tmp_path)
    assert "all work is done" in said
    summary = json.loads(
        (tmp_path / "fleet" / "aggregators" / "sorting" / "summary.json").read_text()
    )
    assert summary["knowledge_sha256"] in said


def test_the_fleets_console_follows_the_stack() -> None:
    console = config.parse(tomllib.loads(files("a-fleet")["server.toml"]), ServerSettings, "page")
    assert str(console.stack) in files("a-fleet")


def test_the_clusters_task_is_one() -> None:
    (text,) = blocks("kubernetes", "yaml")
    written = yaml.safe_load(text)
    task = Task.model_validate({**written, "metadata": {**written["metadata"], "uid": "1"}})
    assert (task.spec.algorithm.name, task.spec.rounds) == ("fedproto", 10)


def test_every_tutorial_is_on_the_list() -> None:
    text = (TUTORIALS / "index.md").read_text()
    for page in TUTORIALS.glob("*.md"):
        assert page.name == "index.md" or f"]({page.name})" in text
