"""Nobody can be taken out of a sum: whoever asks is told so, and nothing says that it was done."""

from pathlib import Path

import pytest

from cloud.aggregator.agreement import make_contract
from cloud.aggregator.leaving import leave
from cloud.aggregator.ledger import Ledger
from cloud.aggregator.settings import TaskSettings
from edge.agent import leaving as device_leaving
from edge.agent.leaving import LEFT
from edgeloop.bases.running import Base
from edgeloop.errors import ConfigError
from edgeloop.mqtt.connection import MqttConnection
from edgeloop.protocol.task import Contract, contract_topic
from edgeloop.runtime.config import BrokerSettings
from tests.leaving import TASK, Scene

pytestmark = pytest.mark.broker

SENTENCE = f"secure aggregation: {TASK} has sums only, and nobody can take one device's part out"


def scene(folder: Path, broker: BrokerSettings, secure: bool) -> Scene:
    cohort = {"devices": ["a", "b", "c"], "secure": secure}
    changes = {"cohort": cohort, "hyperparameters": {"precision": "single"}}
    folder.mkdir(exist_ok=True)
    return Scene(folder, broker, changes=changes)


def agreed(settings: TaskSettings) -> Contract:
    """Return the contract of a run that a ledger holds."""
    base = Base.read(Path(str(settings.base)))
    with Ledger.open(settings.ledger()) as ledger:
        return ledger.adopt(make_contract(settings, None, base))


def test_nobody_is_taken_out_of_a_sum(tmp_path: Path, broker: BrokerSettings) -> None:
    """Neither by the task's file, nor by the ledger's word where the file has lost it."""
    settings = scene(tmp_path, broker, secure=True).settings()
    settings.folder.mkdir()
    agreed(settings)
    with pytest.raises(ConfigError, match=SENTENCE):
        leave(settings, "c")
    with pytest.raises(ConfigError, match=SENTENCE):
        leave(scene(tmp_path, broker, secure=False).settings(), "c")


def test_a_device_that_would_leave_a_sum_hears_so(tmp_path: Path, broker: BrokerSettings) -> None:
    here = scene(tmp_path, broker, secure=True)
    settings = here.settings()
    settings.folder.mkdir()
    with MqttConnection(broker, "the-task", []) as connection:
        connection.publish(contract_topic(TASK), agreed(settings).text().encode(), retain=True)
        assert connection.flush(10)
    with pytest.raises(ConfigError, match=SENTENCE):
        device_leaving.leave(here.device("c"), 0.1)
    assert not (here.folder / "c" / LEFT).exists()
