"""The authority's database: several processes at once, PostgreSQL too, and a wrong one."""

import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

from cloud.authority import command, keys, local_devices, service
from cloud.authority.authority import Authority, DeniedError
from cloud.authority.database import Database
from cloud.authority.identity import Identity
from cloud.authority.keys import DEVICES
from cloud.authority.signing import new_key
from cloud.authority.tokens import Admission
from edgeloop.errors import ConfigError, EdgeloopError, RunError
from tests.cloud.authority.test_authority import BEGUN, HERE, request, token
from tests.postgres import Postgres

STORES = ["sqlite", pytest.param("postgresql", marks=pytest.mark.postgresql)]


@pytest.fixture
def url(tmp_path: Path, request: pytest.FixtureRequest) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'authority.sqlite'}"
    server: Postgres = request.getfixturevalue("postgres")
    return server.database()


def several(times: int, act: Callable[[int], object]) -> list[object]:
    """Do something at once in several threads; return what came of each."""

    def caught(number: int) -> object:
        try:
            return act(number)
        except EdgeloopError as error:
            return error

    with ThreadPoolExecutor(times) as pool:
        return list(pool.map(caught, range(times)))


@pytest.mark.parametrize("url", STORES, indirect=True)
def test_a_token_counts_whoever_asks_at_once(tmp_path: Path, url: str) -> None:
    """Through two connections, as a service and a command have them."""
    signers = keys.make(tmp_path / "keys", None, BEGUN)
    with closing(Database(url)) as one, closing(Database(url)) as two:
        sides = [Authority(each, signers, now=lambda: BEGUN) for each in (one, two)]
        text = token(sides[0], "press-*", uses=3)
        asked = [request(f"press-{number}") for number in range(8)]
        found = several(8, lambda n: sides[n % 2].enrol(text, asked[n], HERE))
        refused = [each for each in found if isinstance(each, EdgeloopError)]
        assert len(refused) == 5
        assert all("is used up" in str(each) for each in refused)
        assert len(sides[1].admitted()) == 3
        assert sides[1].tokens()[0].used == 3


@pytest.mark.parametrize("url", STORES, indirect=True)
def test_times_and_lists_are_as_they_were_written(tmp_path: Path, url: str) -> None:
    signers = keys.make(tmp_path / "keys", None, BEGUN)
    with closing(Database(url)) as database:
        authority = Authority(database, signers, now=lambda: BEGUN)
        first = authority.enrol(token(authority, "press-1"), request("press-1"), HERE)
        authority.revoke(Identity("presses", "press-1"), "ann")
    with closing(Database(url)) as database:
        authority = Authority(database, signers, now=lambda: BEGUN)
        (device,) = authority.admitted()
        assert (device.admitted, device.revoked) == (BEGUN, BEGUN)
        assert device.labels == {"site": "hall-3"}
        (entry,) = authority.revoked(DEVICES)
        assert entry.serial_number == first.certificate.serial_number
        assert {each.at for each in authority.audit(9)} == {BEGUN}


def test_a_database_of_a_newer_version(tmp_path: Path) -> None:
    file = tmp_path / "authority.sqlite"
    Database(f"sqlite:///{file}").close()
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("UPDATE authority_version SET version_num = '9999'")
        connection.commit()
    with pytest.raises(RunError, match="was written by a newer edgeloop; update edgeloop"):
        Database(f"sqlite:///{file}")


@pytest.mark.parametrize("url", ["junk", "sqlite://", "oracle://x", "postgresql+nothing://x"])
def test_what_is_no_url(url: str) -> None:
    with pytest.raises(ConfigError, match="store: ") as caught:
        Database(url)
    assert "secret" not in str(caught.value)


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    file = tmp_path / "authority.sqlite"
    file.write_bytes(b"junk" * 1000)
    with pytest.raises(RunError, match="is no database; restore a backup"):
        Database(f"sqlite:///{file}")
    with pytest.raises(RunError, match="cannot be opened"):
        Database(f"sqlite:///{tmp_path}/nowhere/x")


def test_refusals_fill_no_disk(tmp_path: Path) -> None:
    signers = keys.make(tmp_path / "keys", None, BEGUN)
    with closing(Database(f"sqlite:///{tmp_path / 'a.sqlite'}")) as database:
        authority = Authority(database, signers, now=lambda: BEGUN)
        asked = request("press-1")
        for _ in range(120):
            with pytest.raises(DeniedError):
                authority.enrol("elt-guessed", asked, HERE)
        assert len(authority.audit(1000)) == 100
        admission = Admission("presses", "press-1", life=timedelta(hours=1))
        ((_, text),) = authority.make_tokens([admission], "ann")
        authority.enrol(text, asked, HERE)
        assert authority.audit(1)[0].outcome == "done", "what is done is always there"


def test_a_key_that_a_crash_has_left_beside_an_older_certificate(tmp_path: Path) -> None:
    folder, place = tmp_path / "authority", tmp_path / "out"
    assert command.main(["init", "--folder", str(folder)]) == 0
    broker, press = Identity("", "broker"), Identity("presses", "press-1")
    with service.opened(folder) as (authority, settings):
        assert service.issue_if_due(authority, broker, (HERE,), settings, place)
        local_devices.admit_if_due(authority, press, place)
        assert not service.issue_if_due(authority, broker, (HERE,), settings, place)
        for name in ("broker", "device"):
            keys.write_key(place / f"{name}.key", new_key())
        assert service.issue_if_due(authority, broker, (HERE,), settings, place)
        local_devices.admit_if_due(authority, press, place)
        for name in ("broker", "device"):
            assert keys.fits(place / f"{name}.crt", place / f"{name}.key")
        authority.revoke(press, "ann")
        before = (place / "device.crt").read_bytes()
        (place / "device.key").unlink()
        local_devices.admit_if_due(authority, press, place)
        assert (place / "device.crt").read_bytes() == before, "who was revoked stays out"


def test_an_authority_whose_keys_are_encrypted(tmp_path: Path) -> None:
    secret, folder = tmp_path / "secret", tmp_path / "authority"
    words = ["init", "--folder", str(folder), "--passphrase-file", str(secret)]
    for content, problem in ((None, "cannot be read"), ("\n", "has an empty first line")):
        if content is not None:
            secret.write_text(content)
        with pytest.raises(ConfigError, match=f"--passphrase-file: .*{problem}"):
            command.main(words)
        assert not folder.exists()
    secret.write_text("a secret\n")
    assert command.main(words) == 0
    assert b"ENCRYPTED" in (folder / "services.key").read_bytes()
    with service.opened(folder) as (authority, _):
        assert not authority.admitted()
    secret.write_text("another\n")
    with pytest.raises(ConfigError, match="with another passphrase"), service.opened(folder):
        pass
