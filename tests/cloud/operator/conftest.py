"""An API server, an operator as a process, and aggregators that a test tells what to say."""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest
import yaml

from cloud.aggregator.http import Server, Status, app
from cloud.aggregator.metrics import Metrics
from edgeloop.runtime.ports import free_port
from tests import forked
from tests.cloud.operator.api_server import ADMIN, ApiServer
from tests.cloud.operator.cluster import KINDS, NAMESPACE, OPERATOR, Cluster, Object, crd, rules
from tests.cloud.operator.job_runner import JobRunner
from tests.cloud.operator.kube_apiserver import ASSETS, kube_apiserver
from tests.cloud.operator.kubelet import Kubelet

EDGELOOP = str(Path(sys.executable).with_name("edgeloop"))


@pytest.fixture
def server() -> Iterator[ApiServer]:
    """The small API server, with our CRDs and the operator's role; nothing may be denied."""
    made = ApiServer()
    for plural in KINDS:
        made.store.define(crd(plural))
    made.roles[OPERATOR] = {
        NAMESPACE: [*rules(), *rules("operator-lease-rules")],
        "": rules("operator-cluster-rules"),
    }
    with made:
        yield made
    assert not made.denied


@pytest.fixture(params=["small", *(["real"] if ASSETS else [])])
def cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """A cluster: the small API server, and a real one where KUBEBUILDER_ASSETS names it."""
    if request.param == "real":
        with kube_apiserver(request.getfixturevalue("tmp_path")) as found:
            yield found
        return
    made: ApiServer = request.getfixturevalue("server")
    headers = {"Authorization": f"Bearer {ADMIN}"}
    with httpx.Client(base_url=made.url, headers=headers, trust_env=False) as client:
        yield Cluster(made.url, client, collects=True)


@dataclass
class Operator:
    """An operator as a process.

    Attributes:
        process: of it.
        log: what it says.
    """

    process: forked.Forked
    log: Path

    def kill(self) -> None:
        """End it as a power cut would."""
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        """End it politely; return its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(120)


StartOperator = Callable[..., Operator]


@pytest.fixture
def start_operator(cluster: Cluster, tmp_path: Path) -> Iterator[StartOperator]:
    """Start operators as processes, with further flags if wanted."""
    config = tmp_path / "kubeconfig"
    config.write_text(kubeconfig(cluster.url))
    with ExitStack() as stack:

        def start(*flags: str, identity: str = "first") -> Operator:
            log = tmp_path / f"operator-{len(list(tmp_path.glob('operator-*')))}.log"
            output = stack.enter_context(log.open("wb"))
            command = [EDGELOOP, "operator", *_FLAGS, "--identity", identity, *flags]
            environment = {**os.environ, "KUBECONFIG": str(config), "NO_PROXY": "127.0.0.1"}
            process = forked.start(command, env=environment, stderr=output)
            stack.callback(process.wait)
            stack.callback(process.kill)
            return Operator(process, log)

        yield start


_FLAGS = [
    *("--namespace", NAMESPACE),
    *("--aggregator-image", "edgeloop-aggregator:test"),
    *("--broker-host", "broker"),
    *("--interval", "0.2", "--port", "0"),
]


def kubeconfig(url: str) -> str:
    """Return what an operator is told of its cluster."""
    return yaml.safe_dump(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "c",
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
            "clusters": [
                {"name": "c", "cluster": {"server": url, **_insecure(url)}},
            ],
            "users": [{"name": "u", "user": {"token": OPERATOR}}],
        }
    )


def _insecure(url: str) -> Object:
    return {"insecure-skip-tls-verify": True} if url.startswith("https") else {}


@dataclass
class Aggregator:
    """A stand-in whose HTTP interface is the real one: it says what a test wants it to say.

    Attributes:
        port: that it answers at while a pod runs.
        status: what it says, in whichever pod.
        started: for which StatefulSets, in order.
        pods: that run.
    """

    port: int
    status: Status
    started: list[Object] = field(default_factory=list)
    pods: int = 0

    def start(self, of: Object) -> "Aggregator":
        """Answer, as the pod of a StatefulSet."""
        self.started.append(of)
        self.pods += 1
        if self.pods == 1:
            self._server = Server(app(lambda: self.status, Metrics()), "127.0.0.1", self.port)
            self._server.start()
        return self

    def stop(self) -> None:
        """Answer no more, if this was the last pod."""
        self.pods -= 1
        if not self.pods:
            self._server.stop()

    def says(self, **changes: object) -> None:
        """Say something else from now on."""
        self.status = self.status.model_copy(update=changes)

    @property
    def flags(self) -> tuple[str, str]:
        """What an operator must be told to find it."""
        return "--aggregator-url", f"http://127.0.0.1:{self.port}"


@pytest.fixture
def aggregator() -> Aggregator:
    """An aggregator in its first round."""
    return Aggregator(
        free_port(),
        Status(
            task="shop-floor",
            run="r1",
            algorithm="fedproto",
            phase="running",
            round=0,
            rounds=3,
            accuracy=None,
            history=(),
            broker_connected=True,
            generator_problem=None,
            ledger_open=True,
        ),
    )


@pytest.fixture
def kubelet(cluster: Cluster, aggregator: Aggregator) -> Iterator[Kubelet]:
    """Whatever the operator asks for runs: as the stand-in; its jobs do nothing, well."""
    with Kubelet(cluster, aggregator.start) as running, JobRunner(cluster, "true"):
        yield running
