"""`edgeloop agent doctor` finds what keeps a device from taking part, and names the remedy."""

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from edge.agent.command import main
from edge.agent.folder import hold_folder
from edge.device import machine
from edgeloop.mqtt.connection import MqttConnection
from edgeloop.protocol.task import Contract, client_id, contract_topic
from edgeloop.runtime.config import BrokerSettings
from edgeloop.runtime.ports import free_port
from tests.authority import Authority
from tests.devices import at_work, wait_until
from tests.edge.test_joining import picture, pictures
from tests.one_device import DEVICE, NAME, Task, aggregator, write_data
from tests.world import Mosquitto, StartBroker, contract

TABLES = ("broker", "data", "training", "privacy")


@dataclass
class Device:
    """A device that is all right, until a test plants a fault."""

    folder: Path
    table: dict[str, Any]
    start: StartBroker
    task: Contract | None = field(default_factory=lambda: contract(devices=("one",)))
    lines: tuple[str, ...] = ()

    def set(self, table: str, **values: Any) -> None:
        self.table.setdefault(table, {}).update(values)

    def serve(self) -> None:
        """Start a broker, and have it keep the task's contract."""
        if "port" in self.table["broker"]:
            return
        plain = self.start().settings if not self.lines else None
        port = plain.port if plain else self.start(*self.lines).settings.port
        self.set("broker", port=port)
        if plain:
            publish(plain, self.task)

    def config(self) -> Path:
        path = self.folder / "device.toml"
        lines = [f"{key} = {json.dumps(v)}" for key, v in self.table.items() if key not in TABLES]
        for name in TABLES:
            if name in self.table:
                lines += [f"[{name}]"]
                lines += [f"{key} = {json.dumps(v)}" for key, v in self.table[name].items()]
        path.write_text("\n".join(lines))
        return path


def publish(broker: BrokerSettings, task: Contract | None) -> None:
    if task is not None:
        with MqttConnection(broker, client_id("t", "aggregator"), []) as connection:
            connection.publish(contract_topic("t"), task.text().encode(), retain=True)


@pytest.fixture
def device(tmp_path: Path, start_broker: StartBroker) -> Device:
    photos = pictures(tmp_path / "photos", {"a": 30, "b": 30})
    table = {
        "name": "one",
        "task": "t",
        "folder": str(tmp_path / "one"),
        "broker": {"connect_seconds": 1.0},
        "data": {"source": str(photos)},
        "training": {"threads": 1, "architecture": "cnn"},
    }
    return Device(tmp_path, table, start_broker)


def examined(device: Device, capsys: pytest.CaptureFixture[str]) -> tuple[int, dict[str, Any]]:
    """Return the exit code, and the worst finding of each kind."""
    capsys.readouterr()
    code = main(["doctor", "--config", str(device.config()), "--json"])
    told = json.loads(capsys.readouterr().out)
    assert told["exit_code"] == code
    order = ("error", "warning", "note", "ok")
    ranked = sorted(told["findings"], key=lambda each: -order.index(each["status"]))
    return code, {each["what"]: each for each in ranked}


def test_a_device_that_is_all_right(device: Device, capsys: pytest.CaptureFixture[str]) -> None:
    device.serve()
    code, found = examined(device, capsys)
    assert code == 0
    assert {each["status"] for each in found.values()} <= {"ok", "warning"}  # the machine's memory
    assert "for training" in found["samples"]["found"]
    assert "a round takes about" in found["model"]["found"]
    assert "MB up" in found["model"]["found"]


def no_task(device: Device) -> None:
    device.task = None


def other_contract(**changes: Any) -> Callable[[Device], None]:
    def plant(device: Device) -> None:
        device.task = contract(**{"devices": ("one",), **changes})

    return plant


def other(table: str, **values: Any) -> Callable[[Device], None]:
    return lambda device: device.set(table, **values)


def refuses(*lines: str) -> Callable[[Device], None]:
    def plant(device: Device) -> None:
        device.lines = lines

    return plant


def no_such_key(device: Device) -> None:
    device.table["folderr"] = "x"


def nobody_listens(device: Device) -> None:
    device.set("broker", port=free_port())


def list_of_rights(*rights: str) -> Callable[[Device], None]:
    def plant(device: Device) -> None:
        file = device.folder / "rights"
        file.write_text("\n".join(rights) + "\n")
        device.lines = (f"acl_file {file}",)

    return plant


def damaged_photo_folder(device: Device) -> None:
    shutil.rmtree(device.folder / "photos")
    picture(device.folder / "photos" / "c" / "0.png")


def state_of_another(device: Device) -> None:
    folder = Path(device.table["folder"])
    folder.write_text("a file")


def has_left(device: Device) -> None:
    folder = Path(device.table["folder"])
    folder.mkdir()
    (folder / "left.json").write_text(json.dumps({"task": "t", "run": "r", "out": True}))


def expired(device: Device) -> None:
    authority = Authority(device.folder / "authority")
    ago = datetime.now(UTC) - timedelta(days=2)
    certificate, key = authority.sign("one", since=ago, until=ago + timedelta(days=1))
    files = {"ca_file": authority.file, "certificate_file": certificate, "key_file": key}
    device.set("broker", **{name: str(path) for name, path in files.items()})


