"""What tasks have exchanged: images, maps and margins, from here and over HTTP, on a page too.

Shape suffixes: N uploaded prototypes, D their entries, C classes, P pixels.
"""

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file

import edgeloop
from cloud.aggregator.http import Details
from edgeloop.errors import InputError
from edgeloop.remote import command
from tests.cloud.console.serving import Running, aggregator, console, status

TASK = "/api/v1/tasks/doors/knowledge"
NAMES = ("open", "<b>shut</b>")


def write(folder: Path, number: int, **more: Any) -> Path:
    """Write a round of two devices, two classes, and images of two pixels by two."""
    folder.mkdir(exist_ok=True)
    path = folder / f"round-{number:05}.safetensors"
    arrays = {
        "labels": np.array([0, 1, 0]),
        "devices": np.array([0, 0, 1]),
        "prototypes": np.array([[0, 0, 1], [6, 0, 1], [0, 2, 1]], np.float32),
        "broadcast.images_NP": np.full((2, 4), 10 * number, np.uint8),
        **more,
    }
    save_file(arrays, path, {"devices": json.dumps(["press-0", "press-1"])})
    return path


@pytest.fixture
def history(tmp_path: Path) -> Path:
    folder = tmp_path / "history"
    for number in (0, 3):
        write(folder, number)
    return folder


@pytest.fixture
def running(tmp_path: Path, history: Path) -> Iterator[Running]:
    said = status("doors").model_copy(update={"class_names": NAMES, "shape": (1, 2, 2)})
    measured = tuple(
        each.__class__(**{**vars(each), "measures": {"discrepancy": 0.5 / (each.number + 1)}})
        for each in said.history
    )
    said = said.model_copy(update={"history": measured})
    with (
        aggregator(lambda: said, Details(history=history)) as url,
        console(tmp_path / "server", aggregators=[{"name": "doors", "url": url}]) as found,
    ):
        found.wait("/api/v1/tasks", lambda page: bool(page["items"]))
        yield found


def test_rounds_classes_and_margins_are_told(running: Running) -> None:
    assert running.ask(TASK).json() == {"rounds": [0, 3], "class_names": list(NAMES)}
    told = running.ask(f"{TASK}/3").json()
    assert (told["number"], told["images"]) == (3, 2)
    first, second = told["classes"]
    assert (first["name"], first["count"], first["nearest"]) == ("open", 2, NAMES[1])
    assert first["spread"] == pytest.approx(1.0)
    assert first["margin"] == second["margin"] == pytest.approx(37**0.5)


def test_an_image_is_the_rounds_own(running: Running) -> None:
    answer = running.ask(f"{TASK}/3/images/1")
    assert answer.headers["content-type"] == "image/png"
    assert set(np.asarray(Image.open(io.BytesIO(answer.content))).ravel().tolist()) == {30}


@pytest.mark.parametrize("path", ["/2", "/3/images/2", "/2/images/0"])
def test_what_is_not_kept_is_not_found(running: Running, path: str) -> None:
    answer = running.ask(TASK + path)
    assert answer.status_code == 404
    assert answer.json()["remedy"]


def test_a_damaged_round_is_said(running: Running, history: Path) -> None:
    (history / "round-00003.safetensors").write_bytes(b"torn")
    answer = running.ask(f"{TASK}/3")
    assert answer.status_code == 409
    assert "is damaged" in answer.json()["detail"]


def test_the_client_and_the_command_have_it_too(
    running: Running, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    with edgeloop.connect(running.url, token=running.tokens["viewer"]) as client:
        assert client.knowledge("doors").rounds == (0, 3)
        assert client.round_knowledge("doors", 0).classes[0].apart
        assert client.image("doors", 0, 0).startswith(b"\x89PNG")
        with pytest.raises(InputError, match="is not kept"):
            client.round_knowledge("doors", 1)
    (tmp_path / "token").write_text(running.tokens["viewer"])
    where = ["--server", running.url, "--token-file", str(tmp_path / "token"), "--json"]
    assert command.task_main(["knowledge", "doors", *where]) == 0
    assert json.loads(capsys.readouterr().out)["number"] == 3


def page(running: Running, path: str = "") -> str:
    with httpx.Client(base_url=running.url, follow_redirects=True, timeout=30) as client:
        client.post("/login", data={"token": running.tokens["viewer"]})
        answer = client.get(f"/tasks/doors/knowledge{path}")
        assert answer.status_code == 200
        return answer.text


def test_the_page_has_images_map_margins_and_losses(running: Running) -> None:
    text = page(running)
    assert text.count("<img ") == 2
    assert f"{TASK}/3/images/1" in text
    assert text.count('r="5"') == 3 + 2  # uploads, and the legend
    assert "<b>shut" not in text
    assert "&lt;b&gt;shut" in text
    assert "Discrepancy by round" in text
    assert f"{TASK}/0/images/1" in page(running, "?round=1")  # the nearest one that is kept


def test_the_page_says_what_it_cannot_show(running: Running, history: Path) -> None:
    write(history, 5, prototypes=np.full((3, 3), np.nan, np.float32))
    assert "<circle" not in page(running, "?round=5")
    (history / "round-00006.safetensors").write_bytes(b"torn")
    assert "is damaged" in page(running, "?round=6")
    for path in history.iterdir():
        path.unlink()
    assert "No round is kept" in page(running)
