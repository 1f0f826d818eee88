"""An upgrade from a chart that had fewer values keeps what was set, and knows what is new."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helm import chart, secrets_server
from tests.helm.chart import CHART, NAMESPACE, RELEASE, named
from tests.helm.test_operator import environment

NEW = (("trace",), ("operator", "forgetSeconds"), ("networkPolicy", "collectorNamespaces"))
"""Values that the older chart did not have."""


@pytest.fixture
def kubeconfig(tmp_path: Path) -> Iterator[Path]:
    """What helm finds a server by; the release of an older chart is in helm's memory."""
    with secrets_server.running() as server:
        yield server.configuration(tmp_path)


@pytest.fixture(autouse=True)
def _older(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = ("-n", NAMESPACE, "--set", "logFormat=json", "--dry-run=client", "-o", "json")
    release = json.loads(chart.helm("install", RELEASE, CHART, *options))
    release["info"]["status"] = "deployed"
    for *above, last in NEW:
        values = release["chart"]["values"]
        for name in above:
            values = values[name]
        del values[last]
    path = tmp_path / "releases.yaml"
    path.write_text(json.dumps([{**release, "config": {"logFormat": "json"}}]))
    monkeypatch.setenv("HELM_DRIVER", "memory")
    monkeypatch.setenv("HELM_MEMORY_DRIVER_DATA", str(path))


def upgraded(kubeconfig: Path, option: str) -> subprocess.CompletedProcess[str]:
    where = ("--kubeconfig", kubeconfig, "--dry-run=client", "--disable-openapi-validation")
    return chart.run("helm", "upgrade", RELEASE, CHART, "-n", NAMESPACE, option, *where)


def test_what_was_set_stays_and_what_is_new_is_there(kubeconfig: Path) -> None:
    page = (chart.ROOT / "docs" / "kubernetes.md").read_text()
    line = "helm upgrade edgeloop helm/edgeloop --namespace edgeloop --reset-then-reuse-values\n"
    assert line in page
    done = upgraded(kubeconfig, "--reset-then-reuse-values")
    assert done.returncode == 0, done.stderr
    manifests = chart.parsed(done.stdout.partition("MANIFEST:\n")[2].partition("\nNOTES:")[0])
    told = environment(manifests)
    assert told["EDGELOOP_OPERATOR_LOG_FORMAT"] == "json"
    assert told["EDGELOOP_OPERATOR_FORGET"] == "300"
    assert named(manifests, "NetworkPolicy", "-aggregators")


def test_values_alone_are_not_enough(kubeconfig: Path) -> None:
    done = upgraded(kubeconfig, "--reuse-values")
    assert done.returncode == 1
    assert ".Values.trace.endpoint" in done.stderr
