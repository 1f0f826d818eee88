"""A real stack, acted on over the API: paused, resumed, a device evicted, cancelled."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgeloop.runtime.child_processes import edgeloop, environment
from edgeloop.runtime.ports import free_port
from tests.cloud.console.serving import Running, console
from tests.world import StartBroker

pytestmark = pytest.mark.broker


STACK = """
folder = "{folder}"
broker = {{ port = {broker}, plain = true }}

[[aggregators]]
name = "doors"
algorithm = "fedproto"
class_names = [
  "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat",
  "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
]
shape = [1, 28, 28]
width = 32
rounds = 5000
http = {{ port = {http} }}
# A round waits for who is away, so that the devices are not always at work.
cohort = {{ devices = ["press-1", "press-2", "press-3"], quorum = 1, grace_seconds = 1.0 }}
"""

AGENT = """
[[agents]]
name = "press-{number}"
task = "doors"
data = {{ source = "fashion-sample", partition = "iid", clients = 100, client = {number} }}
training = {{ threads = 1 }}
"""


@pytest.fixture
def running(start_broker: StartBroker, tmp_path: Path) -> Iterator[Running]:
    file, log = tmp_path / "stack.toml", tmp_path / "up.log"
    ports = {"broker": free_port(), "http": free_port()}
    text = STACK.format(folder=tmp_path / "stack", **ports)
    file.write_text(text + "".join(AGENT.format(number=number) for number in (1, 2)))
    command = edgeloop("up", "--config", str(file))
    with log.open("wb") as said:
        process = subprocess.Popen(command, stdout=said, stderr=said, env=environment())
    try:
        with console(tmp_path / "server", stack=str(file)) as found:
            yield found
    finally:
        process.terminate()
        process.wait(60)
        sys.stdout.write(log.read_text())


def test_a_stack_is_acted_on(running: Running) -> None:
    task = "/api/v1/tasks/doors"

    def act(path: str) -> None:
        answer = running.ask(task + path, "operator", "POST")
        assert answer.status_code == 200, answer.text

    running.wait(task, lambda found: found["round"] >= 1, 60)
    act("/pause")
    held = running.wait(task, lambda found: found["state"] == "Paused", 60)
    act("/resume")
    running.wait(task, lambda found: found["round"] > held["round"], 60)
    act("/devices/press-2/evict")
    assert running.ask(f"{task}/devices/press-2").json()["evicted"]
    act("/cancel")
    running.wait(task, lambda found: found["state"] == "Cancelled", 60)
    assert running.ask(f"{task}/resume", "operator", "POST").status_code == 409
    models = running.ask("/api/v1/models?task=doors").json()["items"]
    assert {each["device"] for each in models} <= {"", "press-1", "press-2"}
