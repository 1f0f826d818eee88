"""A fleet whose devices have identities: each shows its own certificate, and signs what it says."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from cloud.authority.identity import Identity
from edge.agent.authority_client import AuthorityError
from edge.fleet import command
from edge.fleet.identities import Enrolling, Identities, Place, pinned
from edgeloop.errors import ConfigError
from edgeloop.runtime.config import BrokerSettings
from tests.edge.fleet.test_fleet import CLASSES, aggregated, keeping
from tests.enrolled import GuardedBroker, Site, guarded_broker, site
from tests.world import contract

NAMES = ("device-00000", "device-00001", "device-00002")
CONTRACT = contract(run="now", class_names=CLASSES, width=100, devices=NAMES)
SIGNED = CONTRACT.model_copy(update={"signatures": "required"})


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with site(tmp_path_factory.mktemp("site")) as found:
        yield found


@pytest.fixture(scope="module")
def guarded(here: Site) -> Iterator[GuardedBroker]:
    with guarded_broker(here) as found:
        yield found


def enrolling(here: Site) -> Enrolling:
    place = Place.of(here.url)
    token = here.token("device-*", "t", len(NAMES))
    return Enrolling(place, pinned(place, here.fingerprint), token)


@pytest.mark.broker
def test_a_signed_task_takes_its_answers(
    here: Site, guarded: GuardedBroker, tmp_path: Path
) -> None:
    folder, out = tmp_path / "identities", tmp_path / "out.json"
    given = BrokerSettings(host="127.0.0.1", port=guarded.devices)
    known = Identities(folder, "t", enrolling(here), given)
    assert [known.broker(name).signing for name in NAMES] == ["required"] * 3
    assert known.new == list(NAMES)
    own = here.issue("aggregator", "t")
    guarded.update()
    believes = {"devices_file": own / "devices.crt", "signatures": "required"}
    server = guarded.settings(own, "aggregator").model_copy(update=believes)
    words = ["--devices", "3", "--task", "t", "--payload", "2KB", "--out", str(out)]
    words += ["--port", str(guarded.devices), "--identities", str(folder)]
    with aggregated(server, SIGNED) as running:
        assert command.main(words) == 0
        asked, _ = running.result(60)
    assert [set(each) for each in asked] == [set(NAMES)] * SIGNED.rounds
    rounds = json.loads(out.read_text())["rounds"]
    assert [each["receipts"] for each in rounds.values()] == [3] * (SIGNED.rounds + 1)


def test_who_has_no_identity(here: Site, tmp_path: Path) -> None:
    known = Identities(tmp_path, "t", None, BrokerSettings())
    assert known.first() is None
    with pytest.raises(ConfigError, match=r"--identities: has none of device-00009; give"):
        known.broker("device-00009")
    other = Identities(tmp_path, "t", enrolling(here), BrokerSettings())
    with pytest.raises(AuthorityError, match="does not admit press-1"):
        other.broker("press-1")
    assert Identity("t", "press-1") not in [each.identity for each in here.authority.admitted()]


@pytest.mark.broker
def test_a_fleet_without_identities_says_what_a_signed_task_needs(
    broker: BrokerSettings,
) -> None:
    words = ["--devices", "3", "--task", "t", "--port", str(broker.port)]
    with keeping(broker, SIGNED), pytest.raises(ConfigError) as told:
        command.main(words)
    assert "a fleet without identities signs nothing; give --identities FOLDER" in str(told.value)


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["--server", "https://a:1"], "whose keys must be kept; give --identities"),
        (["--identities", "x", "--server", "https://a:1"], "one of three that go together"),
    ],
)
def test_options_that_go_together(words: list[str], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        command.main(["--devices", "1", *words])
