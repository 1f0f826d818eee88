"""Rights as files, for Mosquitto and EMQX, here and on another machine."""

import ssl
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from cryptography import x509

from cloud.authority import broker_command, command, publishing
from cloud.authority.identity import Identity
from cloud.authority.rights import emqx_rules, mosquitto_acl
from cloud.http.access import new_token
from edgeloop.errors import ConfigError, EdgeloopError
from tests.enrolled import HOST, TASK, Site, site

PRESS, AGGREGATOR = Identity("presses", "press-1"), Identity("presses", "aggregator")


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("site")
    token, line = new_token()
    (folder / "viewer").write_text(f"{token}\n")
    (folder / "operators").write_text(f"viewer broker {line}\n")
    with site(folder, tokens_file=str(folder / "operators")) as found:
        yield found


def test_who_has_no_part_is_not_in_it() -> None:
    others = [Identity("", "broker"), Identity("", "authority")]
    written = mosquitto_acl([PRESS], [AGGREGATOR, *others], "plant-3/")
    assert written.splitlines() == [
        "# Written by edgeloop; changes are lost.",
        "user CN=aggregator,OU=presses",
        "topic readwrite plant-3/edgeloop/v1/presses/#",
        "user CN=press-1,OU=presses",
        "topic read plant-3/edgeloop/v1/presses/predict/press-1",
        "topic write plant-3/edgeloop/v1/presses/predicted/press-1/#",
        "topic read plant-3/edgeloop/v1/presses/predicted/press-1/server",
        "topic read plant-3/edgeloop/v1/presses/contract",
        "topic read plant-3/edgeloop/v1/presses/round",
        "topic read plant-3/edgeloop/v1/presses/broadcast/#",
        "topic read plant-3/edgeloop/v1/presses/receipt/press-1",
        "topic read plant-3/edgeloop/v1/presses/desired/press-1/+",
        "topic read plant-3/edgeloop/v1/presses/shipped/#",
        "topic write plant-3/edgeloop/v1/presses/applied/press-1/+",
        "topic write plant-3/edgeloop/v1/presses/upload/press-1",
        "topic readwrite plant-3/edgeloop/v1/presses/presence/press-1",
    ]
    assert mosquitto_acl([], [Identity("", "operator")]).endswith("readwrite edgeloop/v1/#\n")


def test_users_that_others_know() -> None:
    written = mosquitto_acl([], [], "plant-3/", ("bridge", "aggregator"))
    assert written.splitlines()[1:] == [
        "user aggregator",
        "topic readwrite plant-3/edgeloop/v1/#",
        "user bridge",
        "topic readwrite plant-3/edgeloop/v1/#",
    ]


def test_emqx_says_the_same() -> None:
    rules = emqx_rules([PRESS], [AGGREGATOR]).splitlines()
    assert rules[1] == (
        '{allow, {user, "CN=aggregator,OU=presses"}, all, ["edgeloop/v1/presses/#"]}.'
    )
    assert rules[-2] == (
        '{allow, {user, "CN=press-1,OU=presses"}, all, ["edgeloop/v1/presses/presence/press-1"]}.'
    )
    assert rules[-1] == "{deny, all}."
    assert sum("subscribe, [" in rule for rule in rules) == 8


def test_the_command_prints_them(here: Site, capsys: pytest.CaptureFixture[str]) -> None:
    here.enrol("cam-1")
    capsys.readouterr()
    words = ["acl", "--authority", str(here.folder)]
    assert broker_command.main(words) == 0
    assert "user CN=cam-1,OU=presses\n" in capsys.readouterr().out
    assert broker_command.main([*words, "--format", "emqx"]) == 0
    assert '{allow, {user, "CN=cam-1,OU=presses"}, publish, ' in capsys.readouterr().out


