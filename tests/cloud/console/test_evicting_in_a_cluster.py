"""Who evicts a device in a cluster has its operator do it, by the task's spec."""

from pathlib import Path

import pytest

from cloud.console.cluster_source import Cluster as Source
from cloud.console.sources import ImpossibleError
from tests.cloud.operator.api_server import ADMIN, ApiServer
from tests.cloud.operator.cluster import KINDS, NAMESPACE, crd, task
from tests.cloud.operator.conftest import kubeconfig


def test_it_is_named_in_the_spec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tmp_path / "kubeconfig"
    monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(config))
    with ApiServer() as server:
        for plural in KINDS:
            server.store.define(crd(plural))
        server.store.create("federatedtasks", NAMESPACE, task())
        config.write_text(kubeconfig(server.url).replace("operator", ADMIN))
        source = Source([NAMESPACE], "http://127.0.0.1:1/{namespace}/{name}")
        done = source.evict(f"{NAMESPACE}.shop-floor", "press-2")
        assert (done.done, done.state) == (False, "Running")
        source.evict(f"{NAMESPACE}.shop-floor", "press-1")
        held = server.store.get(("federatedtasks", NAMESPACE, "shop-floor"))
        assert held["spec"]["cohort"]["evicted"] == ["press-1", "press-2"]
        assert held["spec"]["cohort"]["devices"] == ["press-1", "press-2"]
        with pytest.raises(ImpossibleError, match="press-9 is no device of it"):
            source.evict(f"{NAMESPACE}.shop-floor", "press-9")
