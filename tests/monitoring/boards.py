"""The chart's dashboards, as their files have them."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tests.monitoring.prometheus import CHART

FOLDER = CHART / "dashboards"


@dataclass(frozen=True)
class Query:
    """An expression of a panel, with the variables replaced."""

    board: str
    panel: str
    expression: str


def boards() -> dict[str, dict[str, Any]]:
    """Return the dashboards by name."""
    return {path.stem: json.loads(path.read_text()) for path in sorted(FOLDER.glob("*.json"))}


def queries(task: str = ".*", interval: str = "30s") -> Iterator[Query]:
    """Yield every expression as Grafana sends it for a task."""
    for name, board in boards().items():
        for panel in board["panels"]:
            for target in panel["targets"]:
                text = target["expr"].replace("$task", task)
                text = text.replace("$__rate_interval", interval)
                yield Query(name, panel["title"], text)
