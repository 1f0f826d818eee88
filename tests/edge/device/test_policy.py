"""A device trains when its policy says so; else it sleeps, says why, and nobody waits for it."""

import shutil
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from edge.agent import policy as policies
from edge.agent.policy import permission
from edge.agent.settings import TrainingPolicy
from edge.agent.windows import next_start
from edgeloop.cohorts.roster import Roster
from edgeloop.errors import ConfigError
from edgeloop.mqtt.connection import Arrival
from edgeloop.protocol.presence import Presence, State, notes_of
from edgeloop.runtime.config import BrokerSettings, parse
from tests.devices import at_work, wait_until
from tests.one_device import DEVICE, Task, aggregator, write_data

MONDAY = datetime(2026, 11, 30, 12, 0)


class Machine:
    """The files of a machine's kernel."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.write("sys/class/power_supply/AC/type", "Mains")
        self.write("sys/class/power_supply/BAT0/type", "Battery")
        self.write("sys/class/power_supply/BAT0/capacity", "80")
        self.plug(True)
        self.write("sys/class/thermal/thermal_zone0/temp", "41500")
        self.write("sys/class/thermal/thermal_zone1/temp", "")
        self.write("proc/meminfo", "MemTotal: 2000000 kB\nMemAvailable: 500000 kB\n")
        self.write("proc/loadavg", "0.00 0.1 0.1 1/100 12345\n")

    def write(self, name: str, text: str) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def plug(self, on: bool) -> None:
        self.write("sys/class/power_supply/AC/online", str(int(on)))


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path / "kernel")


def said(machine: Machine, **policy: Any) -> str:
    return permission(TrainingPolicy(root=machine.root, **policy), MONDAY).reason


@pytest.mark.parametrize(
    ("windows", "now", "start"),
    [
        (["22:00-06:00"], "2026-11-30 23:00", None),
        (["22:00-06:00"], "2026-11-30 05:59", None),
        (["22:00-06:00"], "2026-11-30 06:00", "2026-11-30 22:00"),
        (["mon-fri 18:00-07:00"], "2026-12-05 06:59", None),  # Friday's goes on
        (["mon-fri 18:00-07:00"], "2026-12-05 07:00", "2026-12-07 18:00"),
        (["sat,sun 00:00-24:00"], "2026-12-06 23:59", None),
        (["sun-mon 10:00-11:00"], "2026-12-01 10:30", "2026-12-06 10:00"),
        (["mon 01:00-02:00", "tue 03:00-04:00"], "2026-11-30 12:00", "2026-12-01 03:00"),
        (["mon 10:00-11:00"], "2026-11-30 11:00", "2026-12-07 10:00"),
    ],
)
def test_hours_of_the_week(windows: list[str], now: str, start: str | None) -> None:
    expected = None if start is None else datetime.fromisoformat(start)
    assert next_start(windows, datetime.fromisoformat(now)) == expected


@pytest.mark.parametrize("wrong", ["", "8-9", "25:00-26:00", "mon 10:00", "day 10:00-11:00"])
def test_hours_that_are_none(wrong: str) -> None:
    with pytest.raises(ConfigError, match="policy: windows"):
        parse({"windows": [wrong]}, TrainingPolicy, "policy")


def test_without_a_policy_nothing_is_forbidden(machine: Machine) -> None:
    machine.plug(False)
    assert said(machine) == ""


def test_each_part_forbids(machine: Machine) -> None:
    machine.plug(False)
    assert said(machine, mains_only=True) == "on battery, until it is on mains"
    assert said(machine, max_celsius=40) == "42 C, until it is 40 at most"
    assert said(machine, min_free_mb=600) == "512 MB of memory are free, until 600 are"
    assert said(machine, windows=["13:00-14:00"]) == "outside its hours, until Mon 13:00"
    assert said(machine, unmetered_only=True, metered=True).startswith("on a metered network")
    machine.write("proc/loadavg", "1000.0 1 1 1/1 1")
    assert "a processor, until it is 1 at most" in said(machine, max_load=1)
    both = said(machine, mains_only=True, max_celsius=40)
    assert both == "on battery, until it is on mains; 42 C, until it is 40 at most"


def test_each_part_allows(machine: Machine) -> None:
    parts = {"mains_only": True, "max_celsius": 45, "min_free_mb": 100, "max_load": 1}
    assert said(machine, **parts, windows=["11:00-13:00"], unmetered_only=True, metered=False) == ""


def test_a_machine_without_sensors_is_forbidden_nothing(tmp_path: Path) -> None:
    parts: dict[str, Any] = {"mains_only": True, "max_celsius": 1, "min_free_mb": 1e9}
    policy = TrainingPolicy(root=tmp_path, max_load=0.001, min_battery=1.0, **parts)
    assert permission(policy, MONDAY) == policies.Permission()


def test_the_battery_of_a_mouse_is_not_the_machines(tmp_path: Path) -> None:
    """A desktop's kernel may know no supply but that."""
    machine = Machine(tmp_path / "kernel")
    shutil.rmtree(machine.root / "sys/class/power_supply")
    for name, text in {"type": "Battery", "scope": "Device", "status": "Discharging"}.items():
        machine.write(f"sys/class/power_supply/hidpp_battery_0/{name}", text)
    machine.write("sys/class/power_supply/hidpp_battery_0/capacity", "5")
    policy = TrainingPolicy(root=machine.root, mains_only=True, min_battery=0.9)
    assert permission(policy, MONDAY) == policies.Permission()


