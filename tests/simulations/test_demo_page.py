"""The demo's page: on a terminal only, and it shows the demo's tasks to who has the token."""

import json
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest

from edgeloop.cli.main import main
from simulations.demo import page
from tests.cloud.console.serving import aggregator, status
from tests.devices import wait_until


@pytest.mark.parametrize(
    ("said", "ci", "terminal", "wanted"),
    [
        (None, "", True, True),
        (None, "", False, False),
        (None, "true", True, False),
        (True, "true", False, True),
        (False, "", True, False),
    ],
)
def test_a_page_is_for_people(
    said: bool | None, ci: str, terminal: bool, wanted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CI", ci)
    for name in ("stdin", "stdout"):
        monkeypatch.setattr(sys, name, SimpleNamespace(isatty=lambda: terminal))
    assert page.is_wanted(said) == wanted


def test_a_page_shows_one_seed(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    words = ["demo", "--console", "--seeds", "2", "--out", str(tmp_path / "out")]
    assert main(words) == 2
    assert "shows one seed" in capfd.readouterr().err


PROGRAM = """
import sys
from pathlib import Path
from types import SimpleNamespace
from simulations.demo.page import Page
from simulations.demo.processes import Processes
folder, port = Path(sys.argv[1]), int(sys.argv[2])
with Processes(folder) as processes:
    task = SimpleNamespace(task="demo-fedktl", http_port=port)
    shown = Page(processes, [task], folder / "alone")
    shown.say()
    shown.stay()
"""


def test_it_shows_the_task_until_ctrl_c(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "alone").mkdir()
    local = {"accuracy_by_round": [0.25], "accuracy_by_client": {}}
    (tmp_path / "alone" / "summary.json").write_text(json.dumps(local))
    with aggregator(lambda: status("demo-fedktl")) as url:
        command = [sys.executable, "-u", "-c", PROGRAM, str(tmp_path), url.rpartition(":")[2]]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            lines = [process.stdout.readline() for _ in range(3)]
            place = lines[0].removeprefix("page: ").strip()
            token = lines[1].removeprefix("token to sign in with: ").strip()
            base = place.removesuffix("/tasks/demo-fedktl")

            def ask(path: str) -> httpx.Response | None:
                headers = {"authorization": f"Bearer {token}"}
                try:
                    return httpx.get(base + path, headers=headers)
                except httpx.HTTPError:
                    return None

            def known() -> bool:
                found = ask("/api/v1/runs/run-demo-fedktl/rounds")
                return found is not None and bool(found.json().get("items"))

            wait_until(known, 60)
            answer = ask("/api/v1/runs/run-demo-fedktl/rounds")
            assert answer is not None
            assert answer.json()["items"][0]["alone"] == 0.25
            assert httpx.post(f"{base}/api/v1/tasks/demo-fedktl/pause").status_code == 401
            process.send_signal(signal.SIGINT)
            assert "the page is closed" in process.stdout.read()
            assert process.wait(30) == 0
