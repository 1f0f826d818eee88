"""The metrics' page names every metric with its type, its labels and their values, and no other."""

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from cloud.aggregator.metrics import Metrics
from cloud.operator.monitor import Monitor
from edge.serving.answers import Answering
from edge.serving.http import Server, running
from edge.serving.measured import Measured
from edge.serving.model_in_use import Serving
from tests.cloud.operator.test_monitor import ask
from tests.cloud.test_metrics import CONTRACT, secured

PAGE = Path(__file__).parents[2] / "docs" / "metrics.md"
ROW = re.compile(r"^\| `(\w+)(?:\{([\w,]+)\})?` \| (\w+) \| (.*) \|$", re.MULTILINE)
FREE = {"task", "run", "algorithm", "round", "sha256", "status"}
"""Labels whose values the user chooses, or that are numbers."""

Row = tuple[str, frozenset[str]]


def written() -> dict[str, tuple[Row, str]]:
    rows = ROW.findall(PAGE.read_text())
    return {
        name: ((kind, frozenset(labels.split(",")) - {""}), text)
        for name, labels, kind, text in rows
    }


def served(tmp_path: Path) -> list[Metric]:
    metrics = Metrics()
    metrics.run_started(CONTRACT, secured(tmp_path)[0], None)
    metrics.algorithm_metrics({"margin": 1.0})
    texts = [metrics.exposition().decode(), ask(Monitor().serve("127.0.0.1", 0), "/metrics")[1]]
    texts.append(of_a_device(tmp_path))
    families = [each for text in texts for each in text_string_to_metric_families(text)]
    return [each for each in families if not each.name.endswith("_created")]


def of_a_device(folder: Path) -> str:
    """Return the metrics of a server of a device's classifier."""
    classifier = Serving(cast("Any", SimpleNamespace(fact=str.upper)), "0" * 64)
    models: Any = SimpleNamespace(path=folder / "model.onnx", swaps=1, refused=0, now=classifier)
    answering = Answering(models, Measured())
    answering.measured.request("http", 200, 1, 0.01)
    answering.measured.request("mqtt", 200, 1, 0.01)
    answering.measured.say_connected(True)
    with running(Server(answering, ("127.0.0.1", 0), most_bytes=1, at_once=1)) as server:
        return ask(server.server_port, "/metrics")[1]


def name_of(family: Metric) -> str:
    return family.name + "_total" * (family.type == "counter")


def test_the_page_is_complete(tmp_path: Path) -> None:
    found: dict[str, Row] = {}
    for family in served(tmp_path):
        labels = frozenset(label for each in family.samples for label in each.labels) - {"le"}
        found[name_of(family)] = (family.type, labels)
    assert {name: row for name, (row, _) in written().items()} == found


def test_the_page_lists_the_values_of_every_label(tmp_path: Path) -> None:
    page = written()
    for family in served(tmp_path):
        text = page[name_of(family)][1]
        for sample in family.samples:
            for label, value in sample.labels.items():
                assert label in {*FREE, "le"} or f"`{value}`" in text, (family.name, value)
