"""Roll-outs over a real broker to devices that take them: groups, thresholds, going back."""

# Over 320 lines: one suite, which shares a server, a broker and devices.

import json
import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

import edgeloop
from cloud.console.rollouts import pages
from cloud.console.rollouts.files import KEPT_SECONDS, Files
from edge.agent.deployment import Deployment
from edge.agent.predict import open_model
from edgeloop.errors import InputError
from edgeloop.remote import rollout_command
from edgeloop.remote.client import Console
from edgeloop.remote.rollouts import NewGroup, NewRollout, Rollout
from edgeloop.runtime.config import BrokerSettings
from tests.cloud.console.serving import Running, aggregator, console, status
from tests.devices import wait_until
from tests.edge.test_deployment_gate import write
from tests.light_devices import TASK, LightDevice, settings_of
from tests.world import StartBroker

pytestmark = pytest.mark.broker
FIRST = NewGroup(devices=("press-0", "press-1"))


@pytest.fixture
def url() -> Iterator[str]:
    with aggregator(lambda: status(TASK)) as found:  # of press-0 to press-3
        yield found


@contextmanager
def server(folder: Path, url: str, broker: BrokerSettings) -> Iterator[tuple[Running, Console]]:
    followed = [{"name": TASK, "url": url}]
    with console(folder / "server", aggregators=followed, broker={"port": broker.port}) as running:
        running.wait("/api/v1/devices", lambda page: len(page["items"]) == 4)
        with edgeloop.connect(running.url, token=running.tokens["operator"]) as client:
            yield running, client


@contextmanager
def fleet(
    folder: Path, source: Path, broker: BrokerSettings, *names: str
) -> Iterator[dict[str, LightDevice]]:
    """Run devices; each has a classifier of "a" and "b" in use, press-9x one of others."""
    with ExitStack() as stack:
        found = {}
        for name in names:
            settings = settings_of(name, folder, source, broker)
            deployment = Deployment(settings.folder)
            if not deployment.model.exists():
                write(deployment.candidate, "r1", 0)
                deployment.put(deployment.candidate)
            found[name] = stack.enter_context(LightDevice(settings))
        yield found


def model(folder: Path, run: str, names: tuple[str, ...] = ("a", "b")) -> bytes:
    write(folder / f"{run}.onnx", run, 0, names)
    return (folder / f"{run}.onnx").read_bytes()


def began(client: Console, content: bytes, *groups: NewGroup, **more: Any) -> str:
    facts = {"name": "next", "task": TASK, "kind": "model", "sha256": client.upload(content).sha256}
    asked = NewRollout.model_validate({**facts, "groups": groups, **more})
    return client.create_rollout(asked).rollout


def until(client: Console, rollout: str, state: str) -> Rollout:
    wait_until(lambda: client.rollout(rollout).state == state)
    return client.rollout(rollout)


def states(client: Console, rollout: str) -> dict[str, str]:
    return {each.device: each.state for each in client.rollout_devices(rollout)}


def in_use(device: LightDevice) -> str | None:
    return open_model(device.model.deployment.model).fact("run")


def test_group_by_group_it_goes_through_and_back(
    tmp_path: Path, url: str, world: Path, broker: BrokerSettings
) -> None:
    names = [f"press-{n}" for n in range(4)]
    with server(tmp_path, url, broker) as (_, client), ExitStack() as stack:
        first = stack.enter_context(fleet(tmp_path, world, broker, *names[:2]))
        rollout = began(client, model(tmp_path, "r2"), FIRST, NewGroup())
        wait_until(lambda: client.rollout(rollout).groups[1].state == "running")
        assert states(client, rollout) == dict(
            zip(names, ["applied", "applied", "waiting", "waiting"], strict=True)
        )
        assert client.rollout(rollout).groups[0].state == "succeeded"
        later = stack.enter_context(fleet(tmp_path, world, broker, *names[2:]))  # were away
        until(client, rollout, "succeeded")
        assert {in_use(each) for each in (*first.values(), *later.values())} == {"r2"}
        client.act_on_rollout(rollout, "rollback")
        wait_until(lambda: set(states(client, rollout).values()) == {"rolled back"})
        assert {in_use(each) for each in (*first.values(), *later.values())} == {"r1"}


