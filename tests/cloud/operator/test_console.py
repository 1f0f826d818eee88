"""A browser on the FederatedTasks of a cluster, with a server that stores in PostgreSQL.

The operator, the aggregator, the broker, the devices and the database are real; the API server and
what runs its pods are the tests'. See `browsing` for what it needs besides.
"""

import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from edgeloop.runtime.config import BrokerSettings
from edgeloop.runtime.ports import free_port
from tests import forked
from tests.cloud.console.browsing import chromium, needs_browser, opened, serious_problems
from tests.cloud.console.serving import Running, console
from tests.cloud.operator.api_server import ADMIN
from tests.cloud.operator.cluster import NAMESPACE, OPERATOR, Cluster, task
from tests.cloud.operator.conftest import EDGELOOP, StartOperator, kubeconfig
from tests.cloud.operator.job_runner import JobRunner
from tests.cloud.operator.kubelet import Kubelet
from tests.cloud.operator.test_real_aggregator import Node
from tests.postgres import Postgres

sync_api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
pytestmark = [*needs_browser(), pytest.mark.broker]

DEVICES = [f"press-{number}" for number in range(3)]
TASK = f"{NAMESPACE}.shop-floor"
API = f"/api/v1/tasks/{TASK}"
WANTED = """
name = "windows"
algorithm = "fedproto"
class_names = ["ok", "dent"]
shape = [1, 28, 28]
rounds = 3
cohort = { devices = ["press-1", "press-2"], quorum = 1 }
"""


@pytest.fixture
def running(
    tmp_path: Path,
    cluster: Cluster,
    start_operator: StartOperator,
    broker: BrokerSettings,
    postgres: Postgres,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Running]:
    config = tmp_path / "admin"
    config.write_text(kubeconfig(cluster.url).replace(OPERATOR, ADMIN))
    place = "kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION"
    monkeypatch.setattr(place, str(config))
    node = Node(cluster, tmp_path, free_port())
    url = f"http://127.0.0.1:{node.port}"
    cohort = {"devices": DEVICES, "quorum": 1, "graceSeconds": 0}
    where = {"host": "127.0.0.1", "port": broker.port}
    pods, jobs = Kubelet(cluster, node.start, rolls=True), JobRunner(cluster, "true")
    with pods, jobs, ExitStack() as stack:
        start_operator("--aggregator-url", url)
        cluster.create("federatedtasks", task(cohort=cohort, broker=where, rounds=100_000, width=8))
        words = ["--devices", "3", "--task", TASK, "--port", str(broker.port), "--spread", "0.1"]
        log = stack.enter_context((tmp_path / "fleet.log").open("wb"))
        fleet = forked.start([EDGELOOP, "fleet", *words], stderr=log)
        stack.callback(fleet.wait)
        stack.callback(fleet.kill)
        settings = {"namespaces": [NAMESPACE], "aggregator_url": url, "store": postgres.database()}
        found = stack.enter_context(console(tmp_path / "server", **settings))
        found.wait(API, lambda task: task["round"] >= 1, 60)
        yield found


def pressed(page: Any, button: str) -> None:
    page.get_by_role("button", name=button).click()
    page.get_by_role("link", name="To the task").click()


def make_and_cancel(page: Any, running: Running) -> None:
    """Make a second task that does not begin yet, and cancel it."""
    page.goto(f"{running.url}/new-task")
    page.get_by_label("The task").fill(WANTED)
    page.get_by_label("Namespace").fill(NAMESPACE)
    page.get_by_label("Begin at once").uncheck()
    page.get_by_role("button", name="Make it").click()
    page.get_by_text("windows is in").wait_for()
    running.wait(f"/api/v1/tasks/{NAMESPACE}.windows", lambda found: found["state"] == "Paused")
    page.goto(running.url)
    assert page.get_by_role("row").count() == 3
    page.get_by_role("link", name="windows").click()
    pressed(page, "Cancel")
    sync_api.expect(page.locator("b.state")).to_have_text("Cancelled", timeout=20_000)


def test_a_task_is_paused_and_resumed_a_device_evicted_one_made_and_cancelled(
    running: Running, cluster: Cluster
) -> None:
    errors: list[str] = []
    with chromium() as browser:
        page = opened(browser, running, "admin", errors)
        page.get_by_role("link", name=TASK).click()
        state = page.locator("b.state")
        pressed(page, "Pause")
        sync_api.expect(state).to_have_text("Paused", timeout=20_000)
        held = running.wait(API, lambda found: found["state"] == "Paused")["round"]
        pressed(page, "Resume")
        running.wait(API, lambda found: found["round"] > held, 60)
        sync_api.expect(state).to_have_text("Running", timeout=20_000)
        page.get_by_role("link", name="press-2").click()
        pressed(page, "Evict")
        row = page.get_by_role("row", name="press-2")
        sync_api.expect(row).to_contain_text("evicted", timeout=60_000)
        assert serious_problems(page) == []
        make_and_cancel(page, running)
        cluster.delete("federatedtasks", "shop-floor")
        page.goto(f"{running.url}/tasks/{TASK}")
        sync_api.expect(state).to_have_text("Away", timeout=20_000)
        sync_api.expect(page.get_by_role("status")).to_contain_text(
            "is there no more", timeout=20_000
        )
    assert errors == []
    spec = cluster.get("federatedtasks", "windows")
    assert spec is not None
    assert spec["spec"]["state"] == "Cancelled"
    audit = running.ask("/api/v1/audit", "admin").json()["items"]
    acts = [each["act"] for each in audit]
    assert acts == ["cancel", "create task", "evict", "resume", "pause"], json.dumps(audit)
