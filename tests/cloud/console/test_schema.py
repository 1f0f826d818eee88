"""The running API does what its description says, whatever is asked: schemathesis asks.

No answer is a 5xx, and each has a code, a type and a content that are described. What keeps to the
description may be refused for all that: a cursor that no list gave with 422.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from cloud.aggregator.http import Details
from tests.cloud.console.serving import Running, aggregator, console, status
from tests.cloud.console.test_knowledge import write

schemathesis = pytest.importorskip("schemathesis", reason="schemathesis is not installed")
EVENTS = "/api/v1/events"  # a stream, which ends after a minute: tests/.../test_api.py reads it


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    write(tmp_path / "history", 0)
    with (
        aggregator(lambda: status("doors"), Details(history=tmp_path / "history")) as url,
        console(tmp_path / "server", aggregators=[{"name": "doors", "url": url}]) as found,
    ):
        found.wait("/api/v1/tasks", lambda page: bool(page["items"]))
        yield found


def checks() -> list[Any]:
    known = schemathesis.checks
    names = (
        "not_a_server_error",
        "status_code_conformance",
        "content_type_conformance",
        "response_schema_conformance",
        "response_headers_conformance",
    )
    return [known.CHECKS.get_one(name) for name in names]


@pytest.mark.parametrize("role", ["", "viewer", "admin"])
def test_every_answer_is_described(running: Running, role: str) -> None:
    headers = {"authorization": f"Bearer {running.tokens[role]}"} if role else {}
    known = {"authorization": f"Bearer {running.tokens['viewer']}"}
    schema = schemathesis.openapi.from_url(f"{running.url}/api/v1/openapi.json", headers=known)
    operations = [each.ok() for each in schema.get_all_operations()]
    assert len(operations) >= 18
    for operation in operations:
        if operation.path == EVENTS:
            continue

        @settings(
            max_examples=8,
            deadline=None,
            database=None,
            derandomize=True,
            phases=[Phase.explicit, Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy())
        def ask(case: Any) -> None:
            answer = case.call(headers=headers)
            case.validate_response(answer, checks=checks())

        ask()