def test_it_stops_at_its_error_threshold(
    tmp_path: Path, url: str, world: Path, broker: BrokerSettings
) -> None:
    names = [f"press-{n}" for n in range(4)]
    with (
        server(tmp_path, url, broker) as (running, client),
        fleet(tmp_path, world, broker, *names) as devices,
    ):
        bad = model(tmp_path, "r2", ("c", "d"))  # classifies what nobody here asks
        rollout = began(client, bad, FIRST, NewGroup())
        found = until(client, rollout, "stopped")
        assert found.reason.startswith("group 0: ")
        assert [each.state for each in found.groups] == ["failed", "scheduled"]
        assert set(states(client, rollout).values()) <= {"failed", "waiting"}
        told = {each.device: each for each in client.rollout_devices(rollout)}
        assert told["press-3"].action == ""  # the second group was never told
        assert "other classes" in max(each.reason for each in told.values())
        assert {in_use(each) for each in devices.values()} == {"r1"}
        audit = running.ask("/api/v1/audit", "admin").json()["items"]
        assert any("stopped: group 0" in each["detail"] for each in audit)


def test_who_has_it_goes_back_where_that_was_asked_for(
    tmp_path: Path, url: str, world: Path, broker: BrokerSettings
) -> None:
    with server(tmp_path, url, broker) as (_, client), ExitStack() as stack:
        good = stack.enter_context(fleet(tmp_path, world, broker, "press-0"))["press-0"]
        group = NewGroup(devices=("press-0", "press-1"), success=1, error=0.5)
        rollout = began(client, model(tmp_path, "r2"), group, roll_back_on_error=True)
        wait_until(lambda: states(client, rollout)["press-0"] == "applied")
        own = settings_of("press-1", tmp_path, world, broker, rollouts={"accept": ["base"]})
        stack.enter_context(LightDevice(own))
        until(client, rollout, "rolled back")
        wait_until(lambda: states(client, rollout)["press-0"] == "rolled back")
        assert states(client, rollout)["press-1"] == "failed"
        assert in_use(good) == "r1"


def test_a_server_that_was_away_goes_on_and_a_paused_one_waits(
    tmp_path: Path, url: str, world: Path, broker: BrokerSettings
) -> None:
    with server(tmp_path, url, broker) as (_, client):
        rollout = began(client, model(tmp_path, "r2"), FIRST, NewGroup())
        wait_until(lambda: client.rollout(rollout).groups[0].state == "running")
        client.act_on_rollout(rollout, "pause")
    with fleet(tmp_path, world, broker, "press-0", "press-1") as devices:
        wait_until(lambda: {in_use(each) for each in devices.values()} == {"r2"})
    with server(tmp_path, url, broker) as (_, client):
        wait_until(lambda: client.rollout(rollout).groups[0].applied == 2)
        assert client.rollout(rollout).groups[1].state == "scheduled"
        client.act_on_rollout(rollout, "resume")
        wait_until(lambda: client.rollout(rollout).groups[1].state == "running")
        client.act_on_rollout(rollout, "stop")
        told = client.rollout_devices(rollout)
        wait_until(lambda: all(each.action in ("", "apply") for each in told))
    with fleet(tmp_path, world, broker, "press-2") as devices:
        wait_until(lambda: in_use(devices["press-2"]) == "r1")


def test_settings_are_laid_over_and_taken_back(
    tmp_path: Path, url: str, world: Path, broker: BrokerSettings
) -> None:
    with (
        server(tmp_path, url, broker) as (_, client),
        fleet(tmp_path, world, broker, "press-0") as devices,
    ):
        group = NewGroup(devices=("press-0",))

        def ask(settings: dict[str, Any]) -> str:
            facts = {"name": "n", "task": TASK, "kind": "settings", "settings": settings}
            asked = NewRollout.model_validate({**facts, "groups": [group]})
            return client.create_rollout(asked).rollout

        until(client, ask({"model": {"every_rounds": 5}, "health": False}), "succeeded")
        own = devices["press-0"].context.settings
        assert (own.model.every_rounds, own.health) == (5, False)
        for wrong, why in (
            ({"privacy": {"require": False}}, "cannot be set from afar"),
            ({"policy": {"root": "/tmp"}}, "policy.root cannot be set from afar"),  # noqa: S108
            ({"policy": {"windows": ["25-99"]}}, "windows"),
        ):
            refused = ask(wrong)
            until(client, refused, "stopped")
            (told,) = client.rollout_devices(refused)
            assert why in told.reason
        assert devices["press-0"].context.settings.model.every_rounds == 5


