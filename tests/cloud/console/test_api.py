"""The server's API over HTTP: what aggregators say, by roles, in parts; problems in words."""

from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import islice
from pathlib import Path

import httpx
import pytest

from cloud.console.live import MOST_OF_CALLER
from cloud.http.connections import MAX_CONNECTIONS
from tests.cloud.console.serving import Running, console, console_of, status

API = "/api/v1"


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    with console_of(tmp_path, lambda: status("doors"), lambda: status("press")) as found:
        found.wait(f"{API}/tasks", lambda page: len(page["items"]) == 2)
        yield found


def test_what_an_aggregator_says_is_known(running: Running) -> None:
    task = running.ask(f"{API}/tasks/doors").json()
    known = {key: task[key] for key in ("state", "round", "rounds", "accuracy", "devices")}
    assert known == {"state": "Running", "round": 3, "rounds": 20, "accuracy": 0.5, "devices": 4}
    (run,) = running.ask(f"{API}/tasks/doors/runs").json()["items"]
    rounds = running.ask(f"{API}/runs/{run['run']}/rounds").json()["items"]
    assert [each["number"] for each in rounds] == [0, 1, 2]
    spread = [rounds[2][key] for key in ("low", "median", "high")]
    assert spread == pytest.approx([0.0, 0.2, 0.3])
    assert rounds[1]["median"] is None
    device = running.ask(f"{API}/tasks/doors/devices/press-2").json()
    assert (device["state"], device["accuracy"]) == ("training", pytest.approx(0.2))


def test_a_list_comes_in_parts_and_each_once(running: Running) -> None:
    found, after = [], ""
    while True:
        page = running.ask(f"{API}/devices?limit=3{after}").json()
        found += [(each["task"], each["name"]) for each in page["items"]]
        if page["next"] is None:
            break
        after = f"&after={page['next']}"
    names = [f"press-{n}" for n in range(4)]
    assert found == [(task, name) for task in ("doors", "press") for name in names]


@pytest.mark.parametrize(
    "after",
    ["x", "%FF", "W10", "WyJhIl0", "WyJhIiwxXQ", "W251bGwsbnVsbF0", "e30", "WyJhXHUwMDAwIiwiYiJd"],
)
def test_a_cursor_that_no_list_gave_is_refused(running: Running, after: str) -> None:
    answer = running.ask(f"{API}/devices?after={after}")
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    ("role", "path", "method", "code"),
    [
        ("", "/tasks", "GET", 401),
        ("viewer", "/tasks/doors/pause", "POST", 403),
        ("viewer", "/tasks/doors/devices/press-1/evict", "POST", 403),
        ("viewer", "/audit", "GET", 403),
        ("operator", "/audit", "GET", 403),
        ("viewer", "/tasks/windows", "GET", 404),
        ("viewer", "/tasks/windows/runs", "GET", 404),
        ("viewer", "/nothing", "GET", 404),
        ("operator", "/tasks/windows/pause", "POST", 404),
        ("operator", "/tasks/doors/devices/nobody/evict", "POST", 404),
        ("operator", "/tasks/doors/pause", "POST", 409),
        ("operator", "/tasks/doors", "DELETE", 405),
        ("viewer", "/tasks?limit=0", "GET", 422),
        ("viewer", "/tasks?limit=1001", "GET", 422),
    ],
)
def test_what_is_refused_says_why(
    running: Running, role: str, path: str, method: str, code: int
) -> None:
    answer = running.ask(API + path, role, method)
    assert answer.status_code == code
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["status"] == code
    assert problem["title"]
    assert problem["detail"]
    if path == "/nothing":
        assert (problem["detail"], bool(problem["remedy"])) == ("is no path of this server", True)


@pytest.mark.parametrize(
    ("state", "remedy"), [("trainign", "did you mean training"), ("x", "choose one of waiting, ")]
)
def test_a_state_that_there_is_none_of_is_refused(
    running: Running, state: str, remedy: str
) -> None:
    answer = running.ask(f"{API}/devices?state={state}")
    assert answer.status_code == 422
    told = answer.json()
    assert (told["field"], told["detail"]) == ("state", f"there is no '{state}'")
    assert told["remedy"].startswith(remedy)
    for known, count in (("training", 8), ("offline", 0)):
        assert len(running.ask(f"{API}/devices?state={known}").json()["items"]) == count


