"""Class statistics: the same knowledge in one process and over MQTT, with and without torch."""

import json
import os
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from edgeloop import data, generators
from edgeloop.bases import building
from edgeloop.bases.recipe import BaseRecipe
from tests import forked
from tests.bases.served import write_base
from tests.devices import wait_until
from tests.edge.test_without_torch import COMMAND, words
from tests.relay import Relay
from tests.world import MODELS, StartBroker

Process = forked.Forked | subprocess.Popen[bytes]
EDGELOOP = str(Path(sys.executable).with_name("edgeloop"))
DEVICES = [f"client-{number:02}" for number in range(len(MODELS))]
ROUNDS = 2
LEAN = 3
"""The device that has no torch."""
NETWORK: Mapping[str, Any] = {"network": True, "network_rounds": 3}
"""Options with which all others train a network beside; what travels is the same without."""


def summary_of(folder: Path) -> Mapping[str, Any]:
    found: Mapping[str, Any] = json.loads((folder / "summary.json").read_text())
    return found


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small base: the usual one takes a minute to compute."""
    place = tmp_path_factory.mktemp("bases") / "small"
    generator, shape = generators.load(generators.EMBEDDED), (1, 28, 28)
    recipe = BaseRecipe(filters=24, dims=24, images=100)
    graph = building.graph_of_generator(generator, shape, recipe)
    building.write_base(place, graph, shape, recipe, generator.identity)
    return place


@pytest.fixture(scope="module")
def simulated(
    world: Path, home: Path, base: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    out = tmp_path_factory.mktemp("simulated") / "run"
    command = f"simulate class-statistics --data {world} --rounds {ROUNDS} --out {out}"
    command += f" --base {base} --models {','.join(MODELS)}" + "".join(
        f" --set {key}={json.dumps(value)}" for key, value in NETWORK.items()
    )
    environment = {**os.environ, "EDGELOOP_HOME": str(home), "HOME": str(home)}
    forked.run([EDGELOOP, *command.split()], check=True, timeout=240, env=environment)
    return out


def start(
    stack: ExitStack, folder: Path, name: str, command: Sequence[str], config: str
) -> Process:
    path = folder / f"{name}.toml"
    path.write_text(textwrap.dedent(config))
    with (folder / f"{name}.log").open("w") as log:
        begin = forked.start if command[0] == EDGELOOP else subprocess.Popen
        process = begin([*command, "--config", str(path)], stderr=log)
    stack.callback(process.wait)
    stack.callback(process.kill)
    return process


def aggregator(
    stack: ExitStack,
    folder: Path,
    world: Path,
    base: Path,
    port: int,
    options: Mapping[str, Any],
) -> Process:
    given = ", ".join(f"{key} = {json.dumps(value)}" for key, value in options.items())
    facts = json.loads((world / "config.json").read_text())
    config = f"""
        name = "same"
        algorithm = "class-statistics"
        base = "{base}"
        class_names = {json.dumps(facts["class_names"])}
        shape = [1, 28, 28]
        rounds = {ROUNDS}
        folder = "{folder / "aggregator"}"
        hyperparameters = {{ {given} }}
        broker = {{ port = {port} }}
        http = {{ port = 0 }}
        cohort = {{ devices = {json.dumps(DEVICES)} }}
        """
    return start(stack, folder, "aggregator", [EDGELOOP, "aggregator"], config)


def agent(stack: ExitStack, folder: Path, world: Path, number: int, port: int) -> Process:
    config = f"""
        name = "{DEVICES[number]}"
        task = "same"
        folder = "{folder / DEVICES[number]}"
        broker = {{ port = {port} }}
        data = {{ source = "{world}", client = {number} }}
        training = {{ architecture = "{MODELS[number]}", threads = 1 }}
        """
    command = words(COMMAND, "agent") if number == LEAN else [EDGELOOP, "agent"]
    return start(stack, folder, DEVICES[number], command, config)


def finish(folder: Path, processes: Sequence[Process]) -> None:
    for process in processes:
        assert process.wait(240) == 0, [each.read_text() for each in folder.glob("*.log")]


@pytest.mark.broker
def test_over_mosquitto(
    simulated: Path, world: Path, base: Path, tmp_path: Path, start_broker: StartBroker
) -> None:
    port = start_broker().settings.port
    with ExitStack() as stack:
        agents = [agent(stack, tmp_path, world, n, port) for n in range(len(MODELS))]
        finish(tmp_path, [aggregator(stack, tmp_path, world, base, port, NETWORK), *agents])
    found, wanted = summary_of(tmp_path / "aggregator"), summary_of(simulated)
    assert found["knowledge_sha256"] == wanted["knowledge_sha256"]
    assert found["accuracy_by_round"] == wanted["accuracy_by_round"]
    assert wanted["accuracy_by_round"][-1] > wanted["accuracy_by_round"][0]
    _check_mixed(tmp_path, wanted["mix"]["clients"])
    _check_exported(tmp_path, world)


def _check_mixed(folder: Path, simulated: Mapping[str, Any]) -> None:
    """Every device has the network that the simulation has; without torch it says it has none."""
    for number, device in enumerate(DEVICES):
        told = summary_of(folder / device)["mix"]
        if number != LEAN:
            assert told["network"]["alone"] is not None
            assert told == simulated[device]
            continue
        why = "torch is not installed"
        assert told["network"]["alone"] is None
        assert told["network"]["why"] == why
        assert told["mixed"] == told["network"]["without"]
        assert f"without a network of its own: {why}" in (folder / f"{device}.log").read_text()


def _check_exported(folder: Path, world: Path) -> None:
    """What the devices exported is right as often as they said, all of them together."""
    federation, right, total = data.load(str(world)), 0, 0
    for number, device in enumerate(DEVICES):
        path = folder / device / "model.onnx"
        assert path.exists() == (number != LEAN)  # that one has no onnx, and said so
        if number == LEAN:
            assert "onnx, which is not installed" in (folder / f"{device}.log").read_text()
            continue
        shard = federation.shards(number).test
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        scores = session.run(["scores"], {"images": shard.inputs.astype(np.float32)})[0]
        told = summary_of(folder / device)["mix"]["mixed"]
        assert (scores.argmax(1) == shard.labels).mean() == pytest.approx(told)
        right, total = right + int((scores.argmax(1) == shard.labels).sum()), total + len(scores)
    assert 0 < right < total


@pytest.mark.broker
def test_in_another_order_and_everything_twice(
    simulated: Path, world: Path, base: Path, tmp_path: Path, start_broker: StartBroker
) -> None:
    cloud, edge = start_broker().settings, start_broker().settings
    with ExitStack() as stack, Relay("same", cloud, edge, hold_back=len(MODELS)):
        agents = [agent(stack, tmp_path, world, n, edge.port) for n in range(len(MODELS))]
        finish(tmp_path, [aggregator(stack, tmp_path, world, base, cloud.port, {}), *agents])
    found = summary_of(tmp_path / "aggregator")
    assert found["knowledge_sha256"] == summary_of(simulated)["knowledge_sha256"]


@pytest.mark.broker
def test_a_base_replaced_under_a_killed_aggregator_changes_nothing(
    simulated: Path, world: Path, base: Path, tmp_path: Path, start_broker: StartBroker
) -> None:
    port, named = start_broker().settings.port, tmp_path / "base"
    shutil.copytree(base, named)
    with ExitStack() as stack:
        first = aggregator(stack, tmp_path, world, named, port, {})
        wait_until(lambda: "resumes at round 0" in (tmp_path / "aggregator.log").read_text())
        first.kill()
        first.wait()
        shutil.rmtree(named)
        write_base(named, shape=(1, 28, 28))
        agents = [agent(stack, tmp_path, world, n, port) for n in range(len(MODELS))]
        finish(tmp_path, [aggregator(stack, tmp_path, world, named, port, {}), *agents])
    assert "is another one by now" in (tmp_path / "aggregator.log").read_text()
    found = summary_of(tmp_path / "aggregator")
    assert found["knowledge_sha256"] == summary_of(simulated)["knowledge_sha256"]
