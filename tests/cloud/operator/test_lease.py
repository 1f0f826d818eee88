"""The lease of the operator that leads: given back at once, whatever renews it just then."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from kubernetes.client import Configuration
from kubernetes.config import load_kube_config
from kubernetes.leaderelection.leaderelectionrecord import LeaderElectionRecord
from kubernetes.leaderelection.resourcelock.leaselock import LeaseLock

from cloud.operator.lease import _Lock
from tests.cloud.operator.cluster import NAMESPACE, Cluster
from tests.cloud.operator.conftest import kubeconfig

NAME = "edgeloop-operator"


@pytest.fixture
def lock(cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[_Lock]:
    """A lease that the first operator holds."""
    path = tmp_path / "kubeconfig"
    path.write_text(kubeconfig(cluster.url))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    load_kube_config(str(path))
    made = _Lock(NAME, NAMESPACE, "first")
    assert made.create(NAME, NAMESPACE, record())
    assert made.get(NAME, NAMESPACE)[0]
    yield made
    Configuration.set_default(None)


def record() -> LeaderElectionRecord:
    now = str(datetime.now(UTC).replace(tzinfo=None))
    return LeaderElectionRecord("first", "15", now, now)


def holder(cluster: Cluster) -> object:
    found = cluster.get("leases", NAME)
    return found and found["spec"].get("holderIdentity")


class Slow(LeaseLock):
    """A lease whose renewal is under way until it is let continue."""

    def __init__(self, *words: str) -> None:
        super().__init__(*words)  # type: ignore[no-untyped-call]  # kubernetes has no types
        self.begun, self.may_end = threading.Event(), threading.Event()

    def update(self, *words: Any) -> Any:
        self.begun.set()
        self.may_end.wait(20)
        return super().update(*words)  # type: ignore[no-untyped-call]


def test_it_is_given_back_after_a_renewal_that_is_under_way(lock: _Lock, cluster: Cluster) -> None:
    slow: Any = Slow(NAME, NAMESPACE, "first")
    assert slow.get(NAME, NAMESPACE)[0]
    lock._lease = slow
    with ThreadPoolExecutor(2) as pool:
        renewed = pool.submit(lock.update, NAME, NAMESPACE, record())
        assert slow.begun.wait(20)
        released = pool.submit(lock.release)
        threading.Event().wait(0.3)  # time enough to be given back too early
        slow.may_end.set()
        released.result(20)
        assert renewed.result(20)
    assert holder(cluster) is None
    assert not lock.update(NAME, NAMESPACE, record())
    assert holder(cluster) is None
