"""What is signed, and what is not believed: each way to forge a message, without a broker."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from cloud.authority import keys
from cloud.authority.keys import DEVICES, SERVICES
from cloud.authority.signing import new_key
from edgeloop.errors import BrokerSetupError
from edgeloop.mqtt.messages import Arrival
from edgeloop.mqtt.seal import UNSIGNED, Seal
from edgeloop.protocol.rollout import desired_topic
from edgeloop.protocol.signatures import CERTIFICATE, SIGNATURE, signature_of
from edgeloop.protocol.task import (
    EVICTED,
    LEFT,
    broadcast_topic,
    contract_topic,
    presence_topic,
    receipt_topic,
    round_topic,
    upload_topic,
)
from edgeloop.runtime.config import BrokerSettings
from tests.signed import Pki, arrives

CONTRACT, ROUND, RECEIPT = contract_topic("t"), round_topic("t"), receipt_topic("t", "one")
UPLOAD, PRESENCE = upload_topic("t", "one"), presence_topic("t", "one")
BROADCAST = f"{broadcast_topic('t', 0)}/0"
SERVERS = [CONTRACT, ROUND, BROADCAST, RECEIPT]


@pytest.fixture
def pki(tmp_path: Path) -> Pki:
    return Pki(tmp_path)


@pytest.fixture
def server(pki: Pki) -> Seal:
    return pki.server()


@pytest.fixture
def device(pki: Pki) -> Seal:
    return pki.device()


def refusal(reader: Seal, arrival: Arrival) -> str:
    return reader.checked(arrival).trust.refusal


@pytest.mark.parametrize("topic", SERVERS)
def test_what_the_aggregator_says_is_believed(server: Seal, device: Seal, topic: str) -> None:
    found = device.checked(arrives(server, topic, b"x", run="r")).trust
    assert (found.refusal, found.signer) == ("", "aggregator of t")
    assert found.at > 0


@pytest.mark.parametrize("topic", [UPLOAD, PRESENCE])
def test_what_a_device_says_is_believed(server: Seal, device: Seal, topic: str) -> None:
    found = server.checked(arrives(device, topic, b"x")).trust
    assert (found.refusal, found.signer) == ("", "one of t")


@pytest.mark.parametrize("topic", [*SERVERS, UPLOAD, PRESENCE])
def test_what_nobody_has_signed(device: Seal, topic: str) -> None:
    assert refusal(device, Arrival(topic, b"x", lambda: None)) == UNSIGNED


@pytest.mark.parametrize("topic", [*SERVERS, UPLOAD, PRESENCE])
def test_where_signatures_are_accepted_a_false_one_is_not(pki: Pki, topic: str) -> None:
    reader = pki.seal(pki.issue("one"), "accepted")
    assert refusal(reader, Arrival(topic, b"x", lambda: None)) == ""
    assert "cannot be read" in refusal(
        reader, Arrival(topic, b"x", lambda: None, {SIGNATURE: "1.2"})
    )


def test_another_payload_topic_or_note(server: Seal, device: Seal) -> None:
    """Kind, task, device, slot and chunk are in the topic; run and round in the payload."""
    said = arrives(server, ROUND, b"round 3", missing="one")
    changed = [
        replace(said, payload=b"round 4"),
        replace(said, topic=CONTRACT),
        replace(said, notes={**said.notes, "over": "1"}),
        replace(said, notes={k: v for k, v in said.notes.items() if k != "missing"}),
        replace(said, notes={**said.notes, "missing": "two"}),
        replace(said, topic=BROADCAST),
        replace(said, topic=RECEIPT),
    ]
    assert [refusal(device, each) for each in changed] == [
        "its signature is of another message, or it was changed on its way"
    ] * len(changed)
    chunk = arrives(server, BROADCAST, b"x")
    for slot, index in ((1, 0), (0, 1), ("base", 0)):
        moved = replace(chunk, topic=f"{broadcast_topic('t', slot)}/{index}")
        assert "another message" in refusal(device, moved)
    later = signature_of(said.notes)
    assert later is not None
    newer = {**said.notes, SIGNATURE: later._replace(at=later.at + 1).text()}
    assert "another message" in refusal(device, replace(said, notes=newer))


def test_another_tasks_aggregator(pki: Pki, device: Seal) -> None:
    """One moves a message of its own task, or another's; a third signs for a foreign task."""
    other = pki.server("u")
    moved = replace(arrives(other, contract_topic("u"), b"x"), topic=CONTRACT)
    assert refusal(device, moved) == "it is signed by aggregator of u, who may not say that"
    assert "may not say that" in refusal(device, arrives(other, CONTRACT, b"x"))