def test_what_cannot_be_rolled_out_is_refused(
    tmp_path: Path, url: str, broker: BrokerSettings
) -> None:
    api = "/api/v1"
    facts: dict[str, Any] = {"name": "n", "task": TASK, "kind": "model", "groups": [{}]}
    with server(tmp_path, url, broker) as (running, client):

        def ask(role: str = "operator", **changes: Any) -> tuple[int, str]:
            answer = running.ask(f"{api}/rollouts", role, "POST", json={**facts, **changes})
            return answer.status_code, answer.json().get("detail", "")

        sha256 = client.upload(model(tmp_path, "r2")).sha256
        loop = client.upload(b"no model at all").sha256
        assert ask("viewer", sha256=sha256)[0] == 403
        assert ask(sha256="0" * 64)[0] == 422
        assert ask(sha256=loop)[0] == 422
        assert ask(sha256=sha256, task="windows")[0] == 404
        assert ask(sha256=sha256, kind="settings")[0] == 422
        assert ask(sha256=sha256, groups=[{"pattern": "window-*"}])[0] == 422
        assert ask(sha256=sha256, groups=[{"labels": {"site": "a"}}]) == (
            409,
            "has devices without labels: only Kubernetes has them",
        )
        assert ask(sha256=sha256, begin=False)[0] == 200
        code, why = ask(sha256=sha256)
        assert (code, "under way" in why) == (409, True)
        (made,) = client.rollouts(TASK)
        for verb, code in (("pause", 409), ("rollback", 200), ("resume", 409), ("explode", 422)):
            answer = running.ask(f"{api}/rollouts/{made.rollout}/{verb}", "operator", "POST")
            assert answer.status_code == code
        assert running.ask(f"{api}/rollouts/nothing").status_code == 404
        page = running.ask(f"/rollouts/{made.rollout}").text
        assert "rolled back" in page
        assert made.name in running.ask("/rollouts").text
        assert set(pages.ALLOWED) == set(Rollout.model_fields["state"].annotation.__args__)  # type: ignore[union-attr]


def test_one_whose_file_is_gone_is_in_nobody_elses_way(
    tmp_path: Path,
    url: str,
    world: Path,
    broker: BrokerSettings,
    caplog: pytest.LogCaptureFixture,
) -> None:
    group = NewGroup(devices=("press-0",))
    with server(tmp_path, url, broker) as (_, client):
        gone = began(client, model(tmp_path, "r2"), group, begin=False)
        (tmp_path / "server" / "files" / client.rollout(gone).sha256).unlink()
        client.act_on_rollout(gone, "resume")
        wait_until(lambda: f"roll-out {gone} does not go on: sha256" in caplog.text)
        table = {"kind": "settings", "settings": {"health": False}}
        asked = NewRollout.model_validate({"name": "n", "task": TASK, "groups": [group], **table})
        other = client.create_rollout(asked).rollout
        with fleet(tmp_path, world, broker, "press-0"):
            until(client, other, "succeeded")


def test_a_task_that_devices_know_by_another_name_is_refused(
    tmp_path: Path, broker: BrokerSettings
) -> None:
    with aggregator(lambda: status("other")) as url, server(tmp_path, url, broker) as (_, client):
        table = {"kind": "settings", "settings": {"health": False}, "groups": [{}]}
        asked = NewRollout.model_validate({"name": "n", "task": TASK, **table})
        with pytest.raises(InputError, match="is other to its devices"):
            client.create_rollout(asked)


def test_without_a_broker_nothing_is_rolled_out(tmp_path: Path, url: str) -> None:
    with console(tmp_path / "server", aggregators=[{"name": TASK, "url": url}]) as running:
        running.wait("/api/v1/devices", lambda page: len(page["items"]) == 4)
        facts = {"name": "n", "task": TASK, "kind": "settings", "settings": {}, "groups": [{}]}
        answer = running.ask("/api/v1/rollouts", "operator", "POST", json=facts)
        assert (answer.status_code, answer.json()["remedy"]) == (
            409,
            "give the server's file a [broker] table",
        )


