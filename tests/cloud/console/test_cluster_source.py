"""A cluster's tasks as a server sees them, and what it does about them by their specs."""

import copy
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from cloud.console.cluster_source import Cluster as Source
from cloud.console.following import Follower
from cloud.console.settings import ServerSettings
from cloud.console.sources import ImpossibleError
from cloud.console.store import Store
from edgeloop.errors import ConfigError, UnavailableError
from edgeloop.runtime.config import parse
from tests.cloud.operator.api_server import ADMIN, ApiServer
from tests.cloud.operator.cluster import KINDS, NAMESPACE, OPERATOR, crd, rules, task
from tests.cloud.operator.conftest import kubeconfig

NOWHERE = "http://127.0.0.1:1"


@contextmanager
def served(config: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ApiServer]:
    """Run an API server with a task."""
    monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(config))
    with ApiServer() as server:
        for plural in KINDS:
            server.store.define(crd(plural))
        server.store.create("federatedtasks", NAMESPACE, task())
        config.write_text(kubeconfig(server.url).replace(OPERATOR, ADMIN))
        yield server


def test_who_evicts_names_a_device_in_the_spec(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with served(tmp_path / "kubeconfig", monkeypatch) as server:
        source = Source([NAMESPACE], NOWHERE)
        done = source.evict(f"{NAMESPACE}.shop-floor", "press-2")
        assert (done.done, done.state) == (False, "Running")
        source.evict(f"{NAMESPACE}.shop-floor", "press-1")
        held = server.store.get(("federatedtasks", NAMESPACE, "shop-floor"))
        assert held["spec"]["cohort"]["evicted"] == ["press-1", "press-2"]
        assert held["spec"]["cohort"]["devices"] == ["press-1", "press-2"]
        with pytest.raises(ImpossibleError, match="press-9 is no device of it"):
            source.evict(f"{NAMESPACE}.shop-floor", "press-9")


def test_a_namespace_that_may_not_be_read_hides_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    config = tmp_path / "kubeconfig"
    with served(config, monkeypatch) as server:
        config.write_text(kubeconfig(server.url))
        server.roles[OPERATOR] = {NAMESPACE: rules()}
        source = Source([NAMESPACE, "secret"], NOWHERE)
        (seen,) = source.look()
        assert (seen.name, seen.state) == (f"{NAMESPACE}.shop-floor", "Away")
        assert (seen.waits, seen.class_names) == ("its aggregator does not answer", ("ok", "dent"))
        assert "cannot see the tasks of namespace secret" in caplog.text
        assert (source.has_gone("secret.x"), source.has_gone(f"{NAMESPACE}.x")) == (False, True)
        with pytest.raises(UnavailableError, match="403"):
            Source(["secret"], NOWHERE).look()


def test_one_that_is_gone_is_said_to_be_and_what_is_refused_names_the_task(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"{NAMESPACE}.shop-floor"
    with (
        served(tmp_path / "kubeconfig", monkeypatch) as server,
        closing(Store(f"sqlite:///{tmp_path / 'server.sqlite'}")) as store,
    ):
        source = Source([NAMESPACE], NOWHERE)
        Follower(store, [source]).look()
        server.store.delete(("federatedtasks", NAMESPACE, "shop-floor"))
        Follower(store, [source]).look()  # of a server that was started since
        found = store.task(name)
        assert (found.state, found.waits) == ("Away", "it is there no more")
        with pytest.raises(ImpossibleError) as refused:
            source.act(name, "pause")
        assert refused.value.field == name


@pytest.mark.parametrize(
    ("odd", "place"),
    [
        ({"data": "x"}, "spec.data"),
        ({"data": {"classNames": None, "shape": [1]}}, "spec.data.classNames"),
        ({"algorithm": "fedproto"}, "spec.algorithm"),
        ({"rounds": "many"}, "spec.rounds"),
        ({"state": ["Running"]}, "spec.state"),
    ],
    ids=lambda each: each if isinstance(each, str) else "",
)
def test_a_task_that_cannot_be_read_is_told_and_hides_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, odd: dict[str, Any], place: str
) -> None:
    with (
        served(tmp_path / "kubeconfig", monkeypatch) as server,
        closing(Store(f"sqlite:///{tmp_path / 'server.sqlite'}")) as store,
    ):
        newer = copy.deepcopy(crd("federatedtasks"))
        for version in newer["spec"]["versions"]:
            schema = version["schema"]["openAPIV3Schema"]
            schema.pop("x-kubernetes-validations", None)
            anything = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
            schema["properties"]["spec"] = anything
        server.store.define(newer)
        server.store.create("federatedtasks", NAMESPACE, task("odd", **odd))
        follower = Follower(store, [Source([NAMESPACE], NOWHERE)])
        for _ in range(2):
            follower.look()
        found = {each.name: each for each in store.tasks().items}
        assert found[f"{NAMESPACE}.shop-floor"].waits == "its aggregator does not answer"
        told = found[f"{NAMESPACE}.odd"]
        assert (told.state, told.rounds) == ("Away", 0)
        assert told.waits.startswith(f"it cannot be read: {place}")
        assert told.waits.endswith("; apply the CRDs of this server's version")


@pytest.mark.parametrize(
    "url", ["http://{task}.svc:9464", "http://{}.svc", "http://{name", "http://{name.x}"]
)
def test_an_address_with_other_braces_is_refused(url: str) -> None:
    table = {"folder": "x", "tokens_file": "x", "namespaces": ["plant"], "aggregator_url": url}
    with pytest.raises(ConfigError, match="and no other braces"):
        parse(table, ServerSettings, "server.toml")
