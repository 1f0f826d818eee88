"""Reports of an aggregator's own folder and of a task on a server; and reports on a phone."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from cloud.aggregator.http import Details
from cloud.aggregator.ledger import Ledger, RoundCounts
from edgeloop.cli.main import main
from edgeloop.cohorts.uploads import Upload
from edgeloop.errors import ConfigError, RunError
from simulations.report import command, render
from simulations.report.aggregated import is_one, read_aggregator
from simulations.report.charts import Series, lines
from simulations.report.report_data import Traffic
from simulations.report.served import ALL, read_server
from tests.cloud.console.browsing import CHROMIUM, chromium
from tests.cloud.console.serving import aggregator, console, status
from tests.world import contract

CONTRACT = contract(run="f00d", rounds=3, devices=("a", "b"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An aggregator that has closed one of three rounds."""
    place = tmp_path / "aggregator"
    place.mkdir()
    with Ledger.open(f"sqlite:///{place / 'ledger.sqlite'}") as ledger:
        ledger.adopt(CONTRACT)
        ledger.begin(b"state", b"broadcast")
        ledger.record_all(0, [Upload("a", "d", b"x" * 40, 0), Upload("b", "e", b"x" * 50, 0)])
        ledger.close_round(0, b"state", b"broadcast", RoundCounts(2, 3, 4))
    return place


def ended(folder: Path) -> None:
    """Have the aggregator be done with its rounds."""
    summary = {
        "task": CONTRACT.task,
        "run": "f00d",
        "algorithm": CONTRACT.algorithm,
        "rounds": 3,
        "accuracy_by_round": [0.75, 0.8, None, 0.9],
        "accuracy_by_device": {"a": 0.8, "b": 1.0},
        "train_loss_by_round": [None, 2.0, 1.5],
        "measures_by_round": {"margin": [0.5, None, 0.25]},
    }
    (folder / "summary.json").write_text(json.dumps(summary))


def local(folder: Path) -> Path:
    folder.mkdir()
    samples = {name: {"train": 9, "test": 100} for name in ("client-0", "client-1")}
    summary = {
        "accuracy_by_round": [0.5, 0.6],
        "accuracy_by_client": {"client-0": 0.5, "client-1": 0.6},
        "samples_by_client": samples,
    }
    (folder / "summary.json").write_text(json.dumps(summary))
    return folder


