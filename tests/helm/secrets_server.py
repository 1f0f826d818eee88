"""As much of a Kubernetes API server as helm asks when it renders: its kinds, and secrets."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import yaml

KINDS = {  # that the chart makes with nothing set
    "v1": (
        *("configmaps ConfigMap", "secrets Secret", "services Service", "pods Pod"),
        *("serviceaccounts ServiceAccount", "persistentvolumeclaims PersistentVolumeClaim"),
    ),
    "apps/v1": ("deployments Deployment", "statefulsets StatefulSet"),
    "networking.k8s.io/v1": ("networkpolicies NetworkPolicy",),
    "policy/v1": ("poddisruptionbudgets PodDisruptionBudget",),
    "rbac.authorization.k8s.io/v1": ("roles Role", "rolebindings RoleBinding"),
}


def _resources(version: str) -> dict[str, Any]:
    pairs = (each.split() for each in KINDS[version])
    resources = [
        {"name": name, "kind": kind, "namespaced": True, "verbs": ["get", "list"]}
        for name, kind in pairs
    ]
    about = {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": version}
    return {**about, "resources": resources}


def _group(version: str) -> dict[str, Any]:
    name, _, short = version.partition("/")
    found = {"groupVersion": version, "version": short}
    return {"name": name, "versions": [found], "preferredVersion": found}


_GROUPS = [_group(each) for each in KINDS if each != "v1"]
KNOWN: dict[str, dict[str, Any]] = {
    "/version": {"major": "1", "minor": "37", "gitVersion": "v1.37.0"},
    "/api": {"kind": "APIVersions", "versions": ["v1"]},
    "/apis": {"kind": "APIGroupList", "apiVersion": "v1", "groups": _GROUPS},
    "/api/v1": _resources("v1"),
    **{f"/apis/{each}": _resources(each) for each in KINDS if each != "v1"},
}


class Handler(BaseHTTPRequestHandler):
    """Answers from the server's secrets."""

    server: "Secrets"

    def do_GET(self) -> None:
        """Answer what is known, else 404."""
        path = self.path.partition("?")[0]
        found = KNOWN.get(path) or self.server.held.get(path.rpartition("/secrets/")[2])
        missing = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound"}
        body = json.dumps(found or {**missing, "code": 404}).encode()
        self.send_response(200 if found else 404)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class Secrets(ThreadingHTTPServer):
    """A server that holds secrets, by their names."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.held: dict[str, dict[str, Any]] = {}

    def configuration(self, folder: Path) -> Path:
        """Write what helm finds this server by; return the file."""
        address = f"http://127.0.0.1:{self.server_address[1]}"
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "c", "cluster": {"server": address}}],
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
            "users": [{"name": "u", "user": {"token": "any"}}],
            "current-context": "c",
        }
        path = folder / "kubeconfig"
        path.write_text(yaml.safe_dump(config))
        return path


@contextmanager
def running() -> Iterator[Secrets]:
    """Serve until the block ends."""
    with Secrets() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
