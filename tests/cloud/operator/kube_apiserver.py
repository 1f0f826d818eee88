"""A real kube-apiserver and its etcd, where KUBEBUILDER_ASSETS names a folder with both."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import httpx

from edgeloop.runtime.ports import free_port
from tests.cloud.operator.api_server import ADMIN
from tests.cloud.operator.cluster import KINDS, NAMESPACE, OPERATOR, Cluster, crd, rules, wait
from tests.world import wait_for_port

ASSETS = os.environ.get("KUBEBUILDER_ASSETS")

_RBAC = "/apis/rbac.authorization.k8s.io/v1/namespaces/" + NAMESPACE
_RBAC_OF_ALL = "/apis/rbac.authorization.k8s.io/v1"
_CLUSTER_ROLE = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "o"}
_CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


@contextmanager
def kube_apiserver(folder: Path) -> Iterator[Cluster]:
    """Run one with our CRDs, one namespace, and the operator's role, until the block ends."""
    with ExitStack() as stack:
        etcd, port = free_port(), free_port()
        _run(stack, folder, "etcd", *_etcd(folder, etcd))
        wait_for_port(etcd)
        _run(stack, folder, "kube-apiserver", *_flags(folder, etcd, port))
        client = stack.enter_context(
            httpx.Client(
                base_url=f"https://127.0.0.1:{port}",
                headers={"Authorization": f"Bearer {ADMIN}"},
                verify=False,  # noqa: S501 - it has just made its own certificate
                trust_env=False,
            )
        )
        wait("kube-apiserver is ready", lambda: _ready(client), 120)
        _prepare(client)
        yield Cluster(str(client.base_url), client, collects=False)


def _run(stack: ExitStack, folder: Path, program: str, *flags: str) -> None:
    log = stack.enter_context((folder / f"{program}.log").open("wb"))
    command = [str(Path(ASSETS or "") / program), *flags]
    process = subprocess.Popen(command, stdout=log, stderr=log)
    stack.callback(process.wait)
    stack.callback(process.kill)


def _etcd(folder: Path, port: int) -> list[str]:
    url = f"http://127.0.0.1:{port}"
    peer = f"http://127.0.0.1:{free_port()}"
    return [
        f"--data-dir={folder / 'etcd'}",
        f"--listen-client-urls={url}",
        f"--advertise-client-urls={url}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster=default={peer}",
        "--unsafe-no-fsync",
    ]


def _flags(folder: Path, etcd: int, port: int) -> list[str]:
    tokens, key = folder / "tokens.csv", folder / "service-accounts.key"
    tokens.write_text(f'{ADMIN},admin,1,"system:masters"\n{OPERATOR},operator,2\n')
    subprocess.run(["openssl", "genrsa", "-out", key, "2048"], check=True, capture_output=True)  # noqa: S607
    return [
        f"--etcd-servers=http://127.0.0.1:{etcd}",
        f"--secure-port={port}",
        "--bind-address=127.0.0.1",
        f"--cert-dir={folder / 'certificates'}",
        f"--token-auth-file={tokens}",
        "--authorization-mode=RBAC",
        "--service-account-issuer=https://127.0.0.1",
        f"--service-account-key-file={key}",
        f"--service-account-signing-key-file={key}",
        "--service-cluster-ip-range=10.0.0.0/24",
        "--disable-admission-plugins=ServiceAccount",
    ]


def _ready(client: httpx.Client) -> bool:
    try:
        return client.get("/readyz").status_code == 200
    except httpx.TransportError:
        return False


def _served(client: httpx.Client, place: str) -> bool:
    return client.get(place).status_code == 200


def _prepare(client: httpx.Client) -> None:
    client.post("/api/v1/namespaces", json={"metadata": {"name": NAMESPACE}}).raise_for_status()
    for plural in KINDS:
        client.post(_CRDS, json=crd(plural)).raise_for_status()
        place = f"/apis/edgeloop.io/v1alpha1/namespaces/{NAMESPACE}/{plural}"
        wait(f"{plural} are served", partial(_served, client, place))
    role = {"metadata": {"name": "o"}, "rules": [*rules(), *rules("operator-lease-rules")]}
    client.post(f"{_RBAC}/roles", json=role).raise_for_status()
    group = "rbac.authorization.k8s.io"
    binding = {
        "metadata": {"name": "o"},
        "roleRef": {"apiGroup": group, "kind": "Role", "name": "o"},
        "subjects": [{"kind": "User", "name": "operator", "apiGroup": group}],
    }
    client.post(f"{_RBAC}/rolebindings", json=binding).raise_for_status()
    role["rules"] = rules("operator-cluster-rules")
    binding = {**binding, "roleRef": _CLUSTER_ROLE}
    client.post(f"{_RBAC_OF_ALL}/clusterroles", json=role).raise_for_status()
    client.post(f"{_RBAC_OF_ALL}/clusterrolebindings", json=binding).raise_for_status()
