"""Real brokers, and a small world of devices, for the tests that need them."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import hypothesis
import pytest
import torch
from torch import nn

from edgeloop import data
from edgeloop.data import Partition, Pool
from edgeloop.data.sample import fashion_sample
from edgeloop.local.ports import free_port
from edgeloop.models import SplitModel
from edgeloop.settings import BrokerSettings
from tests import postgres as postgresql
from tests.world import MODELS, Mosquitto, StartBroker, wait_for_port

# No test is timed: a busy machine is no defect.
hypothesis.settings.register_profile("edgeloop", deadline=None)
hypothesis.settings.load_profile("edgeloop")


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    torch.set_num_threads(1)


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
    program = shutil.which("mosquitto", path=os.environ.get("PATH", "") + ":/usr/sbin")
    if program is None:
        if os.environ.get("CI"):
            pytest.fail("mosquitto is not installed")
        pytest.skip("mosquitto is not installed")
    with ExitStack() as stack:

        def start(*lines: str, port: int | None = None) -> Mosquitto:
            port = port or free_port()
            config = tmp_path / f"mosquitto-{port}.conf"
            anonymous = (
                [] if any("allow_anonymous" in line for line in lines) else ["allow_anonymous true"]
            )
            config.write_text(
                "\n".join([f"listener {port} 127.0.0.1", "user root", *anonymous, *lines]) + "\n"
            )
            process = subprocess.Popen([program, "-c", str(config)], stderr=subprocess.DEVNULL)
            stack.callback(process.wait)
            stack.callback(process.kill)
            wait_for_port(port)
            return Mosquitto(process, BrokerSettings(port=port))

        yield start


@pytest.fixture
def broker(start_broker: StartBroker) -> BrokerSettings:
    """A Mosquitto of this test's own."""
    return start_broker().settings


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
