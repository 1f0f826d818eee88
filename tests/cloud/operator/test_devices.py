"""A Device is where a device's admission lives: its tasks and its authority hear of its end."""

import base64
import shutil
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import ValidationError

from cloud.authority.identity import Identity
from cloud.http.new_tokens import new_token
from cloud.operator import selection
from cloud.operator.settings import OperatorSettings
from cloud.operator.spec import Device
from edge.agent import enrol_command
from edge.agent.authority_client import AuthorityError
from edgeloop.runtime.ports import free_port
from tests.cloud.operator.cluster import Cluster, Object, condition, device, secret, task, wait
from tests.cloud.operator.conftest import Aggregator, StartOperator
from tests.cloud.operator.examples import SETTINGS, a_task
from tests.cloud.operator.kubelet import Kubelet
from tests.cloud.operator.test_operator import NAME, phase
from tests.enrolled import Site, site

TASK = "plant.shop-floor"
SECRET = "press-1-enrolment"  # noqa: S105 - its name


@pytest.fixture
def authority(tmp_path: Path) -> Iterator[Site]:
    """An authority that is served, and knows an operator's token."""
    token, digest = new_token()
    (tmp_path / "token").write_text(token)
    (tmp_path / "tokens").write_text(f"operator cluster {digest}\n")
    with site(tmp_path, tokens_file=str(tmp_path / "tokens")) as here:
        folder = tmp_path / "signer"
        folder.mkdir()
        for end in ("crt", "key"):
            shutil.copy(here.folder / f"services.{end}", folder / f"tls.{end}")
        yield here


@pytest.fixture
def flags(authority: Site, aggregator: Aggregator, tmp_path: Path) -> tuple[str, ...]:
    """What an operator is told that has an authority to ask."""
    place = ("--authority-url", authority.url, "--authority-folder", str(tmp_path / "signer"))
    return (*aggregator.flags, *place, "--authority-token-file", str(tmp_path / "token"))


def admitted(authority: Site, name: str) -> set[str]:
    """Return the tasks that the authority admits a device to."""
    found = authority.authority.admitted()
    return {e.identity.task for e in found if e.identity.name == name and e.revoked is None}


def evicted(cluster: Cluster) -> list[str]:
    """Return whom the aggregator's file sends away."""
    found = cluster.get("configmaps", NAME)
    assert found is not None
    names: list[str] = tomllib.loads(found["data"]["task.toml"])["cohort"].get("evicted", [])
    return names


def config_of(cluster: Cluster) -> str:
    """Return the digest of the file that the aggregator's pod begins with."""
    found = cluster.get("statefulsets", NAME)
    assert found is not None
    return str(found["spec"]["template"]["metadata"]["annotations"]["edgeloop.io/config"])


def reasons(cluster: Cluster) -> set[str]:
    return {each["reason"] for each in cluster.listed("events")}


def stands(cluster: Cluster, name: str, wanted: str) -> Object:
    """Wait until a Device is in a phase; return its status."""
    wait(f"{name} is {wanted}", lambda: cluster.status(name, "devices").get("phase") == wanted)
    return cluster.status(name, "devices")


def token(cluster: Cluster, task: str = TASK) -> str | None:
    """Return the token that waits for a device; None if none does."""
    held = cluster.get("secrets", SECRET)
    text = None if held is None else held.get("data", {}).get(task)
    return None if text is None else base64.b64decode(text).decode()


def enrol(authority: Site, text: str, folder: Path) -> int:
    """Enrol the device by a token; return the exit code."""
    words = ["--server", authority.url, "--ca-fingerprint", authority.fingerprint]
    return enrol_command.main(
        [*words, "--token", text, "--name", "press-1", "--folder", str(folder)]
    )


# ---- plain functions


