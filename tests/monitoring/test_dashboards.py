"""What can be told of the dashboards without a running Prometheus."""

import re
import runpy
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from cloud.aggregator.metrics import Metrics
from cloud.operator.monitor import Monitor
from tests.cloud.operator.test_monitor import ask
from tests.cloud.test_metrics import CONTRACT, secured
from tests.helm.chart import ROOT
from tests.monitoring.boards import FOLDER, boards, queries
from tests.monitoring.prometheus import promtool

SCRIPT = SimpleNamespace(**runpy.run_path(str(ROOT / "tools" / "dashboards.py")))


def test_the_files_are_what_the_tool_writes() -> None:
    found = {path.name: path.read_text() for path in FOLDER.iterdir()}
    assert found == SCRIPT.dashboards(), "run tools/dashboards.py"


def test_every_query_parses(tmp_path: Path) -> None:
    records = [
        {"record": f"q{number}", "expr": query.expression} for number, query in enumerate(queries())
    ]
    path = tmp_path / "rules.yaml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "queries", "rules": records}]}))
    done = promtool("check", "rules", path)
    assert f"{len(records)} rules found" in done.stdout, done.stdout + done.stderr


def test_every_metric_is_on_a_dashboard_and_no_other_is(tmp_path: Path) -> None:
    metrics = Metrics()
    metrics.run_started(CONTRACT, secured(tmp_path)[0], None)
    metrics.algorithm_metrics({"margin": 1.0})
    text = metrics.exposition().decode()
    text += ask(Monitor().serve("127.0.0.1", 0), "/metrics")[1]
    served = set(re.findall(r"^# TYPE (edgeloop_\w+) ", text, re.MULTILINE))
    served = {name for name in served if not name.endswith("_created")}
    asked = {
        re.sub("_(bucket|sum|count)$", "", name)
        for query in queries()
        for name in re.findall(r"\bedgeloop_\w+", query.expression)
    }
    settings = {"edgeloop_round_deadline_seconds", "edgeloop_round_give_up_seconds"}
    assert asked == served - settings - {"edgeloop_rounds_closed_total"}


@pytest.mark.parametrize("name", boards())
def test_panels_lie_beside_one_another(name: str) -> None:
    taken: set[tuple[int, int]] = set()
    for panel in boards()[name]["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        cells = {
            (place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])
        }
        assert not cells & taken, panel["title"]
        taken |= cells


def test_a_panel_says_where_it_has_its_numbers_from() -> None:
    for board in boards().values():
        assert [each["name"] for each in board["templating"]["list"]] == ["datasource", "task"]
        for panel in board["panels"]:
            for target in panel["targets"]:
                assert target["datasource"]["uid"] == "${datasource}"
                assert target["legendFormat"]
