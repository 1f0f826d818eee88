"""An upgrade keeps the password and the secret that the first installation made."""

import base64
import re
from pathlib import Path
from typing import Any

import pytest

from tests.helm import chart, secrets_server
from tests.helm.chart import CHART, NAMESPACE, RELEASE
from tests.helm.secrets_server import Secrets

TEMPLATES = (
    "_helpers.tpl",
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
        assert set(first) == {"r-edgeloop-database", "r-edgeloop-triton-control"}
        assert upgraded(server, tmp_path) == first


def test_what_was_deleted_is_made_anew(tmp_path: Path) -> None:
    with secrets_server.running() as server:
        first = upgraded(server, tmp_path)
        del server.held["r-edgeloop-triton-control"]
        later = upgraded(server, tmp_path)
    assert {name for name in first if later[name] != first[name]} == {"r-edgeloop-triton-control"}


def test_no_key_is_in_a_release() -> None:
    text = chart.template(BUNDLED)
    assert "PRIVATE KEY" not in text
    assert "BEGIN CERTIFICATE" not in text


def test_nothing_is_drawn_where_secrets_are_given() -> None:
    """Argo CD renders without a cluster: what a template drew would be another one each time."""
    given = (
        *("--set", "database.bundled.enabled=false,database.existingSecret.name=ledgers"),
        *("--set", "triton.control.existingSecret.name=control"),
    )
    assert chart.template(BUNDLED, *given) == chart.template(BUNDLED, *given)


def test_a_thousand_devices_are_a_line_each() -> None:
    names = ",".join(f"press-{number}" for number in range(1000))
    few = chart.template(BUNDLED)
    many = chart.template(BUNDLED, "--set", f"tls.devices={{{names}}}")
    assert len(many) - len(few) < 150 * 1000, "bytes, of a release's megabyte before it is packed"


@pytest.mark.parametrize(
    ("device", "secret"),
    [
        ("press-1", "r-edgeloop-device-press-1-tls"),
        ("Press_1", "r-edgeloop-device-press-1-68afa6b0-tls"),
        ("A" * 64, "r-edgeloop-device-aaaaaaaaaaaaaaaaaaaaaaaa-"),
    ],
)
def test_every_device_of_a_task_has_a_name_that_a_secret_can_have(device: str, secret: str) -> None:
    text = chart.template(BUNDLED, "--set", f"tls.devices={{{device}}}")
    made = chart.certificates(chart.parsed(text))
    assert made is not None
    (found,) = [each for each in made.certificates if each.name == device]
    assert found.secret.startswith(secret)
    assert re.fullmatch("[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])", found.secret)


def test_the_job_may_read_no_other_secret() -> None:
    manifests = chart.rendered("bundled")
    made = chart.certificates(manifests)
    assert made is not None
    named, new = chart.named(manifests, "Role", "-certificates")["rules"]
    assert set(named["resourceNames"]) == {made.authority, *(c.secret for c in made.certificates)}
    assert (named["verbs"], new["verbs"]) == (["get", "patch"], ["create"])