def test_a_sensor_that_lies_hides_no_other(machine: Machine) -> None:
    for number, text in enumerate(("garbage", "nan", "-274000", "9999999", "")):
        machine.write(f"sys/class/thermal/thermal_zone{2 + number}/temp", text)
    assert said(machine, max_celsius=40) == "42 C, until it is 40 at most"
    assert said(machine, max_celsius=45) == ""
    for number, text in enumerate(("garbage", "nan", "-1", "255", "")):
        machine.write(f"sys/class/power_supply/BAT{1 + number}/type", "Battery")
        machine.write(f"sys/class/power_supply/BAT{1 + number}/capacity", text)
    machine.plug(False)
    assert not permission(TrainingPolicy(root=machine.root, min_battery=0.9)).trains
    assert permission(TrainingPolicy(root=machine.root, min_battery=0.7)).trains
    machine.write("sys/class/power_supply/USB/type", "USB")  # it does not say whether it is on
    machine.write("sys/class/power_supply/gone/status", "")  # pulled out as it is looked at
    assert said(machine, mains_only=True) == "on battery, until it is on mains"


def test_a_number_that_is_none_is_no_reading(
    machine: Machine, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(policies, "_silent", set())
    machine.write("proc/loadavg", "nan 0 0 1/1 1")
    machine.write("proc/meminfo", "MemAvailable: -inf kB")
    assert said(machine, max_load=0.1, min_free_mb=100) == ""
    assert "the load cannot be read here" in caplog.text
    assert "the memory cannot be read here" in caplog.text


def test_no_memory_is_without_end() -> None:
    with pytest.raises(ConfigError, match="min_free_mb"):
        parse({"min_free_mb": float("inf")}, TrainingPolicy, "policy")


def test_another_policy_is_looked_at_at_once(machine: Machine) -> None:
    machine.plug(False)
    mine = [TrainingPolicy(root=machine.root, mains_only=True)]
    sleep = policies.Sleep(lambda: mine[0])
    assert sleep.look()
    assert not sleep.due()
    mine[0] = TrainingPolicy(root=machine.root)
    assert sleep.left() == 0
    assert sleep.due()
    assert sleep.left() > 0, "it goes on waiting, if there is no round to look for"
    assert not sleep.look()


@pytest.mark.parametrize(
    ("status", "trains"), [("Discharging", False), ("Charging", True), ("Full", True)]
)
def test_a_low_battery_only_answers(machine: Machine, status: str, trains: bool) -> None:
    (machine.root / "sys/class/power_supply/AC/online").write_text("0")
    policy = TrainingPolicy(root=machine.root, min_battery=0.9)
    assert permission(policy, MONDAY) == policies.Permission("", trains=False)
    (machine.root / "sys/class/power_supply/AC/type").unlink()
    (machine.root / "sys/class/power_supply/AC/online").unlink()
    (machine.root / "sys/class/power_supply/AC").rmdir()  # a battery that knows by itself
    machine.write("sys/class/power_supply/BAT0/status", status)
    assert permission(policy, MONDAY).trains is trains
    machine.write("sys/class/power_supply/BAT0/capacity", "95")
    assert permission(policy, MONDAY).trains


@pytest.mark.parametrize(
    ("answer", "forbids"),
    [
        ("100 (connected)|no", False),
        ("100 (connected)|yes (guessed)", True),
        ("30 (disconnected)|yes", False),
        ("100 (connected)|unknown", False),
    ],
)
def test_networkmanager_is_asked(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, answer: str, forbids: bool
) -> None:
    state, metered = answer.split("|")
    machine.write(
        "nmcli", f"#!/bin/sh\nprintf 'GENERAL.STATE:{state}\\nGENERAL.METERED:{metered}\\n'"
    )
    (machine.root / "nmcli").chmod(0o755)
    monkeypatch.setenv("PATH", f"{machine.root}:/usr/bin:/bin")
    assert bool(said(machine, unmetered_only=True)) is forbids


@pytest.mark.parametrize(("reason", "waits"), [("on battery", False), ("", True)])
def test_nobody_waits_for_a_device_that_sleeps_by_its_policy(reason: str, waits: bool) -> None:
    roster = Roster(["one"])
    notes = notes_of(Presence(state=State.SLEEPING, reason=reason))
    roster.hear("one", Arrival("t", b"online", lambda: None, notes, False))
    assert (list(roster.able()) == ["one"]) is waits


def test_a_device_sleeps_until_its_policy_lets_it_train(
    machine: Machine,
    tmp_path: Path,
    broker: BrokerSettings,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    monkeypatch.setattr(policies, "LOOK_SECONDS", 0.2)
    for name in ("FIRST_STATUS_SECONDS", "STATUS_SECONDS"):  # the first may tell of no task yet
        monkeypatch.setattr(f"edge.agent.service.{name}", 0.5)
    machine.plug(False)
    source = write_data(tmp_path / "data")
    task = Task(tmp_path, source, broker, None, "fedproto", {})
    own = TrainingPolicy(root=machine.root, mains_only=True)
    settings = task.device().model_copy(update={"policy": own})
    with aggregator(task) as running, at_work(settings) as device:
        wait_until(lambda: sleeping(task) == "on battery, until it is on mains")
        assert not (settings.folder / "state.safetensors").exists()
        wait_until(lambda: "waits for its policy: on battery, until it is on mains" in caplog.text)
        machine.plug(True)
        assert device.ended.result(120)
        assert running.process.wait(60) == 0
    assert task.summary()["rounds"] == 2


def sleeping(task: Task) -> str:
    found = [each for each in task.status().get("devices", []) if each["name"] == DEVICE]
    return found[0]["reason"] if found and found[0]["state"] == "sleeping" else ""


def test_a_device_of_low_charge_answers_without_an_upload(
    machine: Machine, tmp_path: Path, broker: BrokerSettings, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    machine.plug(False)
    source = write_data(tmp_path / "data")
    task = Task(tmp_path, source, broker, None, "fedproto", {})
    own = TrainingPolicy(root=machine.root, min_battery=0.9)
    settings = task.device().model_copy(update={"policy": own})
    with aggregator(task), at_work(settings):
        wait_until((settings.folder / "state.safetensors").exists)
    assert "round 0: the battery is low: this device only evaluates" in caplog.text
