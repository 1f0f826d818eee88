"""A device leaves its task: what it has given is taken out, and it takes part no more.

    left.json    which task it has left, which run it asked to be taken out of, and whether it is

The file comes first: from then on no agent starts in the folder, and asking again is enough.
"""

import logging
from pathlib import Path

from edge.agent.settings import DeviceSettings
from edgeloop.errors import ConfigError, RunError
from edgeloop.mqtt import leaving
from edgeloop.mqtt.connection import MqttConnection
from edgeloop.protocol.task import client_id, contract_topic
from edgeloop.runtime import atomic_files

log = logging.getLogger(__name__)

LEFT = "left.json"


def leave(device: DeviceSettings, seconds: float) -> bool:
    """Ask that a device be taken out of its task; tell whether it has been.

    If not, the broker keeps the word for the aggregator.

    Args:
        device: its settings; its folder is held.
        seconds: to wait for the aggregator.

    Raises:
        BrokerError: if the broker cannot be reached, or does not take the word.
        ConfigError: if the task is not known at the broker, does not know the device, or has an
            algorithm that cannot take one out.
        RunError: if the folder cannot be written.
    """
    task, name = device.task, device.name
    known = _run_left(device.folder, task)
    with MqttConnection(device.broker, client_id(task, name), [contract_topic(task)]) as connection:
        contract = leaving.contract_at(connection, task)
        leaving.check(task, contract.algorithm, bool(contract.secure))
        if not contract.admits(name) and known != contract.run:
            problem = f"{name} has no part in run {contract.run} of {task}"
            raise ConfigError("name", problem, "there is nothing to take out")
        _note(device.folder, task, contract.run, out=False)
        out = not contract.admits(name) or leaving.ask(connection, contract, name, seconds)
    if out:
        _note(device.folder, task, contract.run, out=True)
    return out


def check(device: DeviceSettings) -> None:
    """Refuse to take part in a task that the device has left.

    Raises:
        RunError: if it has.
    """
    if _run_left(device.folder, device.task) is not None:
        problem = f"{device.name} has left {device.task}"
        remedy = f"remove {LEFT} from it to take part in the task's next run"
        raise RunError(f"folder {device.folder}", problem, remedy)


def _note(folder: Path, task: str, run: str, out: bool) -> None:
    with atomic_files.writing(folder):
        atomic_files.write_checked_json(folder / LEFT, {"task": task, "run": run, "out": out})


def _run_left(folder: Path, task: str) -> str | None:
    """Return the run that the device has asked to be taken out of; None if it has not left.

    A file that is damaged says that it has left; the run is then not known, and empty.
    """
    try:
        found = atomic_files.read_json(folder / LEFT)
        return str(found["run"]) if found["task"] == task else None
    except FileNotFoundError:
        return None
    except (OSError, LookupError, TypeError, ValueError) as error:
        log.warning("%s is damaged (%s)", folder / LEFT, error)
        return ""
