"""A served authority: what devices, operators and strangers get over HTTPS."""

# Over 320 lines: one running service answers all of it.

import json
import re
import shutil
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography import x509

from cloud.authority import command
from cloud.authority.identity import Identity
from cloud.authority.keys import DEVICES
from edge.agent import enrol_command, enrolment
from edge.agent.authority_client import AuthorityAwayError, AuthorityError, Place, ask, pinned
from edgeloop.errors import ConfigError, EdgeloopError, TakenError
from tests.cloud.authority.test_authority import request
from tests.enrolled import HOST, TASK, Site, site


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("site")
    with site(folder, tokens_file=str(_operators(folder))) as found:
        yield found


OPERATORS: dict[str, str] = {}
"""A token for each role."""


def _operators(folder: Path) -> Path:
    """Make a file of tokens, as the page says."""
    file = folder / "operators"
    with file.open("w", encoding="utf-8") as lines:
        lines.write("# who may ask\n\n")
        for role in ("viewer", "operator", "admin"):
            token, line = made(role)
            OPERATORS[role] = token
            lines.write(f"{line}\n")
    return file


def made(role: str) -> tuple[str, str]:
    from cloud.http.access import new_token

    token, digest = new_token()
    return token, f"{role} {role}-1 {digest}"


@pytest.fixture
def web(here: Site) -> Iterator[httpx.Client]:
    trusted = ssl.create_default_context(cafile=str(here.folder / "services.crt"))
    with httpx.Client(base_url=here.url, verify=trusted, trust_env=False) as client:
        yield client


