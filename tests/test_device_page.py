"""docs/device.md is followed to the letter: its folder, its files, its commands, its log."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from edgeloop import data
from edgeloop.runtime.config import BrokerSettings
from edgeloop.runtime.ports import free_port
from tests.one_device import run_aggregator

PAGE = (Path(__file__).parent.parent / "docs" / "device.md").read_text()
BINARIES = str(Path(sys.executable).parent)
PHOTOS = 30  # of each class


def blocks(language: str) -> list[str]:
    """Return the page's blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def take_photos(folder: Path) -> None:
    """Make the page's folder: its classes, in photos of all sizes."""
    (tree,) = blocks("text")
    classes = re.findall(r"^    (\w+)/ +0001\.jpg", tree, re.MULTILINE)
    assert tree.startswith(f"{folder.name}/\n")
    assert classes == ["ok", "scratch"]
    pool = data.read("fashion-sample")
    for label, name in enumerate(classes):
        (folder / name).mkdir(parents=True)
        for number, image in enumerate(pool.inputs[pool.labels == label][:PHOTOS], 1):
            photo = Image.fromarray(image[0]).convert("RGB").resize((40 + number, 60))
            photo.save(folder / name / f"{number:04}.jpg")


def follow(command: str, folder: Path) -> "subprocess.CompletedProcess[str]":
    """Run one of the page's commands."""
    environment = {**os.environ, "PATH": f"{BINARIES}:{os.environ['PATH']}"}
    return subprocess.run(
        ["/bin/bash", "-ec", command],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def pattern(line: str) -> str:
    """Return what matches a line of the log with any numbers in it."""
    return re.sub(r"\d+(\\\.\d+)?", r"[\\d.]+", re.escape(line.strip()))


@pytest.mark.broker
def test_the_page_is_followed_to_the_letter(tmp_path: Path, broker: BrokerSettings) -> None:
    take_photos(tmp_path / "photos")
    here = f'host = "127.0.0.1"\nport = {broker.port}'
    device, task = (re.sub(r'^host = ".*"$', here, text, flags=re.M) for text in blocks("toml"))
    (tmp_path / "device.toml").write_text(device)
    task = task.replace('folder = "task"', f'folder = "{tmp_path}/task"')
    (tmp_path / "task.toml").write_text(f"{task}\n[http]\nport = {free_port()}\n")
    start, ask = blocks("sh")
    with run_aggregator(tmp_path / "task.toml", tmp_path / "task.log") as running:
        done = follow(start, tmp_path)
        assert done.returncode == 0, done.stderr
        assert running.process.wait(60) == 0
    (expected,) = blocks("log")
    assert re.search(".*?".join(map(pattern, expected.splitlines())), done.stderr, re.DOTALL)
    _look_at_what_came_out(tmp_path / "device")
    answer = follow(ask, tmp_path)
    assert answer.returncode == 0, answer.stderr
    assert "ok" in answer.stdout


def _look_at_what_came_out(folder: Path) -> None:
    named = re.findall(r"^\| `([a-z./]+)` \|", PAGE, re.MULTILINE)
    assert len(named) == 13
    expected = set(named) - {"previous/", "privacy.json", "left.json"}
    assert {each.name for each in folder.iterdir()} == expected
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["train_samples"] + summary["test_samples"] == 2 * PHOTOS
    assert summary["accuracy_by_round"]["2"] > 0.5


def test_the_page_leads_to_pages_that_are_there() -> None:
    for name in re.findall(r"\]\(([a-z]+\.md)", PAGE):
        assert (Path(__file__).parent.parent / "docs" / name).exists()
