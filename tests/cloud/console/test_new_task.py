"""Tasks that are made over the API: in a stack that runs, and as FederatedTasks."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from cloud.console.cluster_source import Cluster
from cloud.console.sources import ImpossibleError
from cloud.stack import added, control, reading
from edgeloop.errors import ConfigError, InputError
from edgeloop.remote import command
from edgeloop.runtime.child_processes import edgeloop, environment
from edgeloop.runtime.ports import free_port
from tests.cloud.console.serving import console
from tests.cloud.operator.api_server import ADMIN, ApiServer
from tests.cloud.operator.cluster import KINDS, NAMESPACE, crd
from tests.cloud.operator.conftest import kubeconfig
from tests.devices import wait_until
from tests.world import StartBroker

API = "/api/v1"
NEW: dict[str, Any] = {
    "name": "windows",
    "algorithm": "fedproto",
    "class_names": ["ok", "dent"],
    "shape": [1, 28, 28],
    "rounds": 3,
    "cohort": {"devices": ["press-1", "press-2"], "quorum": "50%", "deadline_seconds": 60.0},
}
FILE = """
name = "windows"
algorithm = "fedproto"
class_names = ["ok", "dent"]
shape = [1, 28, 28]
rounds = 3
cohort = { devices = ["press-1", "press-2"], quorum = 1 }
"""


def stack(folder: Path, broker: int, extra: str = "") -> Path:
    path = folder / "stack.toml"
    path.write_text(
        f"""
folder = "{folder / "stack"}"
broker = {{ port = {broker}, {extra} }}

