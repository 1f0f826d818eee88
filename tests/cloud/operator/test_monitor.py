import urllib.error
import urllib.request

import pytest
from prometheus_client.parser import text_string_to_metric_families

from cloud.operator.monitor import Monitor
from edgeloop.errors import TakenError


def ask(port: int, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, ""


def test_metrics_and_health() -> None:
    now = [0.0]
    monitor = Monitor(lambda: now[0])
    port = monitor.serve("127.0.0.1", 0)
    assert ask(port, "/healthz")[0] == 200, "one that waits for the lease is alive"
    monitor.leads()
    monitor.found("FederatedTask", "n", "a", "Pending")
    monitor.found("FederatedTask", "n", "a", "Running")
    monitor.found("FederatedTask", "n", "b", "Running")
    monitor.gone("FederatedTask", "n", "b")
    monitor.reconciled("FederatedTask", done=True)
    monitor.reconciled("Generator", done=False)
    monitor.left_behind()
    code, text = ask(port, "/metrics")
    values = {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    assert code == 200
    assert values["edgeloop_operator_leader",] == 1
    assert values["edgeloop_operator_objects", "FederatedTask", "Pending"] == 0
    assert values["edgeloop_operator_objects", "FederatedTask", "Running"] == 1
    assert values["edgeloop_operator_looks_total", "FederatedTask", "done"] == 1
    assert values["edgeloop_operator_looks_total", "Generator", "refused"] == 1
    assert values["edgeloop_operator_left_behind_total",] == 1
    now[0] = 61.0
    assert ask(port, "/healthz")[0] == 503
    monitor.beat()
    assert ask(port, "/healthz")[0] == 200
    assert ask(port, "/other")[0] == 404
    with pytest.raises(TakenError, match="choose another one"):
        Monitor().serve("127.0.0.1", port)
