"""What is shipped to a device: checked, applied whole or not at all, answered, despite a kill."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from edge.agent import settings_from_afar as afar
from edge.agent.current_model import CurrentModel
from edge.agent.presence import PresenceTeller
from edge.agent.shipments import RECORD
from edge.agent.store import AgentStore
from edge.agent.task_session import load_context
from edgeloop.bases.manifest import digest
from edgeloop.data import ClientData, DeviceSamples
from edgeloop.errors import ConfigError, ModelError
from edgeloop.mqtt.connection import Arrival, MqttConnection
from edgeloop.protocol.rollout import (
    Kind,
    Order,
    Outcome,
    applied_topic,
    desired_topic,
    shipped_topic,
)
from edgeloop.runtime.config import BrokerSettings
from tests.bases.tiny import tiny_graph
from tests.devices import wait_until
from tests.edge.hand_made import device
from tests.edge.test_current_model import put, started
from tests.edge.test_deployment_gate import in_use, own, write
from tests.light_devices import TASK, LightDevice, light_device, settings_of

NAME = "press-1"


class Shipper:
    """The cloud's side: gives orders, ships files, hears outcomes."""

    def __init__(self, link: MqttConnection, task: str, name: str) -> None:
        self._link, self._task, self._name = link, task, name
        self.told: list[Outcome] = []

    def order(self, content: bytes, kind: Kind, serial: int, **changes: Any) -> Order:
        facts = {"rollout": f"r{serial}", "serial": serial, "kind": kind, "action": "apply"}
        facts |= {"sha256": digest(content), "size": len(content), **changes}
        found = Order.model_validate(facts)
        topic = desired_topic(self._task, self._name, kind)
        self._link.publish(topic, found.text(), retain=True)
        return found

    def ship(self, content: bytes, name: str | None = None) -> None:
        self._link.publish_retained(shipped_topic(self._task, name or digest(content)), content)

    def states(self, serial: int) -> list[str]:
        while isinstance(event := self._link.receive(0.01), Arrival):
            self.told.append(Outcome.model_validate_json(event.payload))
            event.acknowledge()
        return [each.state for each in self.told if each.serial == serial]

    def until(self, serial: int, state: str) -> str:
        wait_until(lambda: self.states(serial)[-1:] == [state])
        return [each.reason for each in self.told if each.serial == serial][-1]


@contextmanager
def shipper(broker: BrokerSettings, task: str = TASK, name: str = NAME) -> Iterator[Shipper]:
    topics = [applied_topic(task, name, "+")]
    with MqttConnection(broker, "cloud", topics) as link:
        yield Shipper(link, task, name)


@pytest.fixture
def press(tmp_path: Path, world: Path, broker: BrokerSettings) -> Iterator[LightDevice]:
    settings = settings_of(NAME, tmp_path, world, broker)
    put(settings.folder, "r1", 0)
    with light_device(settings) as found:
        yield found


def model(folder: Path, run: str, wrong: int = 0, names: tuple[str, ...] = ("a", "b")) -> bytes:
    write(folder / "made" / run, run, wrong, names)
    return (folder / "made" / run).read_bytes()


@pytest.mark.broker
def test_a_model_is_put_into_use_and_taken_back(
    tmp_path: Path, broker: BrokerSettings, press: LightDevice
) -> None:
    folder, content = press.context.settings.folder, model(tmp_path, "r2")
    with shipper(broker) as ship:
        ship.ship(content)
        ship.order(content, "model", 5)
        ship.until(5, "applied")
        assert ship.states(5) == ["fetching", "applied"]
        assert in_use(folder) == "r2"
        ship.order(content, "model", 5)  # as a broker says it again
        wait_until(lambda: ship.states(5) == ["fetching", "applied", "applied"])
        ship.order(content, "model", 4, rollout="old")  # somebody sends an old one again
        ship.order(content, "model", 6, action="roll back")
        ship.until(6, "rolled back")
        assert ship.states(4) == []
        assert in_use(folder) == "r1"


@pytest.mark.broker
def test_what_the_device_takes_out_of_use_is_said(
    tmp_path: Path, broker: BrokerSettings, press: LightDevice
) -> None:
    content = model(tmp_path, "r2")
    with shipper(broker) as ship:
        ship.ship(content)
        ship.order(content, "model", 5)
        ship.until(5, "applied")
        press.context.settings.folder.joinpath("model.onnx").write_bytes(b"0" * 100)
        press.model.look()
        assert ship.until(5, "rolled back").startswith("model.onnx has other bytes")
    assert in_use(press.context.settings.folder) == "r1"


