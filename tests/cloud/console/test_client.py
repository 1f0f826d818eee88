"""`edgeloop.connect` and the commands on it: all that the API tells, and errors in words."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

import edgeloop
from edgeloop.errors import EdgeloopError, InputError, UnavailableError
from edgeloop.remote import command
from edgeloop.remote.client import Console, ForbiddenByRoleError
from tests.cloud.console.serving import Running, console_of, status


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    finished = status("press", 20, "finished", 700)
    with console_of(tmp_path, lambda: status("doors"), lambda: finished) as found:
        found.wait("/api/v1/tasks", lambda page: len(page["items"]) == 2)
        yield found


def client(running: Running, role: str = "viewer") -> Console:
    return edgeloop.connect(running.url, token=running.tokens[role])


def test_all_that_is_known_is_there_in_types(running: Running) -> None:
    with client(running) as found:
        assert [each.name for each in found.tasks()] == ["doors", "press"]
        assert found.task("press").state == "Finished"
        assert len(list(found.devices())) == 704
        assert [each.task for each in found.devices("doors", "training")] == ["doors"] * 4
        (run,) = found.runs("press")
        assert run.finished is not None
        assert [each.number for each in found.rounds(run.run)] == list(range(20))
        assert found.device("doors", "press-1").state == "training"
        assert list(found.models()) == []
        assert list(found.refusals()) == []
        assert found.caller().role == "viewer"
    with client(running, "admin") as found:
        assert list(found.audit()) == []


def test_what_is_not_allowed_is_an_error_in_words(running: Running) -> None:
    with client(running) as found:
        with pytest.raises(ForbiddenByRoleError, match="operator is needed"):
            found.pause("doors")
        with pytest.raises(ForbiddenByRoleError, match="admin is needed"):
            next(found.audit())
        with pytest.raises(InputError, match="is no task here"):
            found.task("windows")
        with pytest.raises(EdgeloopError):
            found.task("windows/../doors")
    with client(running, "operator") as found, pytest.raises(InputError, match="by somebody else"):
        found.cancel("doors")
    with pytest.raises(ForbiddenByRoleError):
        edgeloop.connect(running.url, token="elh-wrong").task("doors")  # noqa: S106 - none


def test_a_server_that_is_away_or_none_is_an_error_in_words(running: Running) -> None:
    with pytest.raises(UnavailableError, match="does not answer"):
        next(edgeloop.connect("http://127.0.0.1:9", token="x").tasks())  # noqa: S106 - none
    for url in ("", "127.0.0.1:8600", "ftp://x", "http://a b"):
        with pytest.raises(InputError, match="no URL"):
            edgeloop.connect(url)


def test_commands_say_the_same(
    running: Running, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGELOOP_SERVER", running.url)
    monkeypatch.setenv("EDGELOOP_TOKEN", running.tokens["viewer"])
    command.task_main(["list", "--json"])
    assert [each["name"] for each in json.loads(capsys.readouterr().out)] == ["doors", "press"]
    command.task_main(["show", "press", "--json"])
    assert len(json.loads(capsys.readouterr().out)["closed"]) == 20
    command.device_main(["list", "--task", "doors"])
    assert capsys.readouterr().out.count("training") == 4
    command.task_main(["watch", "press"])
    assert capsys.readouterr().out.startswith("press: Finished, round 20 of 20, accuracy 0.5000")
    with pytest.raises(ForbiddenByRoleError):
        command.device_main(["evict", "doors", "press-1"])


def test_a_watched_task_is_said_until_it_has_ended(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stands = [status("doors", n) for n in range(3)] + [status("doors", 3, "finished")]
    with console_of(tmp_path, lambda: stands.pop(0) if len(stands) > 1 else stands[0]) as running:
        running.wait("/api/v1/tasks", lambda page: bool(page["items"]))
        tokens = tmp_path / "token"
        tokens.write_text(running.tokens["viewer"])
        arguments = ["watch", "doors", "--server", running.url, "--token-file", str(tokens)]
        command.task_main(arguments)
    assert capsys.readouterr().out.splitlines()[-1].startswith("doors: Finished, round 3 of 20")
