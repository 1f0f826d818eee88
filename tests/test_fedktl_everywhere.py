"""FedKTL over MQTT with one device, and with its generator behind a real Triton: as in process."""

import json
import re
import socket
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from cloud.aggregator.service import serve
from cloud.aggregator.settings import TaskSettings
from edge.agent.predict import open_model
from edgeloop import bases, data, generators, server_loop
from edgeloop.cli.main import main
from edgeloop.generator import Generator, as_inputs
from edgeloop.generators.triton import TritonGenerator
from edgeloop.knowledge.latent_pairs import Pairs
from edgeloop.runtime import config
from edgeloop.runtime.config import BrokerSettings
from simulations.engine import run_cohort, run_plan
from simulations.engine.mixing import HITS
from simulations.results import measurements
from simulations.settings import RunSettings
from tests import triton
from tests.devices import at_work
from tests.generators.tiny import write_tiny
from tests.one_device import EPOCHS, WIDTH, Task, simulated, write_data


@pytest.mark.broker
def test_one_device_over_mqtt_ends_as_its_simulation_does(
    tmp_path: Path, broker: BrokerSettings, caplog: pytest.LogCaptureFixture
) -> None:
    source, tiny = write_data(tmp_path / "one"), str(write_tiny(tmp_path / "tiny"))
    task = Task(tmp_path, source, broker, tiny, mix="auto")
    expected = simulated(source, tiny, tmp_path / "simulated", mix="auto")
    with at_work(task.device()) as device:
        summary = json.loads(serve(config.read(task.config(), TaskSettings)).read_text())
        mine = json.loads(device.ended.result(60).read_text())
    assert summary["knowledge_sha256"] == expected["knowledge_sha256"]
    assert summary["accuracy_by_round"] == expected["accuracy_by_round"]
    assert list(mine["accuracy_by_round"].values()) == expected["accuracy_by_round"]
    assert summary["train_loss_by_round"] == expected["train_loss_by_round"]
    assert summary["measures_by_round"] == expected["measures_by_round"]
    found, same = (
        load_file(tmp_path / folder / "prototypes.safetensors")
        for folder in ("aggregator", "simulated")
    )
    assert found["images_NP"].shape == (10, 784)
    for name, array in same.items():
        np.testing.assert_array_equal(found[name], array, strict=True)
    assert mine["onnx_difference"] < 0.01
    told = [each for each in caplog.records if "not trained" in each.getMessage()]
    here, there = (
        [each.getMessage() for each in told if each.name.startswith(door)]
        for door in ("simulations", "cloud")
    )
    assert here == there  # four epochs are few
    assert len(here) == 1
    simulation = expected["mix"]["clients"]["client-00"]
    assert bytes.fromhex(simulation.pop(HITS))  # a device keeps no test samples' bits
    assert mine["mix"] == simulation
    assert right(task, Path(mine["onnx"])) == mine["mix"]["mixed"]
    assert mine["mix"]["together"] == expected["final_accuracy"]
    assert mine["mix"]["held_out"] == 18
    assert open_model(Path(mine["onnx"])).fact("weight") == json.dumps(mine["mix"]["weight"])


def right(task: Task, classifier: Path) -> float:
    """Return the share of the device's test samples that its classifier names right."""
    test = data.load(task.source).shards(0).test
    scores_NC = open_model(classifier).scores(test.inputs.astype(np.float32))
    return float((scores_NC.argmax(axis=1) == test.labels).mean())


@dataclass(frozen=True)
class Ended:
    """A run that is over: what each round led to, and how well all clients end."""

    pairs: list[Pairs]
    accuracy: float


def run(source: Path, generator: Generator, seed: int) -> Ended:
    """Run three clients for a few rounds."""
    wanted = RunSettings(
        algorithm="fedktl",
        data=str(source),
        models="resnet4",
        width=WIDTH,
        rounds=3,
        seed=seed,
        options={"server_epochs": EPOCHS},
        workers=1,
    )
    federation = wanted.federation()
    plan = run_plan.Plan(wanted, federation, generator)
    algorithm, made = plan.clients.load(generator), list[Pairs]()
    with run_cohort.open_cohort(plan, federation) as cohort:
        beginning = server_loop.initial_state(algorithm)
        _, reports = server_loop.run_rounds(
            algorithm=algorithm,
            cohort=cohort,
            rounds=wanted.rounds,
            run_state=beginning,
            on_round_end=lambda closed: made.append(closed.run_state.broadcast),
        )
    accuracy = measurements.accuracy(list(reports.values()))
    assert accuracy is not None
    return Ended(made, accuracy)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[TritonGenerator]:
    """The embedded generator behind a Triton of this test's own."""
    with triton.running(tmp_path, triton.home()) as server:
        yield TritonGenerator(server.serve(generators.folder_of(generators.EMBEDDED), "digits"))


@pytest.mark.triton
def test_behind_triton_a_run_learns_the_same(tmp_path: Path, served: TritonGenerator) -> None:
    source = write_data(tmp_path / "three", clients=3, samples=240)
    local = generators.load(generators.EMBEDDED)
    here = [run(source, local, seed) for seed in range(3)]
    there = run(source, served, seed=0)
    spread = np.ptp([each.accuracy for each in here])
    assert 0 < spread < 0.5
    assert abs(there.accuracy - here[0].accuracy) <= spread
    for found, expected, other in zip(there.pairs, here[0].pairs, here[1].pairs, strict=True):
        np.testing.assert_allclose(found.latents_NH, expected.latents_NH, rtol=0, atol=0.02)
        assert np.abs(found.latents_NH - other.latents_NH).max() > 0.2  # another seed's are not
        images = as_inputs(local.synthesize(found.latents_NH.astype(np.float32)), (1, 28, 28))
        assert np.abs(found.images_NP.astype(int) - images.reshape(10, -1)).max() <= 1
        assert images.std() > 20


@pytest.mark.triton
@pytest.mark.broker
def test_the_demo_serves_its_generator(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    triton.home()  # or this test is skipped
    out = tmp_path / "demo"
    small = ["--rounds", "1", "--epochs", "1", "--devices", "2", "--group", "resnet4,cnn", "--out"]
    assert main(["demo", "--triton", *small, str(out)]) == 0
    said = capfd.readouterr().out
    found = re.search(r"generator: (triton://127\.0\.0\.1:(\d+)/digits)", said)
    assert found is not None
    assert f'generator = "{found[1]}"' in (out / "aggregator.toml").read_text()
    kept = tomllib.loads((out / "statistics" / "aggregator.toml").read_text())["base"]
    assert Path(kept).parent == bases.store(), "the next demo on this machine computes none"
    images = load_file(out / "aggregator" / "prototypes.safetensors")["images_NP"]
    assert images.std() > 20
    assert f"report: {out / 'report.html'}" in said
    assert "<svg" in (out / "report.html").read_text()
    with socket.socket() as probe:  # it has ended with the demo
        assert probe.connect_ex(("127.0.0.1", int(found[2]))) != 0


@pytest.mark.broker
def test_the_demo_says_what_to_do_where_no_server_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("EDGELOOP_TRITON", str(tmp_path / "nothing"))
    assert main(["demo", "--triton", "--devices", "2", "--out", str(tmp_path / "demo")]) == 2
    sentence = capfd.readouterr().err.splitlines()[-1]
    assert sentence.startswith(
        "error: --generator: ended with 2: error: --home: there is no triton"
    )
    assert "run tools/triton.sh" in sentence
    assert not (tmp_path / "demo" / "statistics" / "aggregator.toml").exists()
