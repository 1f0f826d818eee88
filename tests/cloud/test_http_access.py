"""Who may ask an aggregator over HTTP: by a token, by a certificate, and by which host."""

import os
import socket
import ssl
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from cloud.aggregator import http
from cloud.aggregator.metrics import Metrics
from cloud.aggregator.settings import HttpSettings
from cloud.http import server
from cloud.http.access import Tokens, new_token
from edgeloop.errors import ConfigError
from edgeloop.runtime.config import parse
from tests.authority import Authority
from tests.cloud.test_http import STATUS

SHUT = ["/status", "/metrics", "/", "/docs", "/healthz/", "//healthz", "/readyz/../status"]
OPEN = ["/healthz", "/readyz"]


@contextmanager
def served(verify: Any = True, **settings: Any) -> Iterator[httpx.Client]:
    started = http.serve(http.app(lambda: STATUS, Metrics()), HttpSettings(port=0, **settings))
    started.start()
    scheme = "https" if "certificate_file" in settings else "http"
    base = f"{scheme}://127.0.0.1:{started.port}"
    try:
        with httpx.Client(base_url=base, trust_env=False, verify=verify) as client:
            yield client
    finally:
        started.stop()


@pytest.fixture
def tokens(tmp_path: Path) -> tuple[Path, str]:
    token, digest = new_token()
    file = tmp_path / "tokens"
    file.write_text(f"viewer grafana {digest}\n")
    return file, token


def test_with_tokens_all_but_health_is_shut(
    tokens: tuple[Path, str], caplog: pytest.LogCaptureFixture
) -> None:
    file, token = tokens
    mine = {"Authorization": f"Bearer {token}"}
    with served(tokens_file=file) as pages:
        for path in SHUT:
            assert pages.get(path).status_code == 401, path
            assert pages.get(path, headers={"Authorization": f"Basic {token}"}).status_code == 401
        for path in OPEN:
            assert pages.get(path).status_code == 200
        assert pages.get("/status", headers=mine).json()["task"] == "cats"
        assert pages.get("/metrics", headers=mine).status_code == 200
    assert (
        "refused GET /status of - at 127.0.0.1: a token is needed, whose role is viewer or above"
        in caplog.text
    )
    assert token not in caplog.text


def test_without_tokens_it_is_as_it_was() -> None:
    with served() as pages:
        assert pages.get("/status").status_code == 200


def test_hosts_that_a_request_may_be_addressed_to() -> None:
    with served(allowed_hosts=("aggregator.example",)) as pages:
        for host, code in (
            ("aggregator.example", 200),
            ("Aggregator.Example:9464", 200),
            ("127.0.0.1:1", 200),
            ("[::1]:9464", 200),
            ("evil.example", 400),
            ("", 400),
        ):
            found = pages.get("/status", headers={"Host": host}).status_code
            assert found == code, host
            assert pages.get("/healthz", headers={"Host": host}).status_code == 200


def test_a_certificate_does_for_a_token(tmp_path: Path) -> None:
    authority, other = Authority(tmp_path / "one"), Authority(tmp_path / "other")
    certificate, key = authority.sign("aggregator", "127.0.0.1")
    files = {"certificate_file": certificate, "key_file": key}
    plain = ssl.create_default_context(cafile=str(authority.file))
    with served(plain, **files, client_ca_file=authority.file) as pages:
        assert pages.get("/healthz").status_code == 200
        assert pages.get("/status").status_code == 401
        shown = ssl.create_default_context(cafile=str(authority.file))
        shown.load_cert_chain(*authority.sign("prometheus"))
        with httpx.Client(base_url=pages.base_url, verify=shown, trust_env=False) as mine:
            assert mine.get("/status").status_code == 200
        foreign = ssl.create_default_context(cafile=str(authority.file))
        foreign.load_cert_chain(*other.sign("prometheus"))
        with (
            httpx.Client(base_url=pages.base_url, verify=foreign, trust_env=False) as theirs,
            pytest.raises(httpx.TransportError),
        ):
            theirs.get("/status")


@pytest.mark.parametrize(
    ("table", "problem"),
    [
        ({"certificate_file": "a"}, "certificate_file and key_file go together"),
        ({"client_ca_file": "a"}, "client_ca_file needs certificate_file"),
    ],
)
def test_files_that_belong_together(table: dict[str, str], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        parse(table, HttpSettings, "task.toml: http")


@pytest.mark.parametrize("text", ["junk", "root me sha256:" + "0" * 64, "viewer me sha256:00"])
def test_a_file_of_tokens_that_is_none(tmp_path: Path, text: str) -> None:
    file = tmp_path / "tokens"
    file.write_text(f"# mine\n{text}\n")
    with pytest.raises(ConfigError, match="tokens: line 2: is no token; write it as edgeloop ca"):
        http.serve(http.app(lambda: STATUS, Metrics()), HttpSettings(tokens_file=file))
    with pytest.raises(ConfigError, match="cannot be read"):
        http.serve(http.app(lambda: STATUS, Metrics()), HttpSettings(tokens_file=tmp_path / "x"))


def test_who_never_speaks_tls_is_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before that a connection counts nowhere, and would be held for a minute."""
    monkeypatch.setattr(server, "HANDSHAKE_SECONDS", 3.0)
    authority = Authority(tmp_path / "one")
    certificate, key = authority.sign("aggregator", "127.0.0.1")
    trusted = ssl.create_default_context(cafile=str(authority.file))
    with served(trusted, certificate_file=certificate, key_file=key) as pages, ExitStack() as stack:
        place = "127.0.0.1", pages.base_url.port
        silent = [
            stack.enter_context(socket.create_connection(place, timeout=20)) for _ in range(200)
        ]
        assert pages.get("/healthz").status_code == 200
        assert all(each.recv(1) == b"" for each in silent)


def test_a_file_that_is_changed_within_the_clocks_tick_is_read_again(tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    (first, known), (second, also) = new_token(), new_token()
    file.write_text(f"viewer one {known}\n")
    times = file.stat().st_atime_ns, file.stat().st_mtime_ns
    tokens = Tokens(file)
    assert tokens.whose(first).name == "one"
    file.write_text(f"viewer one {known}\nviewer two {also}\n")
    os.utime(file, ns=times)
    assert tokens.whose(second).name == "two"