def test_a_broker_on_another_machine_hears_of_it(here: Site, tmp_path: Path) -> None:
    out = tmp_path / "broker"
    words = ["broker", "--host", HOST, "--folder", str(here.folder), "--out", str(out)]
    assert command.main(["issue", *words]) == 0
    token = (here.folder.parent / "viewer").read_text().strip()

    def fetched() -> bool:
        return broker_command.fetch_changes(here.url, out, token)

    fetched()
    assert not fetched(), "nothing has changed"
    here.enrol("cam-2")
    assert fetched()
    assert "user CN=cam-2,OU=presses" in (out / "rights.acl").read_text()
    here.authority.revoke(Identity(TASK, "cam-2"), "ann")
    while "cam-2" in (out / "rights.acl").read_text() or not revoked(out):
        fetched()  # the list has whole seconds
    with pytest.raises(ConfigError, match="answers 401 to /v1/rights; check --token-file"):
        broker_command.fetch_changes(here.url, out, "elh-guessed")
    with pytest.raises(EdgeloopError, match="does not answer"):
        broker_command.fetch_changes("https://127.0.0.1:9", out, token)
    with pytest.raises(ConfigError, match="is no URL of HTTPS"):
        broker_command.fetch_changes("http://127.0.0.1:9", out, token)


def test_a_broker_that_has_no_files_yet(here: Site, tmp_path: Path) -> None:
    """As in a cluster: it knows the authority of services, and has a token."""
    folder, token = tmp_path / "broker", here.folder.parent / "viewer"
    folder.mkdir()
    words = ["sync", "--server", here.url, "--folder", str(folder), "--token-file", str(token)]
    trusted = str(here.folder / "services.crt")
    assert broker_command.main([*words, "--ca-file", trusted, "--once"]) == 0
    names = {
        "rights.acl",
        *(f"{n}.{end}" for n in ("devices", "services") for end in ("crt", "crl")),
    }
    assert {each.name for each in folder.iterdir()} == names
    for name in ("devices.crt", "services.crt"):
        assert x509.load_pem_x509_certificate((folder / name).read_bytes()) == (
            x509.load_pem_x509_certificate((here.folder / name).read_bytes())
        )
    other = here.folder / "devices.crt"
    with pytest.raises(EdgeloopError, match="does not answer"):
        broker_command.fetch_authorities(here.url, folder, other)


def revoked(folder: Path) -> bool:
    return len(list(x509.load_pem_x509_crl((folder / "devices.crl").read_bytes()))) == 1


def test_a_broker_without_its_files(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"broker.crt: is not there; edgeloop ca issue broker"):
        broker_command.main(["config", "--folder", str(tmp_path)])


def test_a_broker_that_is_not_there_is_not_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for content in (None, "", "junk", "999999999"):
        file = tmp_path / "pid"
        if content is not None:
            file.write_text(content)
        publishing.reload_broker(file)
    assert caplog.text.count("names no broker that can be told to read its files again") == 4


def test_the_certificates_are_for_tls(here: Site) -> None:
    """A device's is no server's, to a library that looks."""
    folder = here.enrol("cam-3")
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(folder / "device.crt", folder / "device.key")
    client = ssl.create_default_context(cafile=str(here.folder / "devices.crt"))
    client.check_hostname = False
    incoming, outgoing = (ssl.MemoryBIO(), ssl.MemoryBIO())
    sides = (
        client.wrap_bio(incoming, outgoing),
        server.wrap_bio(outgoing, incoming, server_side=True),
    )
    with pytest.raises(ssl.SSLCertVerificationError, match=r"unsuitable|unsupported"):
        shake_hands(*sides * 4)


def shake_hands(*turns: ssl.SSLObject) -> None:
    for side in turns:
        with suppress(ssl.SSLWantReadError):  # it waits for the other side
            side.do_handshake()


def test_a_folder_that_knows_no_authority(tmp_path: Path) -> None:
    words = ["--server", "https://x:1", "--folder", str(tmp_path), "--token-file", "x"]
    with pytest.raises(ConfigError, match=r"services.crt: cannot be used .*; copy the folder here"):
        broker_command.main(["sync", *words])
