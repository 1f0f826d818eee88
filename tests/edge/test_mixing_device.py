"""A device that is killed while it mixes starts that again, and ends as it would have."""

import json
import time
from pathlib import Path
from typing import Any

import pytest
import tomli_w

from edge.agent.predict import open_model
from edge.agent.settings import DeviceSettings
from edgeloop.runtime.config import BrokerSettings
from tests import forked
from tests.edge.hand_made import ROUNDS, cloud, device, pairs
from tests.one_device import EDGELOOP

pytestmark = pytest.mark.broker
TRAINS = "training alone"


def started(settings: DeviceSettings, log: Path) -> forked.Forked:
    path = settings.folder.with_suffix(".toml")
    path.write_text(tomli_w.dumps(settings.model_dump(mode="json", exclude_none=True)))
    with log.open("wb") as output:
        return forked.start([EDGELOOP, "agent", "--config", str(path)], stderr=output)


def ended(settings: DeviceSettings) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((settings.folder / "summary.json").read_text())
    return found


def test_killed_while_it_trains_alone(broker: BrokerSettings, world: Path, tmp_path: Path) -> None:
    settings = device(world, broker, tmp_path / "one")
    log = tmp_path / "log"
    with cloud(settings) as aggregator:
        aggregator.open(0, pairs(1))
        process = started(settings, log)
        try:
            aggregator.answer()
            aggregator.open(ROUNDS, pairs(1))
            deadline = time.monotonic() + 120
            while TRAINS not in log.read_text() and time.monotonic() < deadline:
                time.sleep(0.005)
        finally:
            process.kill()
            process.wait()
        assert TRAINS in log.read_text()
        assert not (settings.folder / "summary.json").exists()
        again = started(settings, tmp_path / "again")
        try:
            assert again.wait(120) == 0
        finally:
            again.kill()
            again.wait()
    found = ended(settings)
    assert found["mix"]["weight"] == json.loads(str(open_model(Path(found["onnx"])).fact("weight")))
    assert TRAINS in (tmp_path / "again").read_text()
