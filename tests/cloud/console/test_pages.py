"""The pages over HTTP: who may sign in and act, by a form of this server's only."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from cloud.aggregator.waiting import DeviceStatus
from cloud.console.sessions import LIFE_SECONDS, Sessions
from cloud.http.access import Tokens, new_token
from tests.cloud.console.serving import Running, console_of, status


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    with console_of(tmp_path, lambda: status("doors")) as found:
        found.wait("/api/v1/tasks", lambda page: bool(page["items"]))
        yield found


@contextmanager
def signed_in(running: Running, role: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=running.url, follow_redirects=True, timeout=30) as client:
        answer = client.post("/login", data={"token": running.tokens[role]})
        assert answer.status_code == 200
        assert "Fleet" in answer.text
        yield client


def test_who_has_not_signed_in_is_sent_to_do_so(running: Running) -> None:
    for path in ("/", "/tasks/doors", "/refusals", "/audit"):
        answer = httpx.get(running.url + path)
        assert (answer.status_code, answer.headers["location"]) == (303, "/login")
    assert httpx.post(f"{running.url}/login", data={"token": "elh-wrong"}).status_code == 401
    assert httpx.post(f"{running.url}/tasks/doors/pause").status_code == 401


@pytest.mark.parametrize("path", ["/", "/tasks/doors", "/tasks/doors/devices/press-1", "/refusals"])
def test_pages_load_nothing_from_elsewhere(running: Running, path: str) -> None:
    with signed_in(running, "viewer") as client:
        answer = client.get(path)
        assert answer.status_code == 200
        assert answer.headers["content-security-policy"].startswith("default-src 'self'")
        for link in re.findall(r'(?:src|href)="([^"]*)"', answer.text):
            assert link.startswith(("/", "#", "?")), link
            if link.startswith("/static/"):
                assert client.get(link).status_code == 200


def test_a_viewer_sees_no_act_and_may_not_do_it(running: Running) -> None:
    with signed_in(running, "viewer") as client:
        assert "Evict" not in client.get("/tasks/doors/devices/press-1").text
        assert client.get("/audit").status_code == 403
        assert client.post("/tasks/doors/pause").status_code == 403


@pytest.mark.parametrize("key", ["", "wrong", "\xe9"])
def test_a_form_of_another_site_does_nothing(running: Running, key: str) -> None:
    with signed_in(running, "operator") as client:
        answer = client.post("/tasks/doors/pause", data={"form_key": key})
        assert answer.status_code == 403
        answer = client.post("/api/v1/tasks/doors/pause")
        assert answer.status_code == 401
    with signed_in(running, "admin") as client:
        assert ">pause<" not in client.get("/audit").text


def test_who_signs_out_is_out(running: Running) -> None:
    with signed_in(running, "viewer") as client:
        key = client.cookies["edgeloop_session"]
        client.post("/logout")
        client.cookies.set("edgeloop_session", key)
        assert "Sign in" in client.get("/").text


def test_a_token_that_is_taken_back_ends_its_sessions(running: Running, tmp_path: Path) -> None:
    with signed_in(running, "viewer") as client:
        (tmp_path / "tokens").write_text("# nobody\n")
        assert client.get("/").status_code == 401


def test_what_devices_say_is_text(tmp_path: Path) -> None:
    said = status("doors").model_copy(
        update={
            "devices": (
                DeviceStatus(name="press-1", state="refused", reason="<script>alert(1)</script>"),
            )
        }
    )
    with console_of(tmp_path, lambda: said) as running:
        running.wait("/api/v1/devices", lambda page: bool(page["items"]))
        with signed_in(running, "viewer") as client:
            assert "<script>alert" not in client.get("/tasks/doors").text
            assert "&lt;script&gt;alert" in client.get("/tasks/doors").text


def test_a_session_ends_after_its_time(tmp_path: Path) -> None:
    text, digest = new_token()
    (tmp_path / "tokens").write_text(f"viewer me {digest}")
    now = [0.0]
    sessions = Sessions(Tokens(tmp_path / "tokens"), lambda: now[0])
    key = sessions.begin(text)
    assert key is not None
    now[0] = LIFE_SECONDS - 1
    assert sessions.find(key) is not None
    now[0] = LIFE_SECONDS
    assert sessions.find(key) is None