def test_the_command_does_what_the_api_does(
    tmp_path: Path,
    url: str,
    broker: BrokerSettings,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    model(tmp_path, "r2")
    with server(tmp_path, url, broker) as (running, _):
        monkeypatch.setenv("EDGELOOP_SERVER", running.url)
        monkeypatch.setenv("EDGELOOP_TOKEN", running.tokens["operator"])
        words = ["create", "next", "--task", TASK, "--model", str(tmp_path / "r2.onnx"), "--json"]
        groups = ["--group", "share=0.5,name=canary,error=0", "--group", "name=others"]
        assert rollout_command.main([*words, *groups, "--ready"]) == 0
        made = json.loads(capsys.readouterr().out)
        assert [each["devices"] for each in made["groups"]] == [2, 2]
        assert [each["error"] for each in made["groups"]] == [0.0, 0.1]
        for verb, state in (("resume", "running"), ("pause", "paused"), ("stop", "stopped")):
            rollout_command.main([verb, made["rollout"]])
            assert f"is {state}" in capsys.readouterr().out
        rollout_command.main(["show", made["rollout"], "--json"])
        assert len(json.loads(capsys.readouterr().out)["devices"]) == 4
        rollout_command.main(["list"])
        assert made["rollout"] in capsys.readouterr().out


def test_a_broker_that_forgot_is_told_again(
    tmp_path: Path, url: str, world: Path, start_broker: StartBroker
) -> None:
    before = start_broker()
    with server(tmp_path, url, before.settings) as (_, client):
        rollout = began(client, model(tmp_path, "r2"), NewGroup(devices=("press-0",)))
        wait_until(lambda: client.rollout(rollout).groups[0].state == "running")
        before.process.kill()
        before.process.wait()
        start_broker(port=before.settings.port)  # with nothing of before
        with fleet(tmp_path, world, before.settings, "press-0") as devices:
            until(client, rollout, "succeeded")
            assert in_use(devices["press-0"]) == "r2"


def test_a_device_that_turns_bad_while_the_next_group_runs_stops_it(
    tmp_path: Path, url: str, world: Path, broker: BrokerSettings
) -> None:
    groups = (NewGroup(devices=("press-0",)), NewGroup(devices=("press-1",)))  # press-1 is away
    with (
        server(tmp_path, url, broker) as (_, client),
        fleet(tmp_path, world, broker, "press-0") as devices,
    ):
        rollout = began(client, model(tmp_path, "r2"), *groups)
        wait_until(lambda: client.rollout(rollout).groups[1].state == "running")
        devices["press-0"].model.deployment.roll_back("the canary")
        found = until(client, rollout, "stopped")
        assert found.reason.startswith("group 0: ")
        assert [each.state for each in found.groups] == ["failed", "running"]


def test_a_device_that_turns_bad_after_the_end_is_heard_and_the_file_is_not_kept(
    tmp_path: Path, url: str, world: Path, broker: BrokerSettings
) -> None:
    def is_carried() -> bool:
        with closing(sqlite3.connect(tmp_path / "server" / "server.sqlite")) as database:
            return bool(database.execute("select sum(carried) from console_rollouts").fetchone()[0])

    names = ("press-0", "press-1")
    with fleet(tmp_path, world, broker, *names) as devices:
        with server(tmp_path, url, broker) as (_, client):
            rollout = began(client, model(tmp_path, "r2"), FIRST)
            (file,) = (tmp_path / "server" / "files").iterdir()
            until(client, rollout, "succeeded")
            wait_until(lambda: not is_carried())
            assert file.exists()
            devices["press-0"].model.deployment.roll_back("the canary")
            wait_until(lambda: states(client, rollout)["press-0"] == "rolled back")
            found = client.rollout(rollout)
            assert (found.state, found.groups[0].rolled_back) == ("succeeded", 1)
        os.utime(file, (0, 0))
        with server(tmp_path, url, broker) as (running, client):
            wait_until(lambda: not file.exists())
            audit = running.ask("/api/v1/audit", "admin").json()["items"]
            details = [each["detail"] for each in audit]
            assert sum("press-0 rolled back after its end: the canary" in d for d in details) == 1
            client.act_on_rollout(rollout, "rollback")  # who goes back needs no file
            wait_until(lambda: set(states(client, rollout).values()) == {"rolled back"})
            assert {in_use(each) for each in devices.values()} == {"r1"}
            wait_until(lambda: not is_carried())


def test_files_are_removed_a_day_after_their_last_use(tmp_path: Path) -> None:
    files = Files(tmp_path)
    assert files.sweep(()) == []
    used, unused = (files.keep(content).sha256 for content in (b"used", b"unused"))
    later = time.time() + KEPT_SECONDS + 60
    assert files.sweep((), later - 120) == []
    assert files.sweep((used,), later) == [unused]
    assert files.content(used) == b"used"
    os.utime(tmp_path / "files" / used, (0, 0))
    files.keep(b"used")  # given again: somebody is about to use it
    assert files.sweep(()) == []
