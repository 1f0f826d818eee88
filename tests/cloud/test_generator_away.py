"""A task whose generator is away, or another one, in the middle: nothing is lost, nothing mixed."""

import shutil
from contextlib import ExitStack
from pathlib import Path

import pytest

from cloud.generator_service import repository, server
from cloud.generator_service.server import Ports, TritonInstallation
from edgeloop.cli.main import main
from edgeloop.runtime.config import BrokerSettings
from tests import triton
from tests.devices import at_work, wait_until
from tests.generators.tiny import write_tiny
from tests.one_device import Aggregator, Task, aggregator, opens, simulated, write_data

pytestmark = pytest.mark.broker


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("data") / "one")


@pytest.fixture
def home() -> TritonInstallation:
    return triton.home()


def serve(folder: Path, seed: int = 0) -> None:
    """Write a tiny generator into the repository in a folder, as the only one there."""
    shutil.rmtree(folder / "models", ignore_errors=True)
    repository.write(write_tiny(folder / f"tiny-{seed}", seed), folder / "models", "tiny")


def served_task(folder: Path, source: Path, broker: BrokerSettings) -> tuple[Task, Ports]:
    """Return a task whose generator is the one in the folder's repository, once it is served."""
    serve(folder)
    ports = server.free_ports()
    return Task(folder, source, broker, f"triton://127.0.0.1:{ports.grpc}/tiny"), ports


def begin(stack: ExitStack, task: Task) -> Aggregator:
    """Start a task, and have its device answer the first round only."""
    cloud = stack.enter_context(aggregator(task))
    with at_work(task.device(), last=opens(1)):
        wait_until(lambda: "round 0 of 2 closed" in cloud.said())
    return cloud


def test_another_generator_is_refused_until_the_old_one_is_back(
    tmp_path: Path, source: Path, broker: BrokerSettings, capfd: pytest.CaptureFixture[str]
) -> None:
    tiny = write_tiny(tmp_path / "tiny")
    task = Task(tmp_path, source, broker, str(tiny))
    uninterrupted = simulated(source, str(tiny), tmp_path / "simulated")["knowledge_sha256"]
    with ExitStack() as stack:
        begin(stack, task)
    write_tiny(tiny, seed=1)
    capfd.readouterr()
    for _ in range(2):
        assert main(["aggregator", "--config", str(task.config())]) == 2
        (sentence,) = capfd.readouterr().err.splitlines()
        assert sentence.startswith("error: ")
        assert sentence.endswith("(task alone, other generator_sha256); use another folder")
    write_tiny(tiny)
    with at_work(task.device()) as device:
        assert main(["aggregator", "--config", str(task.config())]) == 0
        assert "resumes at round 1" in capfd.readouterr().err
        device.ended.result(60)
    assert task.summary()["knowledge_sha256"] == uninterrupted


def awaits_triton(task: Task, cloud: Aggregator) -> None:
    """Wait until the second round cannot be closed, and see that everybody is told."""
    wait_until(lambda: task.status().get("generator_problem") is not None)
    status, answer, metrics = (task.asked(path) for path in ("/status", "/readyz", "/metrics"))
    assert status is not None
    assert answer is not None
    assert metrics is not None
    problem = status.json()["generator_problem"]
    assert "failed to connect" in problem
    assert status.json()["round"] == 1
    assert len(status.json()["history"]) == 1
    assert (answer.status_code, answer.json()["reasons"]) == (503, [problem])
    assert "edgeloop_generator_ready 0.0" in metrics.text
    assert task.asked("/healthz")
    assert cloud.process.poll() is None
    assert f"WARNING generator: {problem}" in cloud.said()


@pytest.mark.triton
def test_a_round_waits_for_triton_and_loses_nothing(
    tmp_path: Path, source: Path, broker: BrokerSettings, home: TritonInstallation
) -> None:
    task, ports = served_task(tmp_path, source, broker)
    with ExitStack() as stack:
        with triton.running(tmp_path, home, ports):
            uninterrupted = simulated(source, task.generator, tmp_path / "simulated")
            cloud = begin(stack, task)
        device = stack.enter_context(at_work(task.device()))
        awaits_triton(task, cloud)
        with triton.running(tmp_path, home, ports):
            assert cloud.process.wait(60) == 0
        device.ended.result(60)
    assert "generator: answers again" in cloud.said()
    assert task.summary()["knowledge_sha256"] == uninterrupted["knowledge_sha256"]


@pytest.mark.triton
def test_another_generator_that_comes_back_is_refused_until_the_old_one_is(
    tmp_path: Path, source: Path, broker: BrokerSettings, home: TritonInstallation
) -> None:
    task, ports = served_task(tmp_path, source, broker)
    with ExitStack() as stack:
        with triton.running(tmp_path, home, ports):
            uninterrupted = simulated(source, task.generator, tmp_path / "simulated")
            cloud = begin(stack, task)
        device = stack.enter_context(at_work(task.device()))
        awaits_triton(task, cloud)
        serve(tmp_path, seed=1)
        with triton.running(tmp_path, home, ports):
            assert cloud.process.wait(60) == 2
        sentence = cloud.said().splitlines()[-1]
        assert sentence.startswith(f"error: {task.generator}: is another generator now (")
        assert sentence.endswith("); serve the old one again, or begin a new task")
        serve(tmp_path)
        with triton.running(tmp_path, home, ports):
            assert main(["aggregator", "--config", str(task.config())]) == 0
        device.ended.result(60)
    assert task.summary()["knowledge_sha256"] == uninterrupted["knowledge_sha256"]
