"""What a deleted task leaves is taken back by a job, and by nothing is its deletion blocked."""

import tomllib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import tomli_w

from cloud.aggregator.ledger import Ledger
from cloud.operator import config, forgetting, manifests
from edgeloop.mqtt.connection import MqttConnection
from edgeloop.protocol.task import ROOT
from edgeloop.runtime.config import BrokerSettings
from tests.cloud.operator.api_server import ApiServer, Fault
from tests.cloud.operator.cluster import NAMESPACE, OPERATOR, Cluster, Object, secret, task, wait
from tests.cloud.operator.conftest import EDGELOOP, Aggregator, StartOperator
from tests.cloud.operator.examples import SETTINGS, a_store, a_task
from tests.cloud.operator.job_runner import JobRunner
from tests.cloud.operator.kubelet import Kubelet
from tests.cloud.operator.test_operator import NAME, phase
from tests.cloud.test_forgetting import kept
from tests.postgres import Postgres
from tests.world import contract

CONFIG = manifests.COMMAND[-1]

RunJobs = Callable[..., JobRunner]


@pytest.fixture
def pods(cluster: Cluster, aggregator: Aggregator) -> Iterator[Kubelet]:
    """What runs pods, and no jobs."""
    with Kubelet(cluster, aggregator.start) as running:
        yield running


@pytest.fixture
def run_jobs(cluster: Cluster, tmp_path: Path) -> Iterator[RunJobs]:
    """Run the jobs' real commands, with a task's file whose paths are this machine's."""
    with ExitStack() as stack:

        def run(**changes: object) -> JobRunner:
            found = cluster.get("configmaps", NAME)
            assert found is not None
            table = tomllib.loads(found["data"]["task.toml"])
            table |= {"folder": str(tmp_path / "volume"), **changes}
            (tmp_path / "volume").mkdir()
            path = tmp_path / "task.toml"
            path.write_text(tomli_w.dumps(table))
            return stack.enter_context(JobRunner(cluster, EDGELOOP, {CONFIG: path}))

        yield run


def said(cluster: Cluster) -> list[str]:
    return [each["message"] for each in cluster.listed("events") if each["reason"] == "LeftBehind"]


def delete(cluster: Cluster) -> None:
    cluster.delete("federatedtasks", "shop-floor")


def gone(cluster: Cluster, seconds: float = 30.0) -> None:
    wait("it is gone", lambda: cluster.get("federatedtasks", "shop-floor") is None, seconds)


def test_the_job_reads_the_tasks_file_and_not_its_volume() -> None:
    made = forgetting.cleanup_job(
        a_task(broker={"host": "b", "secretName": "s"}), SETTINGS, a_store("p")
    )
    spec = made["spec"]
    pod = spec["template"]["spec"]
    assert (spec["backoffLimit"], spec["activeDeadlineSeconds"]) == (3, 300)
    assert pod["containers"][0]["command"] == [*manifests.COMMAND, "--forget"]
    wrong, moved = spec["podFailurePolicy"]["rules"]
    assert (wrong["action"], moved["action"]) == ("FailJob", "Ignore")
    assert wrong["onExitCodes"]["values"] == [2]  # and neither 73 nor 75
    assert wrong["onExitCodes"]["containerName"] == pod["containers"][0]["name"]
    volumes = {each["name"]: each for each in pod["volumes"]}
    assert volumes.keys() == {"task", "folder", "tmp", "tls", "store"}
    assert volumes["folder"] == {"name": "folder", "emptyDir": {}}
    assert volumes["task"]["configMap"]["name"] == NAME
    paths = {each["name"]: each["mountPath"] for each in pod["containers"][0]["volumeMounts"]}
    assert (paths["folder"], paths["store"]) == (config.FOLDER, config.STORE)
    found = a_task()
    other = found.model_copy(update={"metadata": found.metadata.model_copy(update={"uid": "u2"})})
    again = forgetting.cleanup_job(other, SETTINGS, None)["metadata"]["name"]
    assert again != made["metadata"]["name"]
    assert len(forgetting.name_of(found.metadata.model_copy(update={"name": "a" * 40}))) <= 63


def test_a_job_has_its_time() -> None:
    made = "2026-01-01T00:00:00Z"
    assert not forgetting.overdue(made, "2026-01-01T00:05:00Z", 300.0)
    assert forgetting.overdue(made, "2026-01-01T00:05:01Z", 300.0)


