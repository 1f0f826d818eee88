"""Real brokers, and a small world of devices, for the tests that need them."""

import os
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import hypothesis
import pytest
import torch
from torch import nn

from edgeloop import data
from edgeloop.data import Partition, Pool
from edgeloop.data.sample import fashion_sample
from edgeloop.models import SplitModel
from edgeloop.runtime import plugins, worker_processes
from edgeloop.runtime.config import BrokerSettings
from tests import forked, ports
from tests import postgres as postgresql
from tests.field.cases import CASES
from tests.forks import Forks
from tests.world import MODELS, StartBroker, brokers_in

ports.give_everybody_lasting_ports()

# No test is timed: a busy machine is no defect.
# CI draws the same examples each time; elsewhere new ones are tried.
in_ci = bool(os.environ.get("CI"))
hypothesis.settings.register_profile("edgeloop", deadline=None, derandomize=in_ci)
hypothesis.settings.load_profile("edgeloop")


FIELD = frozenset(test for tests in CASES.values() for test in tests)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what `make field-cases` runs."""
    for item in items:
        if item.nodeid.partition("[")[0] in FIELD:
            item.add_marker(pytest.mark.field)


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(autouse=True, scope="session")
def _workers_are_forked() -> Iterator[None]:
    """A worker need not load torch again; tests of workers' processes themselves spawn them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(worker_processes, "new_process", forked.new_worker)
        yield


@pytest.fixture(autouse=True, scope="session")
def _certificates_are_read_once() -> Iterator[None]:
    """A request of httpx's own would read all of the machine's, 20 ms each; a test asks often."""
    make, once = httpx.create_ssl_context, httpx.create_ssl_context()

    def shared(verify: Any = True, cert: Any = None, trust_env: bool = True) -> ssl.SSLContext:
        return once if verify is True and cert is None else make(verify, cert, trust_env)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("httpx._transports.default.create_ssl_context", shared)
        yield


@pytest.fixture(autouse=True)
def _brought_to_one_test(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test brings by hand is none of the next one's."""
    held = {group: dict(each) for group, each in plugins._BROUGHT.items()}
    monkeypatch.setattr(plugins, "_BROUGHT", held)


@pytest.fixture
def identity() -> SplitModel:
    """A model whose features are its two inputs, and whose two logits are its features."""
    model = SplitModel(nn.Flatten(), width=2, classes=2, features=2)
    with torch.no_grad():
        model.head.weight.copy_(torch.eye(2))
        model.head.bias.zero_()
    return model


@pytest.fixture
def start_broker(tmp_path: Path) -> Iterator[StartBroker]:
    """Start Mosquittos on free loopback ports, with further lines of configuration if wanted."""
    with brokers_in(tmp_path) as start:
        yield start


@pytest.fixture
def broker(start_broker: StartBroker) -> BrokerSettings:
    """A Mosquitto of this test's own."""
    return start_broker().settings


@pytest.fixture
def forks() -> Iterator[Forks]:
    """What starts commands that need not load torch again; a test's end with it."""
    found = Forks()
    yield found
    found.kill_all()


@pytest.fixture(scope="session")
def postgres() -> Iterator[postgresql.Postgres]:
    """A PostgreSQL of this session's own."""
    with postgresql.running() as server:
        yield server


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the data of six devices: unequal shares of 600 images."""
    folder = tmp_path_factory.mktemp("world") / "data"
    whole = fashion_sample()
    few = Pool(whole.inputs[:600], whole.labels[:600], whole.class_names, None)
    data.write(data.split(few, Partition("dirichlet", clients=len(MODELS), alpha=1.0)), folder)
    return folder