def test_a_device_is_no_aggregator(pki: Pki, server: Seal, device: Seal) -> None:
    for topic in SERVERS:
        assert "may not say that" in refusal(server, arrives(device, topic, b"x"))
    named = pki.seal(pki.issue("aggregator", "t", DEVICES))  # no authority of ours signs that
    assert "may not say that" in refusal(server, arrives(named, CONTRACT, b"x"))
    operator = pki.seal(pki.issue("operator", "t", SERVICES))  # ships things, and says no more
    assert "may not say that" in refusal(server, arrives(operator, CONTRACT, b"x"))
    order = arrives(operator, desired_topic("t", "one", "model"), b"x")
    assert refusal(device, order) == ""
    for name in ("broker", "authority"):
        service = pki.seal(pki.issue(name, "t", SERVICES))
        assert "no authority" in refusal(server, arrives(service, CONTRACT, b"x"))


def test_another_device(pki: Pki, server: Seal) -> None:
    spy, namesake = pki.device("two"), pki.device("one", "u")
    for each in (spy, namesake):
        for topic in (UPLOAD, PRESENCE):
            assert "may not say that" in refusal(server, arrives(each, topic, b"x"))


def test_who_may_send_a_device_away(server: Seal, device: Seal, pki: Pki) -> None:
    reader = pki.server()
    for word in (LEFT, EVICTED):
        assert refusal(reader, arrives(server, PRESENCE, word, run="r")) == ""
    assert refusal(reader, arrives(device, PRESENCE, LEFT, run="r")) == ""
    assert "may not" in refusal(reader, arrives(device, PRESENCE, EVICTED, run="r"))
    assert "may not" in refusal(reader, arrives(server, PRESENCE, b"online"))


def test_a_foreign_authority(tmp_path: Path, server: Seal, device: Seal) -> None:
    other = Pki(tmp_path / "other")
    assert "no authority" in refusal(server, arrives(other.device(), UPLOAD, b"x"))
    assert "no authority" in refusal(device, arrives(other.server(), CONTRACT, b"x"))


@pytest.mark.parametrize("since", [-8.0, 1.0])
def test_a_certificate_that_does_not_hold_now(pki: Pki, server: Seal, since: float) -> None:
    bad = pki.seal(pki.issue("one", since=since))
    assert "does not hold now" in refusal(server, arrives(bad, UPLOAD, b"x"))


def test_a_certificate_expires_while_it_is_known(pki: Pki, server: Seal, device: Seal) -> None:
    said = arrives(device, UPLOAD, b"x")
    assert refusal(server, said) == ""
    pki.now += timedelta(days=8)
    assert "does not hold now" in refusal(server, said)
    pki.issue("one")  # renewed: the key stays
    assert refusal(server, arrives(device, UPLOAD, b"x")) == ""