@pytest.mark.broker
@pytest.mark.postgresql
def test_what_a_deleted_task_has_left_is_taken_back(
    cluster: Cluster,
    start_operator: StartOperator,
    aggregator: Aggregator,
    pods: Kubelet,
    run_jobs: RunJobs,
    broker: BrokerSettings,
    postgres: Postgres,
    tmp_path: Path,
) -> None:
    url = postgres.database()
    with Ledger.open(url) as ledger:
        ledger.adopt(contract(task="plant.shop-floor", run="r1"))
        ledger.begin(b"state", b"broadcast")
    with MqttConnection(broker, "before", []) as connection:
        for topic in ("plant.shop-floor/contract", "plant.shop-floor/round", "other/contract"):
            connection.publish(f"{ROOT}/{topic}", b"retained", retain=True)
        assert connection.flush(10)
    start_operator(*aggregator.flags)
    place = {"host": "127.0.0.1", "port": broker.port}
    cluster.create("secrets", secret("ledgers", "store"))
    cluster.create("federatedtasks", task(broker=place, store={"secretName": "ledgers"}))
    phase(cluster, "Running")
    (tmp_path / "url").write_text(url)
    jobs = run_jobs(store_file=str(tmp_path / "url"))
    delete(cluster)
    gone(cluster, 90)
    assert len(jobs.ran) == 1
    assert not pods.running, "it was stopped before"
    assert kept(broker, "after") == {f"{ROOT}/other/contract"}
    with Ledger.open(url) as ledger:
        assert ledger.adopt(contract(task="plant.shop-floor", run="r2", rounds=9)).run == "r2"
    assert said(cluster) == []


@pytest.mark.broker
def test_a_broker_that_is_away_does_not_block_a_deletion(
    cluster: Cluster,
    start_operator: StartOperator,
    aggregator: Aggregator,
    pods: Kubelet,
    run_jobs: RunJobs,
) -> None:
    start_operator(*aggregator.flags)
    cluster.create("federatedtasks", task())
    phase(cluster, "Running")
    run_jobs(broker={"host": "127.0.0.1", "port": 1, "connect_seconds": 0.5})
    delete(cluster)
    gone(cluster, 90)
    (why,) = wait("the event", lambda: said(cluster))
    assert "exit code 75: error: broker 127.0.0.1:1:" in why
    assert "create the task again, Paused, and delete it, to try once more" in why


def test_a_job_that_nothing_runs_does_not_block_a_deletion(
    cluster: Cluster, start_operator: StartOperator, aggregator: Aggregator, pods: Kubelet
) -> None:
    start_operator(*aggregator.flags, "--forget", "2")
    cluster.create("federatedtasks", task())
    phase(cluster, "Running")
    delete(cluster)
    gone(cluster)
    (why,) = wait("the event", lambda: said(cluster))
    assert "it did not end in time" in why


def test_a_job_that_may_not_be_made_does_not_block_a_deletion(
    server: ApiServer,
    cluster: Cluster,
    start_operator: StartOperator,
    aggregator: Aggregator,
    pods: Kubelet,
) -> None:
    rules = server.roles[OPERATOR][NAMESPACE]
    server.roles[OPERATOR][NAMESPACE] = [each for each in rules if "jobs" not in each["resources"]]
    start_operator(*aggregator.flags, "--forget", "2")
    cluster.create("federatedtasks", task())
    phase(cluster, "Running")
    delete(cluster)
    gone(cluster)
    (why,) = wait("the event", lambda: said(cluster))
    assert 'cannot list resource "jobs"' in why
    server.denied.clear()


def test_a_namespace_that_ends_is_not_held_up(
    server: ApiServer,
    cluster: Cluster,
    start_operator: StartOperator,
    aggregator: Aggregator,
    pods: Kubelet,
) -> None:
    said_so = "unable to create new content in namespace plant because it is being terminated"
    making = Fault(
        lambda asked: (asked.verb, asked.resource) == ("patch", "jobs"), 403, 100, said_so
    )
    server.faults.append(making)
    start_operator(*aggregator.flags)
    cluster.create("federatedtasks", task())
    phase(cluster, "Running")
    delete(cluster)
    gone(cluster)
    assert making.times == 99, "it was asked for once"
    (why,) = wait("the event", lambda: said(cluster))
    assert "it is being terminated" in why


@pytest.mark.parametrize(
    "changes",
    [
        {"storage": {"retain": True}},
        {"algorithm": {"name": "fedktl"}, "generator": {"name": "never"}},
    ],
    ids=["retained", "never begun"],
)
def test_a_task_that_leaves_nothing_or_keeps_it_needs_no_job(
    cluster: Cluster,
    start_operator: StartOperator,
    aggregator: Aggregator,
    pods: Kubelet,
    changes: Object,
) -> None:
    start_operator(*aggregator.flags)
    cluster.create("federatedtasks", task(**changes))
    wait("it is looked after", lambda: cluster.status("shop-floor").get("phase"))
    delete(cluster)
    gone(cluster)
    assert not cluster.listed("jobs")
    assert not said(cluster)