def test_a_run_that_goes_on_has_a_report(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = read_aggregator(folder)
    assert found.federated == {0: 0.75}
    assert [device.name for device in found.devices] == ["a", "b"]
    assert found.traffic == {"a": {0: Traffic(40, 0)}, "b": {0: Traffic(50, 0)}}
    assert found.class_names == CONTRACT.class_names
    assert list(found.timings[0].by_round) == [0]
    assert command.main([str(folder)]) == 0
    assert "report.html" in capsys.readouterr().out
    page = (folder / "report.html").read_text()
    assert "Whether taking part paid is not known" in page
    assert "<b>75.0%</b>accuracy together" in page


def test_a_run_that_has_ended_is_compared_with_local(folder: Path, tmp_path: Path) -> None:
    ended(folder)
    found = read_aggregator(folder, local(tmp_path / "local"))
    assert found.federated == {0: 0.75, 1: 0.8, 3: 0.9}
    assert found.alone == {0: 0.5, 1: 0.6}
    assert [(each.alone, each.federated) for each in found.devices] == [(0.5, 0.8), (0.6, 1.0)]
    assert "points" in (found.verdict or "")
    assert found.losses == {"train_loss": {1: 2.0, 2: 1.5}, "margin": {0: 0.5, 2: 0.25}}
    page = render(found)
    assert page.index("The devices&#x27; training loss.") < page.index("The server&#x27;s margin.")


def test_a_summary_alone_will_do(folder: Path) -> None:
    ended(folder)
    (folder / "ledger.sqlite").unlink()
    assert is_one(folder)
    assert read_aggregator(folder).federated == {0: 0.75, 1: 0.8, 3: 0.9}


def test_what_is_no_aggregators_is_said(tmp_path: Path, folder: Path) -> None:
    assert not is_one(tmp_path)
    with pytest.raises(RunError, match=r"neither ledger\.sqlite nor summary\.json"):
        read_aggregator(tmp_path)
    with pytest.raises(RunError, match="is no finished run"):
        read_aggregator(folder, tmp_path)
    (folder / "ledger.sqlite").write_bytes(b"x" * 4096)
    assert main(["report", str(folder)]) == 2
    assert main(["report", str(tmp_path), "--beside", str(tmp_path)]) == 2


def write_history(folder: Path) -> None:
    folder.mkdir()
    images = {"broadcast.images_NP": np.full((2, 4), 7, np.uint8)}
    save_file(images, folder / "round-00001.safetensors", {"devices": "[]"})


def test_a_task_on_a_server_has_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_history(tmp_path / "history")
    said = status("doors").model_copy(update={"class_names": ("x", "y"), "shape": (1, 2, 2)})
    told = replace(said.history[2], measures={"train_loss": 1.5})
    said = said.model_copy(update={"history": (*said.history[:2], told, *said.history[3:])})
    with (
        aggregator(lambda: said, Details(history=tmp_path / "history")) as url,
        console(tmp_path / "server", aggregators=[{"name": "doors", "url": url}]) as server,
    ):
        server.wait("/api/v1/tasks", lambda page: bool(page["items"]))
        token = server.tokens["viewer"]
        found = read_server(f"{server.url}/tasks/doors", token)
        assert found.federated == {0: 0.0, 1: 0.1, 2: 0.2, 3: 0.5}
        assert len(found.devices) == 4
        assert found.history[0].number == 1
        assert found.shape == (1, 56, 56)
        assert found.losses == {"train_loss": {2: 1.5}}
        assert "Losses, and numbers of the server" in render(found)
        assert ALL not in found.traffic  # nothing was heard of it
        with pytest.raises(ConfigError, match="names no task"):
            read_server(f"{server.url}/else", token)
        (tmp_path / "token").write_text(token)
        out = ["--out", str(tmp_path / "page.html"), "--token-file", str(tmp_path / "token")]
        assert command.main([server.url, *out]) == 0
    assert "fedproto, 20 rounds" in (tmp_path / "page.html").read_text()
    away = ["report", "http://127.0.0.1:9", "--token-file", str(tmp_path / "token")]
    assert main(away) == 75
    assert "does not answer" in capsys.readouterr().err


def test_each_point_says_its_value() -> None:
    drawn = lines("a", [Series("b", dict.fromkeys(range(1000), 0.5), "red")], "share", top=1.0)
    assert drawn.count('class="hit"') == 200
    assert "<title>b, round 999: 0.5 share</title>" in drawn


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium on the path")
def test_a_phone_shows_labels_and_gains(folder: Path, tmp_path: Path) -> None:
    ended(folder)
    page_file = tmp_path / "report.html"
    page_file.write_text(render(read_aggregator(folder, local(tmp_path / "local"))))
    with chromium() as browser:
        page = browser.new_page(viewport={"width": 390, "height": 844})
        page.goto(page_file.as_uri())
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        heights: list[Any] = page.evaluate(
            "[...document.querySelectorAll('svg.chart text')]"
            ".map((each) => each.getBoundingClientRect().height)"
        )
        assert min(heights) >= 13  # of a line of 11 pixels
        gain = page.get_by_role("cell", name="+0.300").bounding_box()
        assert gain["x"] + gain["width"] <= 390
        page.set_viewport_size({"width": 1280, "height": 900})
        figure = page.locator("#part-2 > figure").bounding_box()
        table = page.locator("#part-2 > .wide").bounding_box()
        assert table["x"] > figure["x"] + figure["width"] - 1  # beside the chart
