"""Tokens, certificates and revocation, by a clock that the test sets."""

# Over 320 lines: one clock and one database for all that an authority does.

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from cloud.authority import keys, publishing
from cloud.authority.authority import Authority, DeniedError
from cloud.authority.database import Database
from cloud.authority.identity import Identity
from cloud.authority.keys import DEVICES, SERVICES
from cloud.authority.registry import Signed
from cloud.authority.signing import new_key
from cloud.authority.tokens import Admission
from edgeloop.errors import ConfigError, TakenError

BEGUN = datetime(2030, 1, 1, tzinfo=UTC)
HERE = "192.0.2.7"


class Clock:
    """The time, as the test sets it."""

    def __init__(self) -> None:
        self.now = BEGUN

    def __call__(self) -> datetime:
        return self.now

    def pass_(self, **time: float) -> None:
        self.now += timedelta(**time)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = Database(f"sqlite:///{tmp_path / 'authority.sqlite'}")
    yield opened
    opened.close()


@pytest.fixture
def authority(tmp_path: Path, clock: Clock, database: Database) -> Authority:
    return Authority(database, keys.make(tmp_path / "keys", None, BEGUN), now=clock)


def request(name: str, key: ec.EllipticCurvePrivateKey | None = None) -> bytes:
    """Return a device's request, as `edgeloop enroll` makes it."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject)
    return builder.sign(key or new_key(), SHA256()).public_bytes(Encoding.PEM)


def token(authority: Authority, names: str, uses: int = 1, task: str = "presses") -> str:
    admission = Admission(task, names, uses, labels={"site": "hall-3"})
    return authority.make_tokens([admission], "ann")[0][1]


def shown(signed: Signed) -> bytes:
    return signed.certificate.public_bytes(Encoding.DER)


def revoked(authority: Authority) -> set[int]:
    return {each.serial_number for each in authority.revoked(DEVICES)}


def test_a_token_admits_its_device_once(authority: Authority) -> None:
    text = token(authority, "press-1")
    signed = authority.enrol(text, request("press-1"), HERE)
    certificate = signed.certificate
    assert certificate.subject.rfc4514_string() == "CN=press-1,OU=presses"
    assert signed.labels == {"site": "hall-3"}
    certificate.verify_directly_issued_by(authority.certificate(DEVICES))
    with pytest.raises(ValueError, match="not match"):
        certificate.verify_directly_issued_by(authority.certificate(SERVICES))
    usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [x509.oid.ExtendedKeyUsageOID.CLIENT_AUTH], "no server's"
    with pytest.raises(DeniedError, match="is used up; ask for another one"):
        authority.enrol(text, request("press-1"), HERE)


def test_an_answer_that_was_lost_is_given_again(authority: Authority) -> None:
    text, asked = token(authority, "press-1"), request("press-1", new_key())
    first, again = (authority.enrol(text, asked, HERE).certificate for _ in range(2))
    assert first.public_key() == again.public_key()
    assert not revoked(authority)


def test_a_counted_token_admits_so_many_of_its_pattern(authority: Authority) -> None:
    text = token(authority, "press-*", uses=2)
    for name in ("press-1", "press-2"):
        authority.enrol(text, request(name), HERE)
    with pytest.raises(DeniedError, match="is used up"):
        authority.enrol(text, request("press-3"), HERE)
    with pytest.raises(DeniedError, match="does not admit oven-1; give the name"):
        authority.enrol(token(authority, "press-*", 5), request("oven-1"), HERE)


def test_tokens_end(authority: Authority, clock: Clock) -> None:
    text = token(authority, "press-1")
    clock.pass_(hours=24)
    with pytest.raises(DeniedError, match="has expired"):
        authority.enrol(text, request("press-1"), HERE)
    ((name, text),) = authority.make_tokens([Admission("presses", "press-1")], "ann")
    authority.revoke_token(name, "ann")
    with pytest.raises(DeniedError, match="was taken back"):
        authority.enrol(text, request("press-1"), HERE)
    with pytest.raises(DeniedError, match="none of this authority's"):
        authority.enrol("elt-guessed", request("press-1"), HERE)
    with pytest.raises(ConfigError, match="no token has the id 12345678"):
        authority.revoke_token("12345678", "ann")


def test_a_counted_token_takes_over_nobody(authority: Authority) -> None:
    """Who has one could be any device of the fleet."""
    first = authority.enrol(token(authority, "press-1"), request("press-1"), HERE)
    counted = token(authority, "*", uses=9)
    with pytest.raises(DeniedError, match="press-1 of presses: is admitted already; have a token"):
        authority.enrol(counted, request("press-1"), HERE)
    with pytest.raises(DeniedError, match="PRESS-1 is press-1 in other capitals"):
        authority.enrol(counted, request("PRESS-1"), HERE)
    authority.revoke(first.identity, "ann")
    with pytest.raises(DeniedError, match="was revoked"):
        authority.enrol(counted, request("press-1"), HERE)


def test_a_token_that_names_a_device_replaces_it(authority: Authority) -> None:
    """A machine that has lost its disk: the certificates of before hold no more."""
    old = authority.enrol(token(authority, "press-1"), request("press-1"), HERE)
    new = authority.enrol(token(authority, "press-1"), request("press-1"), HERE)
    assert revoked(authority) == {old.certificate.serial_number}
    authority.renew(shown(new), request("press-1"), HERE)
    with pytest.raises(DeniedError, match="was revoked; enrol again"):
        authority.renew(shown(old), request("press-1"), HERE)


def test_who_was_revoked_comes_back_by_a_newer_token_only(
    authority: Authority, clock: Clock
) -> None:
    older = token(authority, "press-1")
    gone = authority.enrol(token(authority, "press-1"), request("press-1"), HERE)
    clock.pass_(minutes=1)
    authority.revoke(gone.identity, "ann")
    with pytest.raises(DeniedError, match="is older than the revocation of press-1"):
        authority.enrol(older, request("press-1"), HERE)
    clock.pass_(minutes=1)
    authority.enrol(token(authority, "press-1"), request("press-1"), HERE)
    (device,) = authority.admitted()
    assert device.revoked is None
    assert revoked(authority) == {gone.certificate.serial_number}, "the old one stays out"


def test_one_name_in_two_tasks_is_two_identities(authority: Authority) -> None:
    signed = [
        authority.enrol(token(authority, "cam-1", task=task), request("cam-1"), HERE)
        for task in ("presses", "ovens")
    ]
    assert {each.identity.user for each in signed} == {
        "CN=cam-1,OU=presses",
        "CN=cam-1,OU=ovens",
    }
    authority.revoke(signed[0].identity, "ann")
    authority.renew(shown(signed[1]), request("cam-1"), HERE)


def test_a_certificate_is_renewed_while_it_holds(authority: Authority, clock: Clock) -> None:
    key = new_key()
    signed = authority.enrol(token(authority, "press-1"), request("press-1", key), HERE)
    for _ in range(3):
        clock.pass_(days=5)
        before, signed = signed, authority.renew(shown(signed), request("press-1", key), HERE)
        after = signed.certificate.not_valid_after_utc
        assert after - before.certificate.not_valid_after_utc == timedelta(days=5)
    clock.pass_(days=7)
    with pytest.raises(DeniedError, match="has expired; enrol again by a token"):
        authority.renew(shown(signed), request("press-1", key), HERE)


def test_nobody_renews_as_somebody_else(authority: Authority, tmp_path: Path) -> None:
    mine = authority.enrol(token(authority, "press-1"), request("press-1"), HERE)
    authority.enrol(token(authority, "press-2"), request("press-2"), HERE)
    with pytest.raises(DeniedError, match="asks for 'press-2', and the certificate is press-1"):
        authority.renew(shown(mine), request("press-2"), HERE)
    service = authority.issue_service(
        Identity("presses", "aggregator"), new_key().public_key(), (), timedelta(days=9), "ann"
    )
    for der in (service.public_bytes(Encoding.DER), b"", b"junk"):
        with pytest.raises(DeniedError, match="the certificate: is no device's"):
            authority.renew(der, request("aggregator"), HERE)
    other = keys.make(tmp_path / "other", None, BEGUN)[DEVICES]
    forged = other.sign(mine.identity.subject, new_key().public_key(), (), BEGUN, timedelta(days=7))
    with pytest.raises(DeniedError, match="the certificate: is no device's"):
        authority.renew(forged.public_bytes(Encoding.DER), request("press-1"), HERE)


@pytest.mark.parametrize(
    "name",
    [
        *("aggregator", "Aggregator", "operator", "console", "broker", "authority", "ingest"),
        *("edgeloop.presses.press-1", "", "a/b", "a+", "#", "a b", "x" * 65, "a,OU=ovens", "é"),
    ],
)
def test_names_that_no_device_may_have(authority: Authority, name: str) -> None:
    text = token(authority, "*", uses=99)
    if not name or len(name) > 64:
        return  # no request can have them
    with pytest.raises((ConfigError, DeniedError)):
        authority.enrol(text, request(name), HERE)
    with pytest.raises(ConfigError):
        token(authority, name)


def test_requests_that_cannot_be_signed(authority: Authority) -> None:
    text = token(authority, "press-1")
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "press-1")])
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject)
    weak = builder.sign(rsa.generate_private_key(65537, 1024), SHA256())  # noqa: S505 - refused
    other = builder.sign(ed25519.Ed25519PrivateKey.generate(), None)
    curve = builder.sign(ec.generate_private_key(ec.SECP521R1()), SHA256())
    for made in (weak, other, curve):
        with pytest.raises(ConfigError, match="has a key of another kind"):
            authority.enrol(text, made.public_bytes(Encoding.PEM), HERE)
    good = builder.sign(new_key(), SHA256()).public_bytes(Encoding.DER)
    forged = bytearray(good)
    forged[-1] ^= 1
    broken = x509.load_der_x509_csr(bytes(forged)).public_bytes(Encoding.PEM)
    with pytest.raises(ConfigError, match=r"is not signed by its own key|cannot be read"):
        authority.enrol(text, broken, HERE)
    for junk in (b"", b"junk", b"-----BEGIN CERTIFICATE REQUEST-----\n", b"\xff" * 20_000):
        with pytest.raises(ConfigError, match=r"cannot be read|has more than"):
            authority.enrol(text, junk, HERE)
    authority.enrol(text, request("press-1"), HERE)  # none of them has used the token


def test_a_request_gets_nothing_that_it_asks_for(authority: Authority) -> None:
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.COMMON_NAME, "press-1"),
            x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, "ovens"),
        ]
    )
    wants = x509.BasicConstraints(ca=True, path_length=None)
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject)
    made = builder.add_extension(wants, critical=True).sign(new_key(), SHA256())
    asked = made.public_bytes(Encoding.PEM)
    signed = authority.enrol(token(authority, "press-1"), asked, HERE).certificate
    assert signed.subject.rfc4514_string() == "CN=press-1,OU=presses"
    assert not signed.extensions.get_extension_for_class(x509.BasicConstraints).value.ca


def test_what_is_done_and_refused_is_written_down(authority: Authority) -> None:
    text = token(authority, "press-1")
    authority.enrol(text, request("press-1"), HERE)
    with pytest.raises(DeniedError):
        authority.enrol("elt-guessed\nforged", request("press-1"), "198.51.100.9")
    authority.revoke(Identity("presses", "press-1"), "bob")
    said = [(each.act, each.outcome, each.subject) for each in reversed(authority.audit(99))]
    assert said == [
        ("make token", "done", "press-1 of presses"),
        ("enrol", "done", "press-1 of presses"),
        ("enrol", "refused", "the token"),
        ("revoke", "done", "press-1 of presses"),
    ]
    actors = [each.actor for each in authority.audit(99)]
    assert actors[:2] == ["bob", "198.51.100.9"]
    assert not any(text in each.detail for each in authority.audit(99)), "no secret is in it"


def test_the_database_has_no_token(tmp_path: Path, authority: Authority) -> None:
    text = token(authority, "press-1")
    for path in tmp_path.glob("authority.sqlite*"):
        assert text.encode() not in path.read_bytes()
        assert path.stat().st_mode & 0o077 == 0, "only its user may read it"


def test_keys_are_their_users_or_encrypted(tmp_path: Path) -> None:
    plain, locked = tmp_path / "plain", tmp_path / "locked"
    keys.make(plain, None, BEGUN)
    keys.make(locked, "a secret", BEGUN)
    assert plain.stat().st_mode & 0o077 == 0
    assert (plain / "devices.key").stat().st_mode & 0o777 == 0o600
    assert b"ENCRYPTED" in (locked / "devices.key").read_bytes()
    keys.read(locked, DEVICES, "a secret")
    with pytest.raises(ConfigError, match="with another passphrase"):
        keys.read(locked, DEVICES, "another")
    with pytest.raises(ConfigError, match="is encrypted; give passphrase_file"):
        keys.read(locked, DEVICES, None)
    with pytest.raises(ConfigError, match="is not encrypted; leave passphrase_file out"):
        keys.read(plain, DEVICES, "a secret")
    (plain / "devices.key").chmod(0o640)
    with pytest.raises(ConfigError, match="may be read by others; chmod 600"):
        keys.read(plain, DEVICES, None)
    with pytest.raises(TakenError, match="is there already; name another folder"):
        keys.make(plain, None, BEGUN)


def test_a_fleet_of_a_thousand(authority: Authority, clock: Clock) -> None:
    """All enrol by one counted token, renew, and are revoked."""
    count, key = 1000, new_key()
    text = token(authority, "press-*", uses=count)
    requests = [request(f"press-{number}", key) for number in range(count)]
    fleet = [authority.enrol(text, each, HERE) for each in requests]
    with pytest.raises(DeniedError, match="is used up"):
        authority.enrol(text, request("press-1000"), HERE)
    clock.pass_(days=5)
    renewed = [
        authority.renew(shown(each), asked, HERE)
        for each, asked in zip(fleet, requests, strict=True)
    ]
    clock.pass_(days=5)
    assert all(each.certificate.not_valid_after_utc > clock.now for each in renewed)
    for each in renewed:
        authority.revoke(each.identity, "ann")
    assert revoked(authority) == {each.certificate.serial_number for each in renewed}, (
        "those of before have expired"
    )
    for each in renewed[::100]:
        with pytest.raises(DeniedError, match="was revoked"):
            authority.renew(shown(each), request(each.identity.name, key), HERE)
    clock.pass_(days=7)
    assert not revoked(authority), "what has expired need not be on the list"


def test_two_who_write_a_brokers_files_at_once(authority: Authority, tmp_path: Path) -> None:
    """As `edgeloop ca serve` does, and a command of an operator meanwhile."""

    def write(_: int) -> None:
        (tmp_path / "rights.acl").unlink(missing_ok=True)
        publishing.write(authority, tmp_path, "")
        publishing.write_authorities(authority, tmp_path)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(60)))
    assert {each.name for each in tmp_path.glob(".*.new")} == set()


def test_services_that_others_sign_with_the_same_key(
    tmp_path: Path, clock: Clock, database: Database
) -> None:
    """On Kubernetes an operator signs its aggregators; what is revoked here counts still."""
    signers = keys.make(tmp_path / "keys", None, BEGUN)
    alone, beside = (Authority(database, signers, now=clock, others=each) for each in (False, True))
    identity, public = Identity("plant.t", "aggregator"), new_key().public_key()
    day = timedelta(days=1)
    elsewhere = signers[SERVICES].sign(identity.subject, public, (), BEGUN, day)
    der = elsewhere.public_bytes(Encoding.DER)
    assert (alone.service_of(der), beside.service_of(der)) == (None, identity)
    device = signers[DEVICES].sign(identity.subject, public, (), BEGUN, day)
    assert beside.service_of(device.public_bytes(Encoding.DER)) is None
    own = alone.issue_service(identity, public, (), day, "ann").public_bytes(Encoding.DER)
    assert beside.service_of(own) == identity
    alone.revoke_service(identity, "ann")
    assert beside.service_of(own) is None
    clock.pass_(days=2)
    assert beside.service_of(der) is None
