"""Makes docs/images/prometheus.png: `python -m pytest tests/monitoring/picture.py`.

Four panels' queries on Prometheus's own page, in the scene of `test_live`; it needs a Chromium.
Grafana is in no registry that the tests use: nobody draws its dashboards here.
"""

import shutil
import subprocess
from pathlib import Path
from urllib.parse import urlencode

import pytest

from tests.devices import wait_until
from tests.monitoring.boards import queries
from tests.monitoring.test_live import TASK, Scene, scene, value

__all__ = ["scene"]

pytestmark = [pytest.mark.broker, pytest.mark.triton, pytest.mark.timeout(600)]

IMAGE = Path(__file__).parents[2] / "docs" / "images" / "prometheus.png"
PANELS = (
    ("fleet", "Bytes from devices"),
    ("task", "What a round's time goes to"),
    ("task", "Accuracy by device"),
    ("generator", "Triton: requests"),
)
"""Of the dashboards, by board and title: what the first expression of each gives."""

ROUNDS = 100


def test_draw(scene: Scene, tmp_path: Path) -> None:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    assert chromium, "install a Chromium"
    wait_until(lambda: value(scene.prometheus, "edgeloop_rounds_closed_total") >= ROUNDS, 400)
    found: dict[tuple[str, str], str] = {}
    for query in queries(TASK, "15s"):
        found.setdefault((query.board, query.panel), query.expression)
    fields = {
        f"g{number}.{key}": text
        for number, panel in enumerate(PANELS)
        for key, text in {"expr": found[panel], "tab": "0", "range_input": "1m"}.items()
    }
    address = f"{scene.prometheus.url}/classic/graph?{urlencode(fields)}"
    subprocess.run(
        [
            *(chromium, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"),
            *(f"--user-data-dir={tmp_path / 'browser'}", "--window-size=1400,2900"),
            *("--virtual-time-budget=20000", f"--screenshot={IMAGE}", address),
        ],
        check=True,
    )
