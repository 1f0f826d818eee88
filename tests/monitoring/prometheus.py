"""A real Prometheus and its promtool."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from edgeloop.runtime.ports import free_port
from tests.devices import wait_until

CHART = Path(__file__).parents[2] / "helm" / "edgeloop"
ALERTS = CHART / "alerts" / "edgeloop.yaml"


def program(name: str) -> str:
    """Return the path of `prometheus` or `promtool`; without it skip, or fail in CI."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = Path(os.environ.get("EDGELOOP_PROMETHEUS") or cache / "edgeloop" / "prometheus")
    found = shutil.which(name) or shutil.which(name, path=str(folder / "bin"))
    if found is not None:
        return found
    problem = f"{name} is not installed; tools/prometheus.sh installs it"
    if os.environ.get("CI"):
        pytest.fail(problem)
    pytest.skip(problem)


def promtool(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run promtool."""
    command = [program("promtool"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def groups() -> list[dict[str, Any]]:
    """Return the chart's groups of alert rules."""
    found: list[dict[str, Any]] = yaml.safe_load(ALERTS.read_text())["groups"]
    return found


def rules() -> dict[str, dict[str, Any]]:
    """Return the chart's alert rules by name."""
    return {rule["alert"]: rule for group in groups() for rule in group["rules"]}


@dataclass(frozen=True)
class Prometheus:
    """A server on the loopback interface."""

    url: str

    def ready(self) -> bool:
        """Return whether it answers queries: it listens some time before."""
        try:
            return httpx.get(f"{self.url}/-/ready", trust_env=False).is_success
        except httpx.TransportError:
            return False

    def query(self, expression: str) -> list[dict[str, Any]]:
        """Return an instant vector."""
        answer = self._get("/api/v1/query", {"query": expression})
        assert answer["status"] == "success", (expression, answer)
        found: list[dict[str, Any]] = answer["data"]["result"]
        return found

    def alerts(self) -> dict[str, dict[str, Any]]:
        """Return the alerts that are pending or fire, by name."""
        found = self._get("/api/v1/alerts", {})["data"]["alerts"]
        return {each["labels"]["alertname"]: each for each in found}

    def _get(self, path: str, parameters: dict[str, str]) -> dict[str, Any]:
        answer = httpx.get(f"{self.url}{path}", params=parameters, trust_env=False)
        found: dict[str, Any] = answer.json()
        return found


@contextmanager
def running(folder: Path, targets: dict[str, int], rules_file: Path) -> Iterator[Prometheus]:
    """Run a server that scrapes each job's port once a second, until the block ends."""
    port = free_port()
    config = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(rules_file)],
        "scrape_configs": [
            {"job_name": job, "static_configs": [{"targets": [f"127.0.0.1:{each}"]}]}
            for job, each in targets.items()
        ],
    }
    path = folder / "prometheus.yml"
    path.write_text(yaml.safe_dump(config))
    flags = [
        f"--config.file={path}",
        f"--storage.tsdb.path={folder / 'tsdb'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--query.lookback-delta=30s",
    ]
    with (folder / "prometheus.log").open("wb") as log:
        process = subprocess.Popen([program("prometheus"), *flags], stderr=log)
    try:
        server = Prometheus(f"http://127.0.0.1:{port}")
        wait_until(lambda: server.ready() or process.poll() is not None)
        assert process.poll() is None, (folder / "prometheus.log").read_text()
        yield server
    finally:
        process.terminate()
        process.wait()