def test_acts_and_refusals_are_written_down(running: Running) -> None:
    running.ask(f"{API}/tasks/doors/pause", "operator", "POST")
    running.ask(f"{API}/tasks/press/cancel", "viewer", "POST")
    entries = running.ask(f"{API}/audit", "admin").json()["items"]
    acts = [(each["act"], each["subject"], each["outcome"]) for each in entries]
    assert ("pause", "doors", "refused") in acts
    assert ("http 403", f"POST {API}/tasks/press/cancel", "refused") in acts
    assert any(each["actor"].startswith("some-operator at ") for each in entries)


def test_events_say_whose_round_has_closed(tmp_path: Path) -> None:
    stands = [status("doors", 1)]
    with console_of(tmp_path, lambda: stands[0]) as running:
        running.wait(f"{API}/tasks", lambda page: bool(page["items"]))
        headers = {"authorization": f"Bearer {running.tokens['viewer']}"}
        url = f"{running.url}{API}/events"
        with httpx.stream("GET", url, headers=headers, timeout=30) as answer:
            lines = answer.iter_lines()
            assert next(lines) == "retry: 1000"
            stands[0] = status("doors", 2)
            assert 'data: ["doors"]' in lines
    assert stands[0].round == 2


def test_who_comes_back_hears_what_has_changed_meanwhile(tmp_path: Path) -> None:
    stands = [status("doors", 1)]
    with console_of(tmp_path, lambda: stands[0]) as running:
        running.wait(f"{API}/tasks", lambda page: bool(page["items"]))
        url = f"{running.url}{API}/events"
        headers = {"authorization": f"Bearer {running.tokens['viewer']}"}
        with httpx.stream("GET", url, headers=headers, timeout=30) as answer:
            (last,) = [each for each in islice(answer.iter_lines(), 2) if each.startswith("id: ")]
        stands[0] = status("doors", 2)
        running.wait(f"{API}/tasks/doors", lambda task: task["round"] == 2)
        for known in (last.removeprefix("id: "), "999999", "no number"):
            headers["last-event-id"] = known
            with httpx.stream("GET", url, headers=headers, timeout=5) as answer:
                assert 'data: ["doors"]' in answer.iter_lines(), known


def test_whoever_listens_often_keeps_nobody_out(tmp_path: Path) -> None:
    """A viewer with as many streams as a service has connections, and others while they last."""
    with console_of(tmp_path, lambda: status("doors")) as running, ExitStack() as stack:
        running.wait(f"{API}/tasks", lambda page: bool(page["items"]))
        codes, parts = Counter[int](), list[Iterator[bytes]]()
        limits = httpx.Limits(max_connections=None)
        client = stack.enter_context(httpx.Client(timeout=30, limits=limits))
        for _ in range(MAX_CONNECTIONS + 5):
            headers = {"authorization": f"Bearer {running.tokens['viewer']}"}
            url = f"{running.url}{API}/events"
            answer = stack.enter_context(client.stream("GET", url, headers=headers))
            codes[answer.status_code] += 1
            if answer.status_code == 200:
                parts.append(answer.iter_raw())  # without it the stream is closed
                next(parts[-1])
            else:
                assert answer.read()
                assert answer.json()["remedy"] == "close some; each ends after a minute"
        assert codes == {200: MOST_OF_CALLER, 503: MAX_CONNECTIONS + 5 - MOST_OF_CALLER}
        assert running.ask(f"{API}/tasks", "operator").status_code == 200
        headers = {"authorization": f"Bearer {running.tokens['operator']}"}
        with client.stream("GET", f"{running.url}{API}/events", headers=headers) as other:
            assert other.status_code == 200


def test_what_was_known_is_there_after_a_restart(tmp_path: Path) -> None:
    with console_of(tmp_path, lambda: status("doors")) as running:
        running.wait(f"{API}/tasks", lambda page: bool(page["items"]))
    followed = [{"name": "windows", "url": "http://127.0.0.1:9"}]
    with console(tmp_path, aggregators=followed) as running:
        task = running.ask(f"{API}/tasks/doors").json()
        assert (task["round"], task["devices"]) == (3, 4)
        answer = running.ask(f"{API}/tasks/doors/pause", "operator", "POST")
        assert answer.status_code == 503
