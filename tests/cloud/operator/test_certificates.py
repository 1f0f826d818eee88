"""A job makes a release's certificates in the cluster, keeps them, and renews them in time."""

import base64
import json
import os
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509 import verification
from cryptography.x509.oid import NameOID

from cloud.http.access import Role, Tokens
from cloud.operator import certificates
from cloud.operator.certificates import Pair, Release, Wanted
from cloud.operator.command import main
from edgeloop.errors import ConfigError
from tests import forked
from tests.cloud.operator.api_server import ApiServer
from tests.cloud.operator.cluster import NAMESPACE, OPERATOR, Object
from tests.cloud.operator.conftest import EDGELOOP, kubeconfig

RIGHTS = [
    {"apiGroups": [""], "resources": ["secrets"], "verbs": ["create"]},
    {
        "apiGroups": [""],
        "resources": ["secrets"],
        "verbs": ["get", "patch"],
        "resourceNames": ["r-authority", "b-tls", "c-tls", "press-tls", "r-devices", "r-access"],
    },
]
"""Of the chart's job: `tests/helm/test_kept.py` looks there."""

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SERVER: Object = {"hosts": ("broker", "b.fed.svc"), "addresses": ("10.0.0.1",)}
BROKER = Wanted.model_validate({"secret": "b-tls", "name": "r", **SERVER})
CLIENT = Wanted.model_validate({"secret": "c-tls", "name": "aggregator"})
AUTHORITY = certificates.new_authority("r-authority", NOW)


def held(pair: Pair, authority: Pair = AUTHORITY) -> dict[str, bytes]:
    return {"tls.crt": pair.certificate, "tls.key": pair.key, "ca.crt": authority.certificate}


@pytest.mark.parametrize("wanted", [BROKER, CLIENT])
def test_a_certificate_holds_until_a_third_is_left(wanted: Wanted) -> None:
    made = held(certificates.signed(wanted, AUTHORITY, 90, NOW))
    for days, again in ((0, False), (59, False), (61, True), (91, True)):
        now = NOW + timedelta(days=days)
        assert certificates.must_be_made(made, wanted, AUTHORITY, now) is again, days


@pytest.mark.parametrize(
    "changes",
    [
        {"tls.crt": b"no certificate"},
        {"tls.crt": AUTHORITY.certificate},
        {"ca.crt": b"another"},
        {"tls.key": b""},
    ],
)
def test_what_is_damaged_is_made_anew(changes: dict[str, bytes]) -> None:
    made = held(certificates.signed(BROKER, AUTHORITY, 90, NOW))
    assert not certificates.must_be_made(made, BROKER, AUTHORITY, NOW)
    assert certificates.must_be_made({**made, **changes}, BROKER, AUTHORITY, NOW)
    assert certificates.must_be_made(None, BROKER, AUTHORITY, NOW)


def test_other_names_and_another_authority_are_other_certificates() -> None:
    made = held(certificates.signed(BROKER, AUTHORITY, 90, NOW))
    for changes in ({"hosts": ("broker",)}, {"addresses": ()}, {"name": "s"}):
        wanted = BROKER.model_copy(update=changes)
        assert certificates.must_be_made(made, wanted, AUTHORITY, NOW), changes
    other = certificates.new_authority("r-authority", NOW)
    assert certificates.must_be_made(made, BROKER, other, NOW)
    forged = {**made, "ca.crt": other.certificate}
    assert certificates.must_be_made(forged, BROKER, other, NOW)


@pytest.mark.parametrize("wanted", [BROKER, CLIENT])
def test_the_strictest_client_takes_it(wanted: Wanted) -> None:
    made = certificates.signed(wanted, AUTHORITY, 90, NOW)
    found = x509.load_pem_x509_certificate(made.certificate)
    trusted = x509.load_pem_x509_certificate(AUTHORITY.certificate)
    store = verification.Store([trusted])
    builder = verification.PolicyBuilder().store(store).time(NOW + timedelta(days=1))
    if wanted is BROKER:
        assert builder.build_server_verifier(x509.DNSName("b.fed.svc")).verify(found, [])
    else:
        assert not found.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
        found.verify_directly_issued_by(trusted)


def test_an_authority_of_helms_signs_on() -> None:
    """A release before had helm make it: RSA, and without what ours has."""
    key = rsa.generate_private_key(65537, 2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "old")])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(NOW)
        .not_valid_after(NOW + timedelta(days=3650))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    text = key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    old = Pair(made.public_bytes(Encoding.PEM), text)
    signed = certificates.signed(BROKER, old, 90, NOW)
    x509.load_pem_x509_certificate(signed.certificate).verify_directly_issued_by(made)
    assert not certificates.must_be_made(held(signed, old), BROKER, old, NOW)