@pytest.mark.broker
def test_what_cannot_be_used_is_refused_with_a_reason(
    tmp_path: Path, broker: BrokerSettings, press: LightDevice
) -> None:
    folder = press.context.settings.folder
    good = model(tmp_path, "r2")
    with shipper(broker) as ship:

        def refused(serial: int, content: bytes, kind: Kind, **changes: Any) -> str:
            ship.ship(content, changes.get("sha256"))
            ship.order(content, kind, serial, **changes)
            return ship.until(serial, "failed")

        assert "is no ONNX model" in refused(2, b"nothing", "model")
        assert "other classes" in refused(3, model(tmp_path, "r3", 0, ("c", "d")), "model")
        assert "other bytes than the order says" in refused(4, good, "model", sha256="1" * 64)
        assert "base" in refused(5, good, "base")
        assert "settings" in refused(6, b"[1]", "settings")
    assert in_use(folder) == "r1"
    assert not list((folder / "bases").glob("*")) if (folder / "bases").exists() else True


@pytest.mark.broker
def test_a_base_is_kept_and_forgotten(
    tmp_path: Path, broker: BrokerSettings, press: LightDevice
) -> None:
    base = tiny_graph((1, 8, 8))
    place = press.context.settings.folder / "bases" / f"{digest(base)}.onnx"
    with shipper(broker) as ship:
        ship.ship(base)
        ship.order(base, "base", 1)
        ship.until(1, "applied")
        assert place.read_bytes() == base
        ship.order(base, "base", 2, action="roll back")
        ship.until(2, "rolled back")
    assert not place.exists()


def test_a_model_from_afar_passes_the_devices_own_gate(
    tmp_path: Path, world: Path, broker: BrokerSettings
) -> None:
    settings = settings_of("one", tmp_path, world, broker)
    put(settings.folder, "r1", 0)
    link = MqttConnection(broker, "never connected", [])
    store = AgentStore(settings.folder, "one", TASK)
    found = CurrentModel(load_context(settings), store, PresenceTeller(link))
    share = DeviceSamples(ClientData(own(40), own()), False)
    with pytest.raises(ModelError, match="of 20 test samples it has"):
        found.put_shipped(model(tmp_path, "r2", 9), share)
    assert in_use(settings.folder) == "r1"
    found.put_shipped(model(tmp_path, "r3", 1), share)
    assert in_use(settings.folder) == "r3"


def test_settings_from_afar_stay_within_what_is_allowed(
    tmp_path: Path, world: Path, broker: BrokerSettings, caplog: pytest.LogCaptureFixture
) -> None:
    settings = settings_of("one", tmp_path, world, broker)
    settings.folder.mkdir()
    afar.lay_over(settings.folder, "a", {"policy": {"mains_only": True}})
    afar.lay_over(settings.folder, "b", {"health": False})
    assert afar.applied(settings) == settings.model_copy(update={"health": False})
    afar.go_back(settings.folder)
    assert afar.applied(settings).policy.mains_only
    unwilling = {**settings.model_dump(), "rollouts": {"accept": ["model"]}}
    assert not afar.applied(settings.model_validate(unwilling)).policy.mains_only
    afar.go_back(settings.folder)
    assert afar.applied(settings) == settings
    for table in ({}, {"folder": "x"}, {"model": {"licence": "x"}}, {"policy": 1}, {"health": 7}):
        with pytest.raises(ConfigError):
            afar.overlaid(settings, table)
    afar.lay_over(settings.folder, "c", {"health": "perhaps"})  # of another version
    assert afar.applied(settings) == settings
    assert "does not fit the file any more" in caplog.text


@pytest.mark.broker
def test_an_agent_that_is_killed_as_it_fetches_begins_again(
    broker: BrokerSettings, world: Path, tmp_path: Path
) -> None:
    settings, log = device(world, broker, tmp_path / "one"), tmp_path / "log"
    put(settings.folder, "r1", 0)
    with shipper(broker, "t", "one") as ship:
        content = model(tmp_path, "r2")
        ship.order(content, "model", 5)  # whose file is not there yet
        process = started(settings, log)
        try:
            ship.until(5, "fetching")
            process.kill()
            process.wait()
            assert json.loads((settings.folder / RECORD).read_text())
            ship.ship(content)
            process = started(settings, log)
            ship.until(5, "applied")
            assert in_use(settings.folder) == "r2"
            table = json.dumps({"model": {"every_rounds": 0}}).encode()
            ship.ship(table)
            ship.order(table, "settings", 6)
            ship.until(6, "applied")
        finally:
            process.kill()
            process.wait()
    assert "read the settings again: model" in log.read_text()
    assert afar.applied(settings).model.every_rounds == 0
