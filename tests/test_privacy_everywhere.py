"""A task with privacy over MQTT: budgets end uploads, and no crash makes one cost twice."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from safetensors.numpy import load_file

from edge.agent.settings import DeviceSettings
from edgeloop.privacy.accounting import epsilon, round_cost
from edgeloop.runtime.config import BrokerSettings, PrivacySettings
from tests import forked
from tests.devices import at_work, wait_until
from tests.one_device import DEVICE, EDGELOOP, Task, aggregator, opens, write_data

ROUNDS, SAMPLES, BATCH = 4, 90, 10
ASKED = PrivacySettings(noise=1.0, prototype_noise=0.5)


def cost(rounds: int) -> float:
    """Return the epsilon of so many rounds of the device."""
    events = round_cost(ASKED, samples=SAMPLES, batch_size=BATCH, epochs=1, prototypes=True)
    return epsilon([replace(each, times=rounds * each.times) for each in events], ASKED.delta)


@dataclass(frozen=True)
class Private(Task):
    """A task with a budget.

    Attributes:
        budget: its epsilon.
    """

    budget: float = 1e6

    def config(self) -> Path:
        path = super().config()
        asked = ASKED.model_copy(update={"epsilon": self.budget})
        table = ", ".join(f"{name} = {value}" for name, value in asked.model_dump().items())
        text = re.sub("rounds = .*", f"rounds = {ROUNDS}\nhistory = true", path.read_text())
        path.write_text(f"privacy = {{ {table} }}\n{text}")
        return path

    def device(self) -> DeviceSettings:
        settings = super().device()
        training = settings.training.model_copy(update={"architecture": "cnn"})
        return settings.model_copy(update={"training": training})

    def ledger(self) -> dict[str, Any]:
        """Return what the device has spent."""
        path = self.folder / DEVICE / "privacy.json"
        content = json.loads(path.read_text()) if path.exists() else {"events": []}
        return dict(content)

    def uploads(self) -> list[int]:
        """Return the number of prototypes that came in each round."""
        folder = self.folder / "aggregator" / "history"
        return [len(load_file(path).get("labels", [])) for path in sorted(folder.iterdir())]


@pytest.fixture
def task(tmp_path: Path, broker: BrokerSettings) -> Private:
    return Private(tmp_path, write_data(tmp_path / "data"), broker, None, "fedproto", {})


@contextmanager
def device_process(task: Private) -> Iterator[forked.Forked]:
    path = task.folder / "device.toml"
    fields = task.device().model_dump(mode="json", exclude_none=True)
    path.write_text(tomli_w.dumps(fields))
    with forked.running([EDGELOOP, "agent", "--config", str(path)]) as process:
        yield process


@pytest.mark.broker
def test_a_budget_ends_uploads_and_not_the_run(task: Private) -> None:
    task = replace(task, budget=cost(2) + 0.01)
    with aggregator(task) as server:
        with at_work(task.device(), last=opens(1)):
            wait_until(lambda: task.status().get("round") == 1)
        told = task.status()
        assert told["epsilon"] == pytest.approx(cost(1), abs=1e-4)
        with at_work(task.device()) as device:  # started again
            summary = json.loads(device.ended.result(120).read_text())
        assert server.process.wait(60) == 0
    assert summary["epsilon"] == pytest.approx(cost(2))
    assert task.summary()["epsilon"] == pytest.approx(cost(2), abs=1e-4)
    assert [count > 0 for count in task.uploads()] == [True, True, False, False]
    assert len(task.summary()["accuracy_by_round"]) == ROUNDS + 1
    assert "train_loss_by_round" not in task.summary()  # it would tell of single samples
    second = replace(task, folder=task.folder / "second", mix="auto")
    second.folder.mkdir()
    (task.folder / DEVICE).rename(second.folder / DEVICE)
    (second.folder / DEVICE / "state.safetensors").unlink()  # of the first run, at its end
    with aggregator(second) as server:  # a new run, with the same data
        with at_work(second.device()) as device:
            again = json.loads(device.ended.result(120).read_text())
        assert server.process.wait(60) == 0
    assert again["run"] != summary["run"]
    assert again["epsilon"] == pytest.approx(cost(2))
    assert again["mix"]["weight"] == 0  # it ends well, with nothing learned from others
    assert Path(again["onnx"]).exists()
    assert second.uploads() == [0, 0, 0, 0]


@pytest.mark.broker
def test_a_device_killed_while_it_trains_pays_once(task: Private) -> None:
    with aggregator(task) as server:
        for rounds in (1, 2):
            with device_process(task) as process:
                wait_until(lambda n=rounds: _paid(task) >= n)  # type: ignore[misc]  # a loop's
                process.kill()
        with device_process(task) as process:
            assert process.wait(120) == 0
        assert server.process.wait(60) == 0
    assert _paid(task) == ROUNDS
    assert task.summary()["epsilon"] == pytest.approx(cost(ROUNDS), abs=1e-4)
    assert all(task.uploads())


def _paid(task: Private) -> int:
    """Return how many uploads the device has paid for."""
    return sum(each["times"] for each in task.ledger()["events"] if each["rate"] == 1.0)