def test_a_certificate_does_not_outlive_its_authority() -> None:
    late = NOW + timedelta(days=3600)
    made = certificates.signed(CLIENT, AUTHORITY, 90, late)
    found = x509.load_pem_x509_certificate(made.certificate)
    assert found.not_valid_after_utc <= NOW + timedelta(days=3651)


def run(api: ApiServer, folder: Path, release: Release) -> dict[str, Object]:
    """Run the command; return the secrets that there are then."""
    config = folder / "kubeconfig"
    config.write_text(kubeconfig(api.url))
    (folder / "wanted.json").write_text(release.model_dump_json())
    flags = ["--file", str(folder / "wanted.json"), "--namespace", NAMESPACE]
    environment = {**os.environ, "KUBECONFIG": str(config), "NO_PROXY": "127.0.0.1"}
    forked.run([EDGELOOP, "operator", "certificates", *flags], env=environment, check=True)
    assert not api.denied
    found = api.store.found("secrets", NAMESPACE)
    return {each["metadata"]["name"]: each for each in found}


def test_the_command_makes_keeps_and_adds(tmp_path: Path) -> None:
    labels = {"app.kubernetes.io/part-of": "edgeloop"}
    press = Wanted.model_validate({"secret": "press-tls", "name": "Press.1"})
    release = Release(authority="r-authority", certificates=(BROKER, CLIENT), labels=labels)
    api = ApiServer()
    api.roles[OPERATOR] = {NAMESPACE: RIGHTS}
    with api:
        first = run(api, tmp_path, release)
        assert set(first) == {"r-authority", "b-tls", "c-tls"}
        assert run(api, tmp_path, release) == first
        more = release.model_copy(update={"certificates": (BROKER, CLIENT, press)})
        second = run(api, tmp_path, more)
        assert {name: second[name] for name in first} == first
        assert second["press-tls"]["metadata"]["labels"]["edgeloop.io/device"] == "Press.1"
        api.store.delete(("secrets", NAMESPACE, "r-authority"))
        third = run(api, tmp_path, more)
    assert all(third[name]["data"] != second[name]["data"] for name in second)
    assert third["b-tls"]["type"] == "kubernetes.io/tls"
    context = ssl.create_default_context()
    context.load_verify_locations(cadata=_pem(third["b-tls"], "ca.crt"))
    (tmp_path / "crt").write_text(_pem(third["b-tls"], "tls.crt"))
    (tmp_path / "key").write_text(_pem(third["b-tls"], "tls.key"))
    context.load_cert_chain(tmp_path / "crt", tmp_path / "key")


def test_where_devices_enrol_there_are_two_authorities_and_tokens(tmp_path: Path) -> None:
    release = Release(
        authority="r-authority",
        devices="r-devices",
        access="r-access",
        certificates=(CLIENT,),
        labels={},
    )
    api = ApiServer()
    api.roles[OPERATOR] = {NAMESPACE: RIGHTS}
    with api:
        first = run(api, tmp_path, release)
        assert run(api, tmp_path, release) == first, "a device trusts them, and keeps its token"
    one, other = (_pem(first[name], "tls.crt") for name in ("r-authority", "r-devices"))
    assert one != other
    access = first["r-access"]
    assert (access["type"], set(access["data"])) == (
        "Opaque",
        {"viewer.token", "operator.token", "tokens"},
    )
    (tmp_path / "tokens").write_text(_pem(access, "tokens"))
    known = Tokens(tmp_path / "tokens")
    found = {who: known.whose(_pem(access, f"{who}.token")) for who in ("viewer", "operator")}
    assert [found[who].role for who in found] == [Role.viewer, Role.operator]


def test_what_helm_has_made_before_stays(tmp_path: Path) -> None:
    """Helm takes away what a chart has no more, unless an annotation says that it is kept."""
    release = Release(authority="r-authority", certificates=(CLIENT,), labels={})
    api = ApiServer()
    api.roles[OPERATOR] = {NAMESPACE: RIGHTS}
    with api:
        first = run(api, tmp_path, release)
        for name in first:
            without: Object = {"metadata": {"annotations": None}}
            api.store.patch(("secrets", NAMESPACE, name), without, "application/merge-patch+json")
        second = run(api, tmp_path, release)
    for name, each in second.items():
        assert each["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}
        assert each["data"] == first[name]["data"]


def _pem(secret: Object, key: str) -> str:
    return base64.b64decode(secret["data"][key]).decode()


def test_a_file_that_is_none(tmp_path: Path) -> None:
    path = tmp_path / "wanted.json"
    path.write_text(json.dumps({"authority": "a", "certificates": [{"secret": "s"}]}))
    with pytest.raises(ConfigError, match=r"certificates\.0\.name"):
        main(["certificates", "--file", str(path), "--namespace", "n"])
