"""Devices that only take what is shipped to them: real parts of an agent, a thread each."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edge.agent.current_model import CurrentModel
from edge.agent.presence import PresenceTeller
from edge.agent.settings import DataSettings, DeviceSettings
from edge.agent.shipments import Shipments
from edge.agent.shipped_kinds import kinds_of
from edge.agent.standing import Standing
from edge.agent.store import AgentStore
from edge.agent.task_session import DeviceContext
from edgeloop.data import DeviceData
from edgeloop.mqtt.connection import Arrival, MqttConnection
from edgeloop.protocol.task import client_id
from edgeloop.protocol.wire import WireError
from edgeloop.runtime.config import BrokerSettings

TASK = "doors"


def settings_of(
    name: str, folder: Path, source: Path, broker: BrokerSettings, **more: object
) -> DeviceSettings:
    facts = {"name": name, "task": TASK, "folder": folder / name, "broker": broker}
    table = {**facts, "data": DataSettings(source=str(source)), **more}
    return DeviceSettings.model_validate(table)


class LightDevice:
    """A device's part that takes orders.

    Args:
        settings: the device's.
    """

    def __init__(self, settings: DeviceSettings) -> None:
        settings.folder.mkdir(parents=True, exist_ok=True)
        self.context = DeviceContext(settings, DeviceData(settings.data.selection()))
        self._link = MqttConnection(
            settings.broker, client_id(settings.task, settings.name), [], persistent=False
        )
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> "LightDevice":
        settings = self.context.settings
        self._link.__enter__()
        standing = Standing(AgentStore(settings.folder, settings.name, settings.task))
        self.model = CurrentModel(self.context, standing.store, PresenceTeller(self._link))
        kinds = kinds_of(self.context, standing, self.model, None)
        self.shipments = Shipments(self.context, self._link, kinds)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join()
        self._link.__exit__(None, None, None)

    def _run(self) -> None:
        while not self._stopped.is_set():
            event = self._link.receive(0.05)
            if isinstance(event, Arrival):
                try:
                    if self.shipments.takes(event.topic):
                        self.shipments.handle(event)
                except WireError:
                    pass
                event.acknowledge()
            self.shipments.look()


@contextmanager
def light_device(settings: DeviceSettings) -> Iterator[LightDevice]:
    """Run a device while a block runs."""
    with LightDevice(settings) as found:
        yield found
