"""A stack with its own authority signs everything, and comes to the bits of one process."""

import json
from pathlib import Path

import pytest

from tests.cloud.stack import stacks
from tests.cloud.stack.stacks import TASK
from tests.one_device import ARCHITECTURE, WIDTH, simulated, write_data
from tests.world import StartBroker

pytestmark = pytest.mark.broker
NAMES, ROUNDS = ("client-00", "client-01"), 2


@pytest.fixture(autouse=True)
def _mosquitto(start_broker: StartBroker) -> None:
    """Skip without Mosquitto."""


def test_signed_or_in_one_process_it_is_the_same_to_the_bit(tmp_path: Path) -> None:
    source = write_data(tmp_path / "data", len(NAMES))
    cohort = {"devices": list(NAMES)}
    task = stacks.task(rounds=ROUNDS, width=WIDTH, cohort=cohort)
    agents = [
        {
            "name": name,
            "task": TASK,
            "data": {"source": str(source), "client": number},
            "training": {"architecture": ARCHITECTURE, "threads": 1, "mix": "never"},
            "model": {"every_rounds": 0},
        }
        for number, name in enumerate(NAMES)
    ]
    table = stacks.table(tmp_path, aggregators=[task], agents=agents)
    with stacks.running(stacks.write(tmp_path, table)) as up:
        assert up.end() == 0, up.said()
    said = up.said()
    assert "ignored a message" not in said
    assert "unverified" not in said
    place = tmp_path / "stack"
    assert json.loads((place / "agents" / TASK / NAMES[0] / "signed.json").read_text())["round"]
    assert (place / "aggregators" / TASK / "signed.json").exists(), "see mqtt.signing_times"
    summary = json.loads((place / "aggregators" / TASK / "summary.json").read_text())
    alone = simulated(
        source, None, tmp_path / "run", algorithm="fedproto", rounds=ROUNDS, options={}
    )
    assert summary["knowledge_sha256"] == alone["knowledge_sha256"]
