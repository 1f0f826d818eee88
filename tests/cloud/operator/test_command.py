"""What `edgeloop operator` says to whom starts it wrongly: one sentence, exit code 2."""

import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cloud.operator import cluster, lease
from cloud.operator.command import main
from edgeloop.errors import ConfigError, UnavailableError
from tests.cloud.operator.api_server import ApiServer
from tests.cloud.operator.cluster import KINDS, NAMESPACE, OPERATOR, crd, rules, wait
from tests.cloud.operator.conftest import kubeconfig

FLAGS = ["--namespace", NAMESPACE, "--aggregator-image", "i", "--broker-host", "b", "--port", "0"]


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """The command sets up logging for its process; here it is not alone."""
    root = logging.getLogger()
    level, handlers = root.level, list(root.handlers)
    yield
    root.setLevel(level)
    root.handlers = handlers


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--broker-port", "0"], "--broker-port: 0 is too small; give 1 or more"),
        (["--interval", "0"], "--interval: 0.0 is too small; give more than 0"),
        (["--triton", "triton"], "triton: is no HOST:PORT"),
        (["--aggregator-url", "http://{pod}"], "may hold {name} and {namespace}"),
        (
            ["--pull-policy", "Often"],
            "'Often' is not allowed here; give Always, IfNotPresent or Never",
        ),
        (["--log-level", "loud"], "--log-level: there is no 'loud'; choose one of debug, info"),
    ],
)
def test_a_wrong_flag(flags: list[str], said: str) -> None:
    with pytest.raises(ConfigError) as error:
        main([*FLAGS, *flags])
    assert said in str(error.value)


def test_no_cluster(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    config = tmp_path / "kubeconfig"
    config.write_text(kubeconfig("http://127.0.0.1:1"))
    monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(config))
    with pytest.raises(UnavailableError, match="cluster: is away"):
        main(FLAGS)
    config.write_text("")
    with pytest.raises(ConfigError, match="neither a service account nor a kubeconfig"):
        main(FLAGS)


def test_no_crds(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    config = tmp_path / "kubeconfig"
    monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(config))
    with ApiServer(roles={"operator": {NAMESPACE: list(rules())}}) as server:
        config.write_text(kubeconfig(server.url))
        with pytest.raises(ConfigError, match="no FederatedTasks, Generators or Devices"):
            main(FLAGS)


def test_no_crds_where_there_were_some(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What an earlier operator found at the same address is not believed."""
    config = tmp_path / "kubeconfig"
    monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(config))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with ApiServer(roles={"operator": {NAMESPACE: list(rules())}}) as server:
        for plural in KINDS:
            server.store.define(crd(plural))
        config.write_text(kubeconfig(server.url))
        cluster.configure()
        cluster.Cluster()
        for plural in KINDS:
            del server.store.kinds[plural]
        with pytest.raises(ConfigError, match="no FederatedTasks, Generators or Devices"):
            main(FLAGS)
    assert [each.name for each in tmp_path.iterdir()] == ["kubeconfig"]


def test_a_wait_for_the_lease_says_why(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = tmp_path / "kubeconfig"
    monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(config))
    monkeypatch.setattr(lease, "SAY_SECONDS", 0.05)
    with ApiServer(roles={OPERATOR: {NAMESPACE: list(rules())}}) as server:
        config.write_text(kubeconfig(server.url))
        cluster.configure()
        with ThreadPoolExecutor(1) as pool:
            led = pool.submit(lease.lead, "me", "leader", NAMESPACE, lambda _: None)
            said = "waiting for the lease leader in plant: the cluster answers 403: "
            wait("it says why it waits", lambda: said in caplog.text, 20)
            server.roles[OPERATOR][NAMESPACE] = rules("operator-lease-rules")
            assert led.result(20)
