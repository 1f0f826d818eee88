"""What every cohort promises, whatever carries the messages."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from edge.agent.service import Agent, subscriptions
from edge.agent.settings import DataSettings, DeviceSettings, ModelSettings, TrainingSettings
from edge.agent.task_session import load_context
from edgeloop import algorithms, data, models
from edgeloop.client import Client
from edgeloop.cohorts import Cohort
from edgeloop.cohorts.local import LocalCohort
from edgeloop.cohorts.mqtt import MqttCohort, RoundDeadlines
from edgeloop.cohorts.uploads import MemoryLog
from edgeloop.cohorts.workers import WorkerCohort
from edgeloop.knowledge.prototypes import GlobalPrototypes, PrototypeUpload
from edgeloop.mqtt.connection import MqttConnection
from edgeloop.protocol import wire
from edgeloop.protocol.task import Contract
from edgeloop.runtime.config import BrokerSettings
from tests import forked
from tests.world import MODELS, contract

NAMES = ["a-1", "b-2", "c-3"]
OPTIONS = {"classes": 10, "width": 32, "seed": 0}
ALGORITHM = algorithms.load("fedproto", None, **OPTIONS)
Opened = Callable[[], Cohort[GlobalPrototypes, PrototypeUpload]]


@dataclass(frozen=True)
class Enlist:
    """Makes members in this process or, pickled, in a worker."""

    world: Path

    def __call__(self, names: Sequence[str]) -> LocalCohort[Any, Any]:
        federation = data.load(self.world)
        clients = {}
        for name in names:
            number = NAMES.index(name)
            model = models.build(MODELS[number], (1, 28, 28), 10, 32, 0)
            share = federation.client(number)
            clients[name] = Client(name, ALGORITHM, model, share, batch_size=10, seed=0)
        return LocalCohort(clients)


def device(world: Path, number: int, broker: BrokerSettings, folder: Path) -> DeviceSettings:
    return DeviceSettings(
        name=NAMES[number],
        task="contract",
        folder=folder / NAMES[number],
        broker=broker,
        data=DataSettings(source=str(world), client=number),
        training=TrainingSettings(architecture=MODELS[number], threads=1, mix="never"),
        model=ModelSettings(every_rounds=0),
    )


def agreed() -> Contract:
    names = data.load("fashion-sample", data.Partition("iid")).class_names
    return contract(task="contract", class_names=names, width=32, devices=tuple(NAMES))


def serve(settings: DeviceSettings) -> None:
    torch.set_num_threads(1)
    name = f"edgeloop.contract.{settings.name}"
    with MqttConnection(settings.broker, name, subscriptions("contract")) as connection:
        Agent(load_context(settings), connection).run()


@pytest.fixture(params=["local", "workers", pytest.param("mqtt", marks=pytest.mark.broker)])
def opened(request: pytest.FixtureRequest, world: Path, tmp_path: Path) -> Iterator[Opened]:
    with ExitStack() as stack:

        def workers() -> Cohort[Any, Any]:
            cohort = WorkerCohort[Any, Any](Enlist(world), dict.fromkeys(NAMES, 1.0), 2)
            stack.callback(cohort.close)
            return cohort

        def mqtt() -> Cohort[Any, Any]:
            broker = request.getfixturevalue("broker")
            for number in range(len(NAMES)):
                settings = device(world, number, broker, tmp_path)
                agent = forked.new_worker(serve, [settings], daemon=False)
                agent.start()
                stack.callback(agent.join)
                stack.callback(agent.kill)
            connection = MqttConnection(broker, "server", MqttCohort.subscriptions("contract"))
            stack.enter_context(connection)
            patience = RoundDeadlines(quorum=3, deadline=60.0, give_up=60.0)
            return MqttCohort(connection, agreed(), ALGORITHM, patience, MemoryLog())

        choices = {"local": lambda: Enlist(world)(NAMES), "workers": workers, "mqtt": mqtt}
        yield choices[request.param]


def test_two_rounds_and_the_end(opened: Opened, world: Path) -> None:
    """Answers come by client in the order of names, say what a member alone says, and are kept."""
    cohort, alone = opened(), Enlist(world)(NAMES)
    state, broadcast = ALGORITHM.start()
    for number in range(2):
        answers, expected = cohort.ask(number, broadcast), alone.ask(number, broadcast)
        assert list(answers) == NAMES
        for name in NAMES:
            ours, theirs = answers[name], expected[name]
            assert wire.fingerprint(ours.upload) == wire.fingerprint(theirs.upload)
            assert ours.report.test_correct == theirs.report.test_correct
            assert ours.report.train_samples == theirs.report.train_samples
        uploads = [answers[name].upload for name in NAMES]
        state, broadcast = ALGORITHM.aggregate(state, uploads)
    reports, expected_reports = cohort.finish(2, broadcast), alone.finish(2, broadcast)
    assert list(reports) == NAMES
    for name in NAMES:
        assert reports[name].test_correct == expected_reports[name].test_correct
        assert reports[name].test_samples == expected_reports[name].test_samples > 0