def strange_authority(device: Device) -> None:
    theirs, ours = (Authority(device.folder / name) for name in ("theirs", "ours"))
    device.lines = tuple(theirs.listener("127.0.0.1"))
    device.set("broker", ca_file=str(ours.file))


def no_certificate(device: Device) -> None:
    authority = Authority(device.folder / "authority")
    device.lines = tuple(authority.listener("127.0.0.1"))
    device.set("broker", ca_file=str(authority.file))


def no_tls(device: Device) -> None:
    device.set("broker", ca_file=str(Authority(device.folder / "authority").file))


def no_authority_file(device: Device) -> None:
    device.set("broker", ca_file=str(device.folder / "nowhere.crt"))


def no_enrolment(device: Device) -> None:
    device.table["enrolment"] = str(device.folder / "identity")


FAULTS: dict[str, tuple[Callable[[Device], None], int, str, str]] = {
    "a misspelt key": (no_such_key, 2, "settings", "did you mean folder"),
    "no such architecture": (other("training", architecture="cnnn"), 2, "model", "did you mean"),
    "no such data": (other("data", source="/nowhere"), 2, "data", "check the path"),
    "a class that the task lacks": (damaged_photo_folder, 2, "samples", "rename it"),
    "inputs of another kind": (other_contract(shape=(9, 128)), 2, "samples", "task's kind of data"),
    "too few samples": (other_contract(batch_size=500), 0, "samples", "bring more"),
    "no broker": (nobody_listens, 75, "broker", "start it"),
    "no such host": (other("broker", host="nowhere.invalid", port=1), 75, "broker", "check host"),
    "a password": (refuses("allow_anonymous false"), 2, "broker", "username and password_file"),
    "no right to read": (list_of_rights("topic write #"), 75, "task", "right to read"),
    "no right to write": (list_of_rights("topic read #"), 2, "rights", "the rights of a device"),
    "no aggregator": (no_task, 75, "task", "start its aggregator"),
    "not invited": (other_contract(devices=("two",)), 2, "task", "have it listed"),
    "a folder that is a file": (state_of_another, 2, "folder", ""),
    "a device that has left": (has_left, 2, "folder", "remove left.json"),
    "an expired certificate": (expired, 2, "certificate", "renew it"),
    "a broker of another authority": (strange_authority, 2, "broker", "ca_file"),
    "no certificate": (no_certificate, 75, "broker", "certificate_file"),
    "no TLS there": (no_tls, 75, "broker", "TLS listener"),
    "no authority's file": (no_authority_file, 2, "authority", "give a certificate"),
    "not enrolled": (no_enrolment, 2, "enrolment", "name the folder that edgeloop enroll wrote"),
    "privacy that the task lacks": (other("privacy", require=True), 2, "privacy", "[privacy]"),
    "no such processor": (other("training", device="cuda"), 2, "torch", 'give "cpu"'),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_found(
    device: Device, capsys: pytest.CaptureFixture[str], fault: str
) -> None:
    plant, expected, what, remedy = FAULTS[fault]
    plant(device)
    device.serve()
    code, found = examined(device, capsys)
    assert code == expected
    assert found[what]["status"] == ("warning" if expected == 0 else "error")
    assert found[what]["remedy"]
    assert remedy in found[what]["remedy"]


def test_an_agent_at_work_is_left_alone(device: Device, capsys: pytest.CaptureFixture[str]) -> None:
    device.serve()
    with hold_folder(Path(device.table["folder"])):
        code, found = examined(device, capsys)
    assert code == 0
    assert found["broker"]["status"] == found["folder"]["status"] == "note"
    assert "a second connection" in found["broker"]["found"]


def test_a_running_task_is_not_disturbed(
    tmp_path: Path, broker: BrokerSettings, capsys: pytest.CaptureFixture[str]
) -> None:
    source = write_data(tmp_path / "data")
    task = Task(tmp_path, source, broker, None, "fedproto", {})
    table = {
        "name": DEVICE,
        "task": NAME,
        "folder": str(tmp_path / "one"),
        "broker": {"port": broker.port},
        "data": {"source": str(source)},
    }
    with aggregator(task) as running:
        wait_until(lambda: task.status().get("phase") == "running")
        code, found = examined(Device(tmp_path, table, brokers_are_not_started), capsys)
        assert (code, found["broker"]["status"]) == (0, "ok")
        assert "MB down" in found["model"]["found"]
        with at_work(task.device()) as device:
            assert device.ended.result(120)
        assert running.process.wait(60) == 0
    assert not re.search("WARNING|ERROR", running.said()), running.said()


def brokers_are_not_started(*lines: str, port: int | None = None) -> Mosquitto:
    raise AssertionError


def test_the_machine(tmp_path: Path) -> None:
    assert machine.look_at_memory(10e6).exit_code == 75
    assert machine.look_at_memory(300e6).status == "warning"
    assert machine.look_at_memory(2e9).status == "ok"
    assert machine.look_at_clock(86_400.0).remedy.startswith("set it")
    assert machine.look_at_clock().status == "ok"
    assert machine.look_at_torch("cuda", tmp_path).status == "error"


def test_findings_for_a_person(device: Device, capsys: pytest.CaptureFixture[str]) -> None:
    device.set("broker", port=free_port())
    assert main(["doctor", "--config", str(device.config())]) == 75
    line = next(each for each in capsys.readouterr().out.splitlines() if " broker" in each)
    assert line.startswith("error")
    assert "; start it, or check host and port" in line
