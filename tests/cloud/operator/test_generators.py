"""Generators from their creation to their end, with a real tritonserver and real jobs."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cloud.operator.jobs import REPOSITORY
from cloud.operator.triton import Triton
from edgeloop.generators import control, manifest
from tests import triton as servers
from tests.cloud.operator.cluster import Cluster, Object, condition, task, wait
from tests.cloud.operator.conftest import EDGELOOP, StartOperator
from tests.cloud.operator.job_runner import JobRunner
from tests.generators.tiny import write_tiny
from tests.triton import Server

NAME = "faces"


@pytest.fixture(scope="module")
def tritonserver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A running tritonserver with an empty repository."""
    with (
        servers.running(tmp_path_factory.mktemp("triton"), servers.home()) as server,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setenv(control.VARIABLE, str(server.secret))
        yield server


@pytest.fixture
def jobs(cluster: Cluster, tritonserver: Server) -> Iterator[JobRunner]:
    """Whatever jobs the operator asks for run, on the server's repository."""
    with JobRunner(cluster, EDGELOOP, {REPOSITORY: tritonserver.repository}) as running:
        yield running


def _generator(source: Path, **changes: Any) -> Object:
    spec = {"source": str(source), "serving": {"backend": "python"}, **changes}
    return {
        "apiVersion": "edgeloop.io/v1alpha1",
        "kind": "Generator",
        "metadata": {"name": NAME},
        "spec": spec,
    }


def _phase(cluster: Cluster, wanted: str) -> Object:
    def there() -> Object | None:
        status = cluster.status(NAME, "generators")
        return status if status.get("phase") == wanted else None

    found: Object = wait(f"it is {wanted}", there, 90)
    return found


def _change(cluster: Cluster, **spec: Any) -> None:
    cluster.patch("generators", NAME, {"spec": spec})


def _flags(server: Server) -> list[str]:
    place = f"127.0.0.1:{server.ports.grpc}"
    return ["--triton", place, "--repository-claim", "models", "--generator-image", "g:test"]


@pytest.mark.triton
def test_a_generator_from_its_creation_to_its_end(
    cluster: Cluster,
    start_operator: StartOperator,
    tritonserver: Server,
    jobs: JobRunner,
    tmp_path: Path,
) -> None:
    first, second = (write_tiny(tmp_path / f"seed-{seed}", seed) for seed in (1, 2))
    known = [manifest.read(folder).identity for folder in (first, second)]
    server = Triton(f"127.0.0.1:{tritonserver.ports.grpc}", 5.0)
    operator = start_operator(*_flags(tritonserver))
    cluster.create("generators", _generator(first))
    status = _phase(cluster, "Ready")
    assert (status["version"], status["identity"]) == (1, known[0])

    _change(cluster, canary={"source": str(second), "version": 2})
    canary = wait(
        "the canary", lambda: cluster.status(NAME, "generators").get("canaryIdentity"), 90
    )
    assert canary == known[1]
    assert server.served(NAME) == {1: known[0], 2: known[1]}
    cluster.create(
        "federatedtasks",
        task(algorithm={"name": "fedktl"}, generator={"name": NAME, "channel": "Canary"}),
    )
    config = wait("its file", lambda: cluster.get("configmaps", "shop-floor-aggregator"))
    assert f":{tritonserver.ports.grpc}/{NAME}?version=2" in config["data"]["task.toml"]

    ran = len(jobs.ran)
    _change(cluster, state="Unloaded")
    _phase(cluster, "Unloaded")
    assert server.served(NAME) == {}
    _change(cluster, state="Loaded")
    _phase(cluster, "Ready")
    assert (sorted(server.served(NAME)), len(jobs.ran)) == ([1, 2], ran)

    cluster.delete("generators", NAME)
    wait("it waits", lambda: "the tasks that use it: shop-floor" in operator.log.read_text())
    assert cluster.get("generators", NAME)
    cluster.delete("federatedtasks", "shop-floor")
    wait("it is gone", lambda: cluster.get("generators", NAME) is None, 90)
    assert server.served(NAME) == {}
    assert not list(tritonserver.repository.glob(f"{NAME}-*"))


@pytest.mark.triton
def test_a_generator_that_is_none_says_so(
    cluster: Cluster,
    start_operator: StartOperator,
    tritonserver: Server,
    jobs: JobRunner,
    tmp_path: Path,
) -> None:
    start_operator(*_flags(tritonserver))
    cluster.create("generators", _generator(tmp_path / "nothing"))
    status = _phase(cluster, "Failed")
    assert "exit code 2: error: generator: there is no generator" in status["lastError"]
    assert condition(status, "Ready")["status"] == "False"
    cluster.create("federatedtasks", task(algorithm={"name": "fedktl"}, generator={"name": NAME}))
    wait(
        "the task waits",
        lambda: (
            cluster.status("shop-floor").get("lastError")
            == f"generator {NAME}: its stable version is not served yet"
        ),
    )
    assert cluster.get("statefulsets", "shop-floor-aggregator") is None


def test_without_a_server_a_generator_says_so(
    cluster: Cluster, start_operator: StartOperator, tmp_path: Path
) -> None:
    start_operator()
    cluster.create("generators", _generator(tmp_path))
    assert "knows no Triton server" in _phase(cluster, "Failed")["lastError"]
    cluster.delete("generators", NAME)
    wait("it is gone", lambda: cluster.get("generators", NAME) is None)
