"""The metrics' page names every metric, and no other."""

import re
from pathlib import Path

from cloud.aggregator.metrics import Metrics
from tests.world import contract

PAGE = Path(__file__).parents[2] / "docs" / "metrics.md"


def test_the_page_is_complete() -> None:
    metrics = Metrics()
    metrics.began(contract())
    served = set(re.findall(r"^# TYPE (\w+) ", metrics.exposition().decode(), re.MULTILINE))
    served = {name for name in served if not name.endswith("_created")}
    written = set(re.findall(r"^\| `(\w+)", PAGE.read_text(), re.MULTILINE))
    assert written == served
