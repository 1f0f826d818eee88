"""An aggregator learns of its authority whom to believe, and does without one that is away."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from cloud.aggregator import trust
from cloud.aggregator.revocations import Revocations
from cloud.aggregator.settings import TaskSettings
from cloud.authority.identity import Identity
from cloud.authority.keys import DEVICES
from cloud.authority.signing import pem
from edgeloop.errors import ConfigError, UnavailableError
from edgeloop.runtime.config import parse
from tests.enrolled import Site, serials, site
from tests.world import contract


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with site(tmp_path_factory.mktemp("site")) as found:
        yield found


@pytest.fixture(scope="module")
def identity(here: Site) -> Path:
    return here.issue("aggregator")


def task(folder: Path, identity: Path, **changes: Any) -> TaskSettings:
    files = {"ca_file": "services.crt", "certificate_file": "aggregator.crt"}
    files |= {"key_file": "aggregator.key"}
    table = {
        "name": "presses",
        "algorithm": "fedproto",
        "class_names": ["a", "b"],
        "shape": [1, 8, 8],
        "rounds": 1,
        "folder": folder,
        "cohort": {"devices": ["one"]},
        "broker": {key: identity / name for key, name in files.items()},
        **changes,
    }
    return parse(table, TaskSettings, "task.toml")


def test_it_asks_the_authority_that_its_task_names(
    here: Site, identity: Path, tmp_path: Path
) -> None:
    asked = task(tmp_path, identity, authority=here.url)
    assert asked.broker.signing == "off", "until it is known whom to believe"
    broker = trust.completed(asked).broker
    assert broker.signing == "required"
    assert broker.devices_file == tmp_path / trust.AUTHORITY
    assert broker.devices_file.read_text() == pem(here.authority.certificate(DEVICES))
    here.enrol("gone")
    here.authority.revoke(Identity("presses", "gone"), "ann")
    trust.refresh(asked)
    (revoked,) = broker.revoked_files
    listed = x509.load_pem_x509_crl(revoked.read_bytes())
    assert serials(listed) == serials(here.authority.revoked(DEVICES)) != set()


def test_an_authority_that_is_away(here: Site, identity: Path, tmp_path: Path) -> None:
    away = task(tmp_path, identity, authority="https://127.0.0.1:9")
    with pytest.raises(UnavailableError, match=r"127\.0\.0\.1:9: does not answer"):
        trust.completed(away)
    trust.completed(task(tmp_path, identity, authority=here.url))
    assert trust.completed(away).broker.signing == "required", "what it said before is kept"


def test_what_it_does_not_ask_for(here: Site, identity: Path, tmp_path: Path) -> None:
    bare = task(tmp_path, identity)
    assert trust.completed(bare) is bare
    off = {**bare.broker.model_dump(), "signatures": "off"}
    silent = task(tmp_path, identity, authority=here.url, broker=off)
    assert trust.completed(silent).broker.signing == "off"
    named = {**bare.broker.model_dump(), "devices_file": identity / "devices.crt"}
    given = task(tmp_path, identity, authority=here.url, broker=named)
    assert trust.completed(given) is given
    trust.refresh(given)
    assert not (tmp_path / trust.AUTHORITY).exists()


def test_signatures_that_nothing_could_check(identity: Path, tmp_path: Path) -> None:
    broker = {**task(tmp_path, identity).broker.model_dump(), "signatures": "required"}
    asked = task(tmp_path, identity, broker=broker)
    with pytest.raises(ConfigError, match=r"signatures: need broker\.devices_file, or authority"):
        trust.completed(asked)


def test_who_answers_and_is_no_authority(here: Site, identity: Path, tmp_path: Path) -> None:
    """The revocations' look says what is wrong, and comes again."""
    asked = task(tmp_path, identity, authority=here.url)
    with pytest.raises(UnavailableError, match=r"does not answer /v1/nothing \(HTTP 40[34]\)"):
        trust.get(asked.broker, here.url, "/v1/nothing")
    Revocations(asked, here.url).look()
    assert (tmp_path / trust.REVOKED).exists()


def test_the_contract_says_it(identity: Path, tmp_path: Path) -> None:
    plain = task(tmp_path, identity)
    named = {**plain.broker.model_dump(), "devices_file": identity / "devices.crt"}
    signed = task(tmp_path, identity, broker=named).broker
    made = contract()
    assert trust.announced(made, plain.broker) == made
    asked = trust.announced(made, signed)
    assert asked.signatures == "required"
    assert '"needs":4' in asked.text(grown=False), "who does not know it takes no part"
    accepts = signed.model_copy(update={"signatures": "accepted"})
    assert trust.announced(asked, accepts) == made