[[aggregators]]
name = "doors"
algorithm = "fedproto"
class_names = ["ok", "dent"]
shape = [1, 28, 28]
width = 8
rounds = 5000
http = {{ port = {free_port()} }}
cohort = {{ devices = ["press-1"], quorum = 1 }}
"""
    )
    return path


@contextmanager
def up(config: Path, log: Path) -> Iterator[None]:
    with log.open("ab") as said:
        run = subprocess.Popen(
            edgeloop("up", "--config", str(config)), stdout=said, stderr=said, env=environment()
        )
    try:
        yield
    finally:
        run.terminate()
        run.wait(60)


@pytest.mark.broker
def test_a_stack_that_runs_takes_it_up_and_keeps_it(
    start_broker: StartBroker, tmp_path: Path
) -> None:
    start_broker()  # only where there is a Mosquitto
    config, log = stack(tmp_path, free_port(), "plain = true"), tmp_path / "up.log"
    control.ask(tmp_path / "stack", "doors", "Paused")  # only the new one is to start
    with up(config, log), console(tmp_path / "server", stack=str(config)) as running:
        wait_until(lambda: "everything runs" in log.read_text())
        answer = running.ask(f"{API}/tasks", "admin", "POST", json={"task": NEW})
        assert (answer.status_code, answer.json()["done"]) == (200, True)
        running.wait(f"{API}/tasks/windows", lambda found: found["state"] == "Running", 60)
        assert running.ask(f"{API}/tasks", "admin", "POST", json={"task": NEW}).status_code == 409
    (file,) = added.files(tmp_path / "stack")
    assert file.name == "windows.toml"
    services = reading.read(config).aggregators  # as the next start reads it
    assert [(each.name, each.is_added) for each in services] == [
        ("doors", False),
        ("windows", True),
    ]
    file.write_text("name = ")
    with pytest.raises(ConfigError, match="remove it"):
        reading.read(config)


@pytest.mark.broker
def test_one_that_cannot_start_does_not_end_the_stack(
    start_broker: StartBroker, tmp_path: Path
) -> None:
    start_broker()
    config, log = stack(tmp_path, free_port(), "plain = true"), tmp_path / "up.log"
    control.ask(tmp_path / "stack", "doors", "Paused")
    place = added.place(tmp_path / "stack")
    with up(config, log):
        wait_until(lambda: "everything runs" in log.read_text())
        place.mkdir(parents=True)
        (place / "roofs.toml").write_text('name = "roofs"\nrounds = "many"')
        wait_until(lambda: "does not take up roofs" in log.read_text())
        missing = f'{FILE}\nbase = "{tmp_path}/nothing"\nhttp = {{ port = {free_port()} }}'
        missing = missing.replace("fedproto", "class-statistics")
        (place / "windows.toml").write_text(missing)
        wait_until(lambda: "windows | has ended with exit code 2" in log.read_text())
        parts = {each.name for each in control.parts_of(tmp_path / "stack") or ()}
        assert {"broker", "doors", "windows"} <= parts


def test_what_is_wrong_or_not_allowed_makes_nothing(tmp_path: Path) -> None:
    config = stack(tmp_path, free_port(), "plain = true")
    with console(tmp_path / "server", stack=str(config)) as running:
        running.wait(f"{API}/tasks", lambda page: bool(page["items"]))

        def ask(role: str = "admin", namespace: str = "", **changes: Any) -> Any:
            body = {"task": {**NEW, **changes}, "namespace": namespace}
            return running.ask(f"{API}/tasks", role, "POST", json=body)

        assert ask("operator").status_code == 403
        assert ask(namespace="plant").status_code == 409
        for changes, code, why in (
            ({"rounds": 0}, 422, "rounds"),
            ({"algorithm": "fedproton"}, 422, "algorithm"),
            ({"folder": "/elsewhere"}, 422, "folder"),
            ({"store": "postgresql://x"}, 422, "store"),
            ({"http": {"host": "0.0.0.0"}}, 422, "http"),  # noqa: S104 - refused
            ({"rounds_": 1}, 422, "rounds_"),
            ({"name": "doors"}, 409, "doors"),
            ({"name": "../x"}, 422, "name"),
        ):
            answer = ask(**changes)
            assert (answer.status_code, why in answer.json()["field"]) == (code, True), answer.text
        assert not added.files(tmp_path / "stack")
        answer = ask()  # edgeloop up does not run: it takes it up when it does
        assert (answer.status_code, answer.json()["done"]) == (200, False)
        entries = running.ask(f"{API}/audit", "admin").json()["items"]
        found = [(each["act"], each["subject"], each["outcome"]) for each in entries]
        assert ("create task", "windows", "done") in found
        assert ("create task", "doors", "refused") in found


def test_the_command_and_the_form_make_one_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config, file = stack(tmp_path, free_port(), "plain = true"), tmp_path / "task.toml"
    file.write_text(FILE)
    with console(tmp_path / "server", stack=str(config)) as running:
        monkeypatch.setenv("EDGELOOP_SERVER", running.url)
        monkeypatch.setenv("EDGELOOP_TOKEN", running.tokens["admin"])
        assert command.task_main(["create", str(file), "--paused"]) == 0
        assert "windows is a task of the stack" in capsys.readouterr().out
        running.wait(f"{API}/tasks/windows", lambda found: found["state"] == "Paused")
        with pytest.raises(InputError, match="stack's own business"):
            command.task_main(["create", str(config)])
        with pytest.raises(ConfigError, match="give a task's TOML file"):
            command.task_main(["create", str(tmp_path / "nothing.toml")])
        with httpx.Client(base_url=running.url) as browser:
            browser.post("/login", data={"token": running.tokens["admin"]})
            page = browser.get("/new-task").text
            key = page.partition('name="form_key" value="')[2].partition('"')[0]
            text = FILE.replace("windows", "roofs")
            answer = browser.post("/tasks", data={"form_key": key, "toml": text, "begin": "yes"})
            assert "roofs is a task of the stack" in answer.text
            assert browser.post("/tasks", data={"toml": text}).status_code == 403
        with httpx.Client(base_url=running.url) as browser:
            browser.post("/login", data={"token": running.tokens["operator"]})
            assert browser.get("/new-task").status_code == 403


def test_in_a_cluster_it_is_a_federated_task(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "kubeconfig"
    monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(config))
    with ApiServer() as server:
        for plural in KINDS:
            server.store.define(crd(plural))
        config.write_text(kubeconfig(server.url).replace("operator", ADMIN))
        source = Cluster([NAMESPACE], "http://127.0.0.1:1/{namespace}/{name}")
        done = source.create({**NEW, "privacy": {"noise": 1.5}}, NAMESPACE, begin=False)
        assert (done.done, done.state) == (True, "Paused")
        spec = server.store.get(("federatedtasks", NAMESPACE, "windows"))["spec"]
        assert (spec["state"], spec["cohort"]["quorumPercent"]) == ("Paused", 50)
        assert (spec["data"]["shape"], spec["privacy"]["noise"]) == ([1, 28, 28], "1.5")
        with pytest.raises(ImpossibleError):
            source.create(NEW, NAMESPACE, begin=True)
        for wrong in ({"rounds": 0}, {"broker": {"port": 1}}, {"cohort": {"quorum": 7.5}}):
            with pytest.raises(ConfigError):
                source.create({**NEW, "name": "other", **wrong}, NAMESPACE, begin=True)
        with pytest.raises(ConfigError, match="namespace"):
            source.create(NEW, "elsewhere", begin=True)


@pytest.mark.broker
def test_where_the_stack_has_its_own_authority_the_aggregator_gets_a_certificate(
    start_broker: StartBroker, tmp_path: Path
) -> None:
    start_broker()
    layout = reading.read(stack(tmp_path, free_port(), f"services_port = {free_port()}"))
    own = layout.own_authority()
    assert own is not None
    assert layout.stages()  # which prepares it
    lines: list[str] = []
    newcomers = added.Newcomers(layout, own, lines.append)
    assert newcomers.parts() == []
    made = added.add(layout, NEW, lambda name: None)
    (part,) = newcomers.parts()
    assert (part.name, part.task, part.vital, lines) == ("windows", "windows", False, [])
    assert made.checked.broker.certificate_file.exists()
    rights = (tmp_path / "stack" / "broker" / "rights.acl").read_text()
    assert "user CN=aggregator,OU=windows\ntopic readwrite edgeloop/v1/windows/#" in rights
    assert newcomers.parts() == []  # once