@pytest.mark.parametrize("name", ["one", "aggregator"])
def test_who_is_revoked(pki: Pki, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgeloop.mqtt.seal._LOOK_SECONDS", 0.0)
    signer = DEVICES if name == "one" else SERVICES
    stem = pki.issue(name, signer=signer)
    reader, topic = pki.server(), UPLOAD if name == "one" else CONTRACT
    said = arrives(pki.seal(stem), topic, b"x")
    if name == "aggregator":
        reader = pki.device()
    assert refusal(reader, said) == ""
    pki.revoke(stem)
    assert refusal(reader, said) == f"the certificate of {name} of t is revoked"
    again = pki.seal(pki.issue(name, signer=signer))
    assert refusal(reader, arrives(again, topic, b"x")) == "", "one that is signed anew holds"


def test_a_list_that_nobody_has_signed_revokes_nobody(
    pki: Pki, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgeloop.mqtt.seal._LOOK_SECONDS", 0.0)
    device, server, other = pki.device(), pki.server(), Pki(tmp_path / "other")
    other.revoked[DEVICES].append((1, pki.now))
    other.write_lists()
    said = arrives(device, UPLOAD, b"x")
    forged = (tmp_path / "other" / "devices.crl").read_bytes()
    (tmp_path / "devices.crl").write_bytes(forged)
    assert refusal(server, said) == ""
    (tmp_path / "devices.crl").write_bytes(b"damaged")
    assert refusal(server, said) == "", "what cannot be read leaves what was"


def test_the_certificate_of_another_key(pki: Pki, server: Seal, device: Seal) -> None:
    """Who has seen a device's certificate, and has not its key, signs by one of his own."""
    said, stolen = arrives(pki.device("two"), UPLOAD, b"x"), arrives(device, PRESENCE, b"online")
    mixed = {**said.notes, CERTIFICATE: stolen.notes[CERTIFICATE]}
    assert refusal(server, replace(said, notes=mixed)) == "its certificate is of another key"
    renamed = signature_of(said.notes)
    real = signature_of(stolen.notes)
    assert renamed is not None
    assert real is not None
    mixed[SIGNATURE] = renamed._replace(key=real.key).text()
    assert "another message" in refusal(server, replace(said, notes=mixed))


@pytest.mark.parametrize("text", ["", "no", "1.x.1.x", "1." + "0" * 32 + ".1.!", "9" * 9000])
def test_what_is_no_signature(server: Seal, device: Seal, text: str) -> None:
    said = arrives(device, UPLOAD, b"x")
    changed = {**said.notes, SIGNATURE: text}
    assert refusal(server, replace(said, notes=changed)) == "its signature cannot be read"
    for damaged in ("", "no", "A" * 9000, said.notes[CERTIFICATE][:-8]):
        changed = {**said.notes, CERTIFICATE: damaged}
        assert refusal(server, replace(said, notes=changed)) == "its certificate cannot be read"


def test_the_certificate_travels_once(pki: Pki, server: Seal, device: Seal) -> None:
    """With the presence, and with what is sent again; an aggregator that is new asks for it."""
    first = Arrival(UPLOAD, b"x", lambda: None, device.signed(UPLOAD, b"x", {}))
    assert CERTIFICATE not in first.notes
    found = server.checked(first).trust
    assert found.is_unknown
    assert found.refusal
    assert refusal(server, arrives(device, PRESENCE, b"online")) == ""
    assert refusal(server, first) == ""
    assert CERTIFICATE in device.signed(UPLOAD, b"x", {}), "what is sent again brings it"


def test_what_is_said_again_is_no_newer(server: Seal) -> None:
    """A broker that keeps the contract gives it as old as the reminder of it."""
    first = server.signed(CONTRACT, b"x", {})
    assert server.signed(CONTRACT, b"x", {})[SIGNATURE] == first[SIGNATURE]
    other = server.signed(CONTRACT, b"y", {})
    again = server.signed(CONTRACT, b"x", {})
    times = [signature_of(each) for each in (first, other, again)]
    assert [each.at for each in times if each] == sorted({each.at for each in times if each})


def test_empty_messages_and_other_topics_are_let_through(device: Seal) -> None:
    for topic, payload in ((CONTRACT, b""), ("elsewhere", b"x"), ("edgeloop/v1/t/x", b"x")):
        assert device.signed(topic, payload, {"a": "b"}) == {"a": "b"}
        assert refusal(device, Arrival(topic, payload, lambda: None)) == ""


def test_files_that_cannot_be_used(pki: Pki) -> None:
    good = pki.broker(pki.issue("one"))
    other = pki.folder / f"{pki.issue('two')}.key"
    cases: dict[str, object] = {
        "ca_file": pki.folder / "no.crt",
        "devices_file": other,
        "certificate_file": pki.folder / "no.crt",
        "key_file": other,
        "revoked_files": (other,),
    }
    for key, value in cases.items():
        with pytest.raises(BrokerSetupError, match=rf"broker\.{key}: "):
            Seal(good.model_copy(update={key: value}))
    bare = BrokerSettings(ca_file=good.ca_file, signatures="required")
    with pytest.raises(BrokerSetupError, match="need certificate_file, key_file"):
        Seal(bare)


def test_files_that_are_half_replaced_leave_what_was(pki: Pki, server: Seal) -> None:
    stem = pki.issue("one")
    seal = pki.seal(stem)
    keys.write_key(pki.folder / f"{stem}.key", new_key())
    assert refusal(server, arrives(seal, UPLOAD, b"x")) == ""
    pki.issue("one")
    assert refusal(server, arrives(seal, UPLOAD, b"x")) == "", "both are new"