def _device(name: str, deleted: bool = False, **spec: object) -> Device:
    meta = {"name": name, "namespace": "plant", "uid": name}
    if deleted:
        meta["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    return Device.model_validate({"metadata": meta, "spec": spec})


def test_whom_a_task_sends_away() -> None:
    named = a_task()  # press-1, press-2
    assert selection.sent_away(named, [_device("press-1"), _device("press-2")]) == ()
    left = [_device("press-1", suspended=True), _device("press-2", deleted=True)]
    assert selection.sent_away(named, left) == ("press-1", "press-2")
    assert selection.sent_away(named, [_device("saw", suspended=True)]) == ()
    twin = _device("node-7", deviceName="press-1")
    assert selection.sent_away(named, [left[0], twin]) == (), "another Device speaks for it"
    assert selection.sent_away(named, [left[0]], [twin]) == (), "nor where it cannot be read"
    before = a_task({"evicted": ["old"]})
    assert selection.sent_away(before, []) == ("old",), "it is for good"
    found = a_task({"cohort": {"devices": ["a"]}}, cohort={"selector": {}})
    assert selection.sent_away(found, [_device("a", deleted=True)]) == ("a",)
    opened = a_task(cohort={"admit": ["saw-*"]})
    assert selection.sent_away(opened, [_device("saw-1", suspended=True)]) == ("saw-1",)
    assert opened.evicting(("saw-1",)).spec.cohort.evicted == ("saw-1",)
    assert selection.names([*left, twin]) == ("press-1",)


def test_a_token_needs_somebody_to_show_it_to() -> None:
    given = {**SETTINGS.model_dump(), "authority_token_file": "/t"}
    with pytest.raises(ValidationError, match="needs authority_url and authority_folder"):
        OperatorSettings.model_validate(given)


# ---- with a cluster


def test_without_an_authority_a_device_is_evicted(
    cluster: Cluster, start_operator: StartOperator, aggregator: Aggregator, kubelet: Kubelet
) -> None:
    start_operator(*aggregator.flags)
    for name in ("press-1", "press-2"):
        cluster.create("devices", device(name))
    cluster.create("federatedtasks", task())
    phase(cluster, "Running")
    known = stands(cluster, "press-1", "Known")
    assert condition(known, "Admitted")["reason"] == "NoAuthority"
    before = config_of(cluster)
    cluster.patch("devices", "press-1", {"spec": {"suspended": True}})
    wait("it is evicted", lambda: evicted(cluster) == ["press-1"])
    wait("it says so", lambda: cluster.status("press-1", "devices")["evicted"] == ["shop-floor"])
    assert condition(stands(cluster, "press-1", "Suspended"), "Evicted")["status"] == "True"
    wait("an event says so", lambda: "Suspended" in reasons(cluster))
    wait("by another pod", lambda: config_of(cluster) != before)
    cluster.delete("devices", "press-2")
    wait("it is gone", lambda: cluster.get("devices", "press-2") is None)
    wait("it is evicted, too", lambda: evicted(cluster) == ["press-1", "press-2"])
    assert cluster.status("shop-floor")["evicted"] == ["press-1", "press-2"]
    cluster.patch("devices", "press-1", {"spec": {"suspended": False}})
    cluster.create("devices", device("press-2"))
    stands(cluster, "press-1", "Known")
    stands(cluster, "press-2", "Known")
    assert evicted(cluster) == ["press-1", "press-2"], "it is for good"


def test_a_device_that_is_suspended_or_deleted_is_revoked(
    cluster: Cluster,
    start_operator: StartOperator,
    authority: Site,
    flags: tuple[str, ...],
    kubelet: Kubelet,
) -> None:
    for name in ("press-1", "press-2"):
        authority.enrol(name, TASK)
        authority.enrol(name, "other.shop-floor")  # of another namespace's task
    start_operator(*flags)
    for name in ("press-1", "press-2"):
        cluster.create("devices", device(name))
    cluster.create("federatedtasks", task())
    phase(cluster, "Running")
    assert stands(cluster, "press-1", "Admitted")["admitted"] == [TASK]
    cluster.patch("devices", "press-1", {"spec": {"suspended": True}})
    told = stands(cluster, "press-1", "Suspended")
    assert admitted(authority, "press-1") == {"other.shop-floor"}
    assert condition(told, "Admitted")["reason"] == "Suspended"
    assert (told["admitted"], told["revoked"]) == ([], [TASK])
    cluster.delete("devices", "press-2")
    wait("it is gone", lambda: cluster.get("devices", "press-2") is None)
    assert admitted(authority, "press-2") == {"other.shop-floor"}
    wait("both are evicted", lambda: evicted(cluster) == ["press-1", "press-2"])
    said = {each["message"] for each in cluster.listed("events") if each["reason"] == "Revoked"}
    assert said == {f"no more admitted to {TASK}"}
    shutil.rmtree(authority.folder.parent / f"press-1-of-{TASK}")
    authority.enrol("press-1", TASK)  # by a token that somebody has made meanwhile
    wait("it is revoked again", lambda: TASK not in admitted(authority, "press-1"))


def test_a_token_waits_for_a_device_in_a_secret(
    cluster: Cluster,
    start_operator: StartOperator,
    authority: Site,
    flags: tuple[str, ...],
    tmp_path: Path,
) -> None:
    start_operator(*flags)
    cluster.create("devices", device("press-1", {"tasks": ["shop-floor"]}))
    told = stands(cluster, "press-1", "Invited")
    assert condition(told, "Admitted")["message"] == "its token is in a secret"
    first = wait("a token", lambda: token(cluster))
    owner = (cluster.get("secrets", SECRET) or {})["metadata"]["ownerReferences"][0]
    assert (owner["kind"], owner["name"]) == ("Device", "press-1")
    assert enrol(authority, first, tmp_path / "identity") == 0
    assert stands(cluster, "press-1", "Admitted")["admitted"] == [TASK]
    wait("the token is taken away", lambda: token(cluster) is None)

    cluster.patch("devices", "press-1", {"spec": {"suspended": True}})
    stands(cluster, "press-1", "Suspended")
    assert admitted(authority, "press-1") == set()
    cluster.patch("devices", "press-1", {"spec": {"suspended": False}})
    stands(cluster, "press-1", "Invited")
    again = wait("another token", lambda: token(cluster))
    assert again != first
    shutil.rmtree(tmp_path / "identity")
    assert enrol(authority, again, tmp_path / "identity") == 0
    stands(cluster, "press-1", "Admitted")

    cluster.patch("devices", "press-1", {"spec": {"tasks": []}})
    wait("it is revoked", lambda: admitted(authority, "press-1") == set())
    assert stands(cluster, "press-1", "Known")["revoked"] == [TASK]


def test_who_was_revoked_by_hand_is_not_invited_again(
    cluster: Cluster, start_operator: StartOperator, authority: Site, flags: tuple[str, ...]
) -> None:
    authority.enrol("press-1", TASK)
    authority.authority.revoke(Identity(TASK, "press-1"), "ann")
    start_operator(*flags)
    cluster.create("devices", device("press-1", {"tasks": ["shop-floor"]}))
    stands(cluster, "press-1", "Known")
    assert token(cluster) is None
    cluster.patch("devices", "press-1", {"spec": {"tasks": ["shop-floor", "second"]}})
    stands(cluster, "press-1", "Invited")
    assert token(cluster, "plant.second") is not None
    assert token(cluster) is None


def test_a_token_of_a_device_that_goes_admits_nobody(
    cluster: Cluster,
    start_operator: StartOperator,
    authority: Site,
    flags: tuple[str, ...],
    tmp_path: Path,
) -> None:
    start_operator(*flags)
    cluster.create("devices", device("press-1", {"tasks": ["shop-floor"]}))
    stands(cluster, "press-1", "Invited")
    held = wait("a token", lambda: token(cluster))
    cluster.delete("secrets", SECRET)
    other = wait("another one", lambda: token(cluster))
    assert other != held
    with pytest.raises(AuthorityError, match="was taken back"):
        enrol(authority, held, tmp_path / "identity")
    cluster.delete("devices", "press-1")
    wait("it is gone", lambda: cluster.get("devices", "press-1") is None)
    with pytest.raises(AuthorityError, match="was taken back"):
        enrol(authority, other, tmp_path / "identity")


def test_two_devices_of_one_name(
    cluster: Cluster, start_operator: StartOperator, authority: Site, flags: tuple[str, ...]
) -> None:
    authority.enrol("press-1", TASK)
    start_operator(*flags)
    cluster.create("devices", device("node-7", {"deviceName": "press-1"}))
    cluster.create("devices", device("press-1", {"suspended": True}))
    stands(cluster, "press-1", "Suspended")
    cluster.delete("devices", "press-1")
    wait("it is gone", lambda: cluster.get("devices", "press-1") is None)
    assert admitted(authority, "press-1") == {TASK}, "the other one speaks for it"


def test_a_foreign_secret_is_not_taken(
    cluster: Cluster, start_operator: StartOperator, flags: tuple[str, ...]
) -> None:
    cluster.create("secrets", secret(SECRET))
    start_operator(*flags)
    cluster.create("devices", device("press-1", {"tasks": ["shop-floor"]}))
    wait("it says so", lambda: cluster.status("press-1", "devices").get("lastError"))
    said = cluster.status("press-1", "devices")["lastError"]
    assert f"the secret {SECRET}: is there already" in said
    cluster.delete("secrets", SECRET)
    wait("it goes on", lambda: token(cluster))


def test_an_authority_that_is_away_is_waited_for_and_not_for_good(
    cluster: Cluster,
    start_operator: StartOperator,
    authority: Site,
    flags: tuple[str, ...],
) -> None:
    away = f"https://127.0.0.1:{free_port()}"
    start_operator(*flags, "--authority-url", away, "--forget", "1")
    cluster.create("devices", device("press-1"))
    wait("it says so", lambda: cluster.status("press-1", "devices").get("lastError"))
    told = cluster.status("press-1", "devices")
    assert told["lastError"].startswith(f"authority {away}: does not answer")
    assert condition(told, "Admitted")["reason"] == "NotAnswering"
    cluster.delete("devices", "press-1")
    wait("it is let go", lambda: cluster.get("devices", "press-1") is None)
    (why,) = wait(
        "an event",
        lambda: [e["message"] for e in cluster.listed("events") if e["reason"] == "StillAdmitted"],
    )
    assert "press-1 may still take part" in why
    assert "see edgeloop ca revoke" in why
