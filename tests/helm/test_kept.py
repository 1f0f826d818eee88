"""An upgrade keeps the certificates and the password that the first installation made."""

import base64
from pathlib import Path
from typing import Any

from tests.helm import chart, secrets_server
from tests.helm.chart import CHART, NAMESPACE, RELEASE
from tests.helm.secrets_server import Secrets

TEMPLATES = (
    "_helpers.tpl",
    "certificates-generated.yaml",
    "database/secret.yaml",
    "triton/secret.yaml",
)
OWNED = {
    f"meta.helm.sh/{key}": value
    for key, value in (("release-name", RELEASE), ("release-namespace", NAMESPACE))
}
BUNDLED = CHART / "ci" / "bundled-values.yaml"


def only_secrets(folder: Path) -> Path:
    """Return a chart of the templates that make secrets: the server knows nothing else."""
    copy = folder / "edgeloop"
    if not copy.exists():
        templates = chart.copied(folder) / "templates"
        for path in templates.rglob("*.*"):
            if path.is_file() and path.relative_to(templates).as_posix() not in TEMPLATES:
                path.unlink()
    return copy


def upgraded(server: Secrets, folder: Path, *arguments: str) -> dict[str, dict[str, Any]]:
    """Render against a cluster, and have the cluster hold what was rendered."""
    where = ("--kubeconfig", str(server.configuration(folder)), "--dry-run=server")
    options = ("-n", NAMESPACE, "-f", str(BUNDLED), "--disable-openapi-validation", *arguments)
    text = chart.helm("template", RELEASE, only_secrets(folder), *where, *options)
    manifests = chart.parsed(text)
    secrets = {each["metadata"]["name"]: each for each in chart.of_kind(manifests, "Secret")}
    for name, each in secrets.items():
        each["metadata"].setdefault("annotations", {}).update(OWNED)
        server.held[name] = {**each, "data": {**each.get("data", {}), **encoded(each)}}
    return {name: {**each["data"]} for name, each in server.held.items() if name in secrets}


def encoded(secret: dict[str, Any]) -> dict[str, str]:
    plain = secret.get("stringData", {})
    return {key: base64.b64encode(value.encode()).decode() for key, value in plain.items()}


def test_what_was_made_stays(tmp_path: Path) -> None:
    with secrets_server.running() as server:
        first = upgraded(server, tmp_path)
        assert (
            len(first) == 7
        )  # authority, broker, aggregator, two devices, database, Triton's control
        assert upgraded(server, tmp_path) == first


def test_another_name_makes_the_brokers_certificate_anew(tmp_path: Path) -> None:
    with secrets_server.running() as server:
        first = upgraded(server, tmp_path)
        later = upgraded(server, tmp_path, "--set", "tls.extraNames={other.example}")
        changed = {name for name in first if later[name] != first[name]}
    assert changed == {"r-edgeloop-broker-tls"}


def test_a_deleted_certificate_is_made_anew(tmp_path: Path) -> None:
    with secrets_server.running() as server:
        first = upgraded(server, tmp_path)
        del server.held["r-edgeloop-device-press-1-tls"]
        later = upgraded(server, tmp_path)
        changed = {name for name in first if later[name] != first[name]}
        authority = first["r-edgeloop-authority"]["tls.crt"]
        assert later["r-edgeloop-device-press-1-tls"]["ca.crt"] == authority
    assert changed == {"r-edgeloop-device-press-1-tls"}


def test_another_authority_makes_all_anew(tmp_path: Path) -> None:
    with secrets_server.running() as server:
        first = upgraded(server, tmp_path)
        del server.held["r-edgeloop-authority"]
        later = upgraded(server, tmp_path)
        changed = {name for name in first if later[name] != first[name]}
    assert changed == set(first) - {"r-edgeloop-database", "r-edgeloop-triton-control"}