def bearer(role: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {OPERATORS[role]}"}


def test_one_command_on_the_server_and_one_on_the_device(
    here: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--folder", str(here.folder), "--task", TASK, "--name", "cam-1"]
    assert command.main(["tokens", *words, "--label", "site=hall-3"]) == 0
    (token,) = capsys.readouterr().out.split()
    folder = tmp_path / "identity"
    words = ["--server", here.url, "--token", token, "--name", "cam-1"]
    words += ["--ca-fingerprint", f"sha256:{here.fingerprint}", "--folder", str(folder)]
    assert enrol_command.main(words) == 0
    assert f"cam-1 is admitted to {TASK}; its identity is in" in capsys.readouterr().out
    facts = enrolment.read(folder)
    assert (facts.task, facts.name, facts.labels) == (TASK, "cam-1", {"site": "hall-3"})
    assert folder.stat().st_mode & 0o077 == 0
    assert (folder / "device.key").stat().st_mode & 0o777 == 0o600
    with pytest.raises(TakenError, match="has a certificate already"):
        enrol_command.main(words)


def test_a_fleet_by_a_table(here: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table, out = tmp_path / "fleet.csv", tmp_path / "tokens.csv"
    table.write_text("name,task,site\nrow-1,presses,hall-1\nrow-2,,hall-2\n")
    words = ["--folder", str(here.folder), "--task", "ovens", "--csv", str(table)]
    assert command.main(["tokens", *words, "--out", str(out)]) == 0
    assert "2 tokens; each is a secret" in capsys.readouterr().out
    assert out.stat().st_mode & 0o777 == 0o600
    head, *lines = [line.split(",") for line in out.read_text().splitlines()]
    assert head == ["name", "task", "token", "site"]
    assert [[name, task, site] for name, task, _, site in lines] == [
        ["row-1", "presses", "hall-1"],
        ["row-2", "ovens", "hall-2"],
    ]
    signed = here.authority.enrol(lines[1][2], request("row-2"), HOST)
    assert signed.identity == Identity("ovens", "row-2")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("device\na\n", "has no column name"),
        ("name,site\na\n", "line 2: has not as many cells as the header"),
        ("name\na,b\n", "line 2: has not as many cells as the header"),
        ("name\na\nA\n", "has a of presses twice"),
        ("name\npress-*\n", "line 2: name: 'press-*' is a pattern"),
        ("name\naggregator\n", "line 2: name: aggregator is the name of a service"),
        ("name,site\na,b c\n", "line 2: labels: site=b c is none"),
        ("name,task\na,b/c\n", "line 2: task: 'b/c' is no task's name"),
    ],
)
def test_a_table_that_is_wrong_makes_no_token(
    here: Site, tmp_path: Path, text: str, problem: str
) -> None:
    table = tmp_path / "fleet.csv"
    table.write_text(text)
    before = len(here.authority.tokens())
    words = ["--folder", str(here.folder), "--task", TASK, "--csv", str(table)]
    with pytest.raises(ConfigError, match=re.escape(problem)):
        command.main(["tokens", *words, "--out", str(tmp_path / "out.csv")])
    assert len(here.authority.tokens()) == before


def test_an_authority_in_between(here: Site, tmp_path: Path) -> None:
    """It is found out before the token is sent."""
    token = here.token("cam-2")
    with site(tmp_path) as other:
        with pytest.raises(AuthorityError, match=r"shows another authority \(sha256:.*between"):
            pinned(Place.of(other.url), here.fingerprint)
        mine = (here.folder / "services.crt").read_text()
        with pytest.raises(AuthorityError, match="does not hold"):
            ask(Place.of(other.url), mine, "/v1/enrol", {"token": token, "request": "x"})
        assert [each.act for each in other.authority.audit(9)] == ["issue"], "its own"
    with pytest.raises(ConfigError, match="is no SHA-256"):
        pinned(Place.of(here.url), "ab:cd")


@pytest.mark.parametrize(
    "url", ["http://host:1", "https://", "host", "https://host/path", "https://host:x", "ftp://h"]
)
def test_what_is_no_authority(url: str) -> None:
    with pytest.raises(ConfigError, match=r"--server: .* is no URL"):
        Place.of(url)


def test_a_device_renews_with_what_it_has(here: Site) -> None:
    folder = here.enrol("cam-3")
    before, key = (folder / "device.crt").read_bytes(), (folder / "device.key").read_bytes()
    enrolment.renew(folder)
    after = (folder / "device.crt").read_bytes()
    assert after != before
    assert (folder / "device.key").read_bytes() == key
    here.authority.revoke(Identity(TASK, "cam-3"), "ann")
    with pytest.raises(AuthorityError, match="cam-3 of presses: was revoked; enrol again"):
        enrolment.renew(folder)
    assert (folder / "device.crt").read_bytes() == after


def test_nobody_renews_without_a_certificate(here: Site, web: httpx.Client) -> None:
    answer = web.post("/v1/renew", json={"request": request("cam-3").decode()})
    assert answer.status_code == 403
    assert answer.json()["problem"] == "is no device's"


def test_a_services_certificate_renews_no_device(here: Site) -> None:
    folder, device = here.issue("aggregator"), here.enrol("cam-4")
    shown = folder / "aggregator.crt", folder / "aggregator.key"
    mine = (device / "ca.crt").read_text()
    question = {"request": request("cam-4").decode()}
    with pytest.raises(AuthorityError, match="is no device's"):
        ask(Place.of(here.url), mine, "/v1/renew", question, shown)


PATHS = [
    ("GET", "/v1/devices", "viewer"),
    ("GET", "/v1/rights", "viewer"),
    ("GET", "/v1/audit", "admin"),
    ("POST", "/v1/tokens", "operator"),
    ("POST", "/v1/revoke", "operator"),
    ("GET", "/docs", "viewer"),
    ("GET", "/openapi.json", "viewer"),
    ("DELETE", "/v1/devices", "operator"),
    ("DELETE", "/v1/tokens/none", "operator"),
    ("GET", "/v1/enrol/", "viewer"),
    ("POST", "//v1/tokens", "operator"),
]


@pytest.mark.parametrize(("method", "path", "least"), PATHS)
def test_each_role_may_do_so_much(web: httpx.Client, method: str, path: str, least: str) -> None:
    roles = ["viewer", "operator", "admin"]
    assert web.request(method, path).status_code == 401
    wrong = {"Authorization": "Bearer elh-guessed"}
    assert web.request(method, path, headers=wrong).status_code == 401
    for role in roles:
        code = web.request(method, path, headers=bearer(role)).status_code
        assert (code == 403) == (roles.index(role) < roles.index(least)), (role, code)
        assert code != 401


def test_an_operator_acts_and_an_admin_sees_it(web: httpx.Client) -> None:
    asked = {"task": TASK, "names": "cam-5", "labels": {"site": "hall-1"}}
    answer = web.post("/v1/tokens", json=asked, headers=bearer("operator")).json()
    sent = {"token": answer["token"], "request": request("cam-5").decode()}
    assert web.post("/v1/enrol", json=sent).status_code == 200
    listed = web.get("/v1/devices", headers=bearer("viewer")).json()
    assert {"cam-5"} <= {each["name"] for each in listed}
    assert "user CN=cam-5,OU=presses" in web.get("/v1/rights", headers=bearer("viewer")).text
    gone = {"task": TASK, "name": "cam-5"}
    assert web.post("/v1/revoke", json=gone, headers=bearer("operator")).status_code == 200
    assert "cam-5" not in web.get("/v1/rights", headers=bearer("viewer")).text
    found = x509.load_pem_x509_crl(web.get(f"/v1/revoked/{DEVICES}").content)
    assert len(list(found)) >= 1
    acts = web.get("/v1/audit", headers=bearer("admin")).json()
    assert acts[0]["actor"] == f"operator-1 at {HOST}"
    assert (acts[0]["act"], acts[0]["subject"]) == ("revoke", "cam-5 of presses")
    assert answer["token"] not in json.dumps(acts)


def test_a_token_is_taken_back(here: Site, web: httpx.Client) -> None:
    asked = {"task": TASK, "names": "cam-9"}
    made = web.post("/v1/tokens", json=asked, headers=bearer("operator")).json()
    place = f"/v1/tokens/{made['id']}"
    assert web.delete(place, headers=bearer("operator")).json() == {"revoked": True}
    (found,) = [each for each in here.authority.tokens() if each.id == made["id"]]
    assert found.revoked is not None
    again = web.delete("/v1/tokens/none", headers=bearer("operator"))
    assert (again.status_code, again.json()["problem"]) == (400, "no token has the id none")


def test_a_token_is_made_from_elsewhere(
    here: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = ["--server", here.url, "--ca-file", str(here.folder / "services.crt")]
    asked = ["tokens", *place, "--task", TASK, "--name", "cam-8", "--label", "site=1"]
    shown = {each: tmp_path / each for each in ("operator", "viewer", "out")}
    for role in ("operator", "viewer"):
        shown[role].write_text(bearer(role)["Authorization"].partition(" ")[2])
    with pytest.raises(ConfigError, match="needs --ca-file and --token-file"):
        command.main(["tokens", "--server", here.url])
    with pytest.raises(ConfigError, match="answers 403"):
        command.main([*asked, "--token-file", str(shown["viewer"])])
    with pytest.raises(ConfigError, match="answers 400: name 'a b' is no name"):
        command.main([*asked, "--name", "a b", "--token-file", str(shown["operator"])])
    words = [*asked, "--token-file", str(shown["operator"]), "--out", str(shown["out"])]
    assert command.main(words) == 0
    assert shown["out"].stat().st_mode & 0o777 == 0o600
    signed = here.authority.enrol(shown["out"].read_text().strip(), request("cam-8"), HOST)
    assert (signed.identity, signed.labels) == (Identity(TASK, "cam-8"), {"site": "1"})


def test_a_service_may_look(here: Site) -> None:
    folder = here.issue("operator", task="")
    context = ssl.create_default_context(cafile=str(here.folder / "services.crt"))
    context.load_cert_chain(folder / "operator.crt", folder / "operator.key")
    with httpx.Client(base_url=here.url, verify=context, trust_env=False) as client:
        assert client.get("/v1/devices").status_code == 200
        assert client.post("/v1/revoke", json={}).status_code == 403
        here.authority.revoke_service(Identity("", "operator"), "ann")
        assert client.get("/v1/devices").status_code == 401, "at once"
    device = here.enrol("cam-6")
    context = ssl.create_default_context(cafile=str(here.folder / "services.crt"))
    context.load_cert_chain(device / "device.crt", device / "device.key")
    with httpx.Client(base_url=here.url, verify=context, trust_env=False) as client:
        assert client.get("/v1/devices").status_code == 401, "a device is nobody here"


def test_strangers(here: Site, web: httpx.Client) -> None:
    assert web.get("/healthz", headers={"Host": "10.0.0.9"}).status_code == 200
    assert web.get("/readyz").json() == {"ready": True}
    for host in ("evil.example", "", f"{HOST}.evil.example"):
        code = web.get("/v1/devices", headers={"Host": host, **bearer("admin")}).status_code
        assert code == 400, "a page elsewhere that leads to this address"
    assert web.post("/v1/enrol", content=b"x" * 70_000).status_code == 413
    chunks = (b"x" * 1000 for _ in range(100))
    assert web.post("/v1/enrol", content=chunks).status_code == 413
    for junk in (b"", b"{", b"[]", b'{"token": 1}', b"[" * 60_000, b'{"token":"\\ud800"}'):
        kind = {"Content-Type": "application/json"}
        assert web.post("/v1/enrol", content=junk, headers=kind).status_code in (400, 422)
    long = {"Authorization": "Bearer " + "x" * 5000}
    assert web.get("/v1/devices", headers=long).status_code == 401
    assert "server" not in web.get("/healthz").headers


def test_a_file_of_tokens_that_changes(here: Site, web: httpx.Client) -> None:
    file = here.folder.parent / "operators"
    token, line = made("viewer")
    before = file.read_text()
    file.write_text(f"{before}{line}\n")
    mine = {"Authorization": f"Bearer {token}"}
    assert web.get("/v1/devices", headers=mine).status_code == 200
    file.write_text("junk\n")
    assert web.get("/v1/devices", headers=mine).status_code == 200, "those of before hold"
    file.write_text(before)
    assert web.get("/v1/devices", headers=mine).status_code == 401


def test_what_the_authority_sends_is_checked(here: Site, tmp_path: Path) -> None:
    folder, other = here.enrol("cam-7"), here.enrol("cam-8")
    shutil.copy(other / "device.crt", folder / "device.crt")
    with pytest.raises(ConfigError, match="cannot be used"):
        enrolment.renew(folder)
    with pytest.raises(ConfigError, match="has no identity of a device"):
        enrolment.read(tmp_path)


def test_an_authority_that_is_away(here: Site, tmp_path: Path) -> None:
    folder = here.enrol("cam-9")
    facts: dict[str, Any] = json.loads((folder / "identity.json").read_text())
    facts["server"] = "https://127.0.0.1:9"
    (folder / "identity.json").write_text(json.dumps(facts))
    with pytest.raises(AuthorityAwayError, match="does not answer"):
        enrolment.renew(folder)


def test_commands_that_show(here: Site, capsys: pytest.CaptureFixture[str]) -> None:
    folder = ["--folder", str(here.folder)]
    here.enrol("cam-10")
    capsys.readouterr()
    assert command.main(["revoke", "cam-10", "--task", TASK, *folder]) == 0
    assert "cam-10 of presses is revoked" in capsys.readouterr().out
    assert command.main(["devices", "--json", *folder]) == 0
    found = {each["name"]: each for each in json.loads(capsys.readouterr().out)}
    assert found["cam-10"]["revoked"]
    assert command.main(["audit", "--json", *folder]) == 0
    assert json.loads(capsys.readouterr().out)[-1]["act"] == "revoke"
    assert command.main(["crl", *folder]) == 0
    assert x509.load_pem_x509_crl(capsys.readouterr().out.encode()) is not None
    assert command.main(["tokens", "--list", *folder]) == 0
    assert "used up" in capsys.readouterr().out
    assert command.main(["http-token", "grafana", "--role", "viewer"]) == 0
    assert re.search(r"^line:  viewer grafana sha256:[0-9a-f]{64}$", capsys.readouterr().out, re.M)


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["tokens", "--name", "a"], "--task: is missing"),
        (["tokens", "--task", "t"], "--name: is missing"),
        (["tokens", "--task", "t", "--name", "a", "--uses", "2"], "uses: is more than one"),
        (["tokens", "--task", "t", "--name", "a", "--hours", "0"], "--hours: is 0"),
        (["tokens", "--task", "t", "--name", "a", "--label", "a b"], "labels: a b= is none"),
        (["tokens", "--csv", "x"], "--out: is missing"),
        (["tokens", "--revoke", "x"], "no token has the id x"),
        (["revoke", "ghost", "--task", "t"], "ghost of t was never admitted"),
        (["revoke", "ghost"], "--task: is missing"),
        (["revoke", "broker", "--service"], "broker has no certificate that holds"),
        (["issue", "broker", "--out", "x"], "--host: is missing"),
        (["issue", "press-1", "--out", "x"], "press-1 is no service; choose one of"),
    ],
)
def test_commands_that_are_wrong(here: Site, words: list[str], problem: str) -> None:
    with pytest.raises(EdgeloopError, match=re.escape(problem)):
        command.main([*words, "--folder", str(here.folder)])


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["--name", "aggregator"], "--name: name: a device may not be called aggregator"),
        (["--name", "a b"], "--name: name: 'a b'"),
        (["--name", "a", "--token", "t"], "--token: is one of two; give --token or --token-file"),
        (["--name", "a", "--ca-fingerprint", "x"], "--ca-fingerprint: is one of two: without"),
        (["--name", "a", "--server", "http://x"], "--server: 'http://x' is no URL"),
        (["--name", "a"], "the authority's certificate: cannot be used"),
    ],
)
def test_a_device_that_is_told_wrong_things(
    here: Site, tmp_path: Path, words: list[str], problem: str
) -> None:
    (tmp_path / "junk").write_text("junk")
    common = ["--token-file", str(tmp_path / "junk"), "--ca-file", str(tmp_path / "junk")]
    if "--server" not in words:
        common += ["--server", here.url]
    with pytest.raises(ConfigError, match=re.escape(problem)):
        enrol_command.main([*common, *words, "--folder", str(tmp_path / "identity")])
    assert not (tmp_path / "identity" / "device.crt").exists()
