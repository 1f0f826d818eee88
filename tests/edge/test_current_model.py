"""The classifier in use is there all the time, whole, and goes back by itself where it is bad."""

import json
import signal
import sys
from pathlib import Path

import numpy as np
import pytest
import tomli_w

from edge.agent import canary
from edge.agent.canary import RecentSamples
from edge.agent.current_model import CurrentModel
from edge.agent.deployment import ASKED, BAD, BEFORE, RECORD, Deployment
from edge.agent.predict import open_model
from edge.agent.presence import PresenceTeller
from edge.agent.settings import DeviceSettings
from edge.agent.store import SUMMARY, AgentStore
from edge.agent.task_session import load_context
from edge.device.status import facts
from edgeloop.data import ClientData, DeviceSamples, Samples
from edgeloop.mqtt.connection import MqttConnection
from edgeloop.runtime import atomic_files
from edgeloop.runtime.config import BrokerSettings
from tests import forked
from tests.devices import wait_until
from tests.edge.hand_made import ROUNDS, cloud, device, pairs
from tests.edge.test_deployment_gate import COUNT, own, write
from tests.one_device import EDGELOOP

MODEL = "model.onnx"


def put(folder: Path, run: str, wrong: int) -> Deployment:
    """Put a model into use that has so many wrong, whatever a gate says."""
    deployment = Deployment(folder)
    write(deployment.candidate, run, wrong)
    deployment.put(deployment.candidate)
    return deployment


def in_use(folder: Path) -> str | None:
    return open_model(folder / MODEL).fact("run")


def watched(deployment: Deployment, recent: Samples | None = None) -> str:
    """Go back if the model in use is bad; return why."""
    problem = deployment.settle()
    why = f"model.onnx {problem}" if problem else ""
    why = why or canary.fault(deployment, own() if recent is None else recent, False)
    if why:
        assert deployment.roll_back(why)
    return why


def test_the_one_before_is_kept_and_gone_back_to(tmp_path: Path) -> None:
    put(tmp_path, "r1", 0)
    deployment = put(tmp_path, "r2", 1)
    assert (in_use(tmp_path), open_model(tmp_path / BEFORE).fact("run")) == ("r2", "r1")
    assert watched(deployment) == ""
    assert deployment.roll_back("somebody asked for it")
    assert (in_use(tmp_path), open_model(tmp_path / BAD).fact("run")) == ("r1", "r2")
    assert not deployment.roll_back("again")  # there is no other
    events = [(each["did"], each["run"]) for each in deployment.record()["events"]]
    assert events == [("accepted", "r1"), ("accepted", "r2"), ("rolled back", "r1")]


def test_a_model_that_recent_samples_call_worse_is_gone_back_from(tmp_path: Path) -> None:
    put(tmp_path, "r1", 0)
    why = watched(put(tmp_path, "r2", 9))
    assert why == f"has {1 - 9 / COUNT:.4f} of {COUNT} recent samples right, the one before 1.0000"
    assert in_use(tmp_path) == "r1"


@pytest.mark.parametrize("content", [b"", b"no model", None])
def test_a_broken_file_is_gone_back_from(tmp_path: Path, content: bytes | None) -> None:
    put(tmp_path, "r1", 0)
    deployment = put(tmp_path, "r2", 0)
    if content is None:
        (tmp_path / MODEL).unlink()
    else:
        (tmp_path / MODEL).write_bytes(content)
    assert watched(deployment).startswith("model.onnx ")
    assert in_use(tmp_path) == "r1"


def test_other_weights_than_were_put_there_are_gone_back_from(tmp_path: Path) -> None:
    put(tmp_path, "r1", 0)
    deployment = put(tmp_path, "r2", 0)
    write(tmp_path / MODEL, "r2", 8)
    assert watched(deployment) == "model.onnx has other bytes than were put into use"
    assert in_use(tmp_path) == "r1"
    write(tmp_path / MODEL, "r1", 8)  # and what is broken is never what is gone back to
    put(tmp_path, "r3", 0)
    assert not deployment.roll_back("asked")


def test_a_damaged_record_is_written_again(tmp_path: Path) -> None:
    deployment = put(tmp_path, "r1", 0)
    (tmp_path / RECORD).write_text("{")
    assert deployment.settle() == ""
    assert deployment.record()["in_use"]["run"] == "r1"


def test_recent_are_the_samples_that_came_since(tmp_path: Path) -> None:
    train, test = own(40), own(8)
    share = DeviceSamples(ClientData(train, test), False)
    recent = RecentSamples()
    assert len(recent.of(share)) == len(test)
    recent.remember(share)
    assert len(recent.of(share)) == len(test)
    new = Samples(train.inputs + 100, np.ones_like(train.labels))
    inputs = np.concatenate([train.inputs, new.inputs])
    both = Samples(inputs, np.concatenate([train.labels, new.labels]))
    assert len(recent.of(DeviceSamples(ClientData(both, test), False))) == len(new)


KILLED = """
import os, signal, sys
from pathlib import Path
from edge.agent.current_model import CurrentModel
from edge.agent.deployment import Deployment
left = int(sys.argv[2])

def audit(event, arguments):
    global left
    if event == "os.rename":
        left -= 1
        if not left:
            os.kill(os.getpid(), signal.SIGKILL)

deployment = Deployment(Path(sys.argv[1]))
sys.addaudithook(audit)
deployment.put(deployment.candidate) if sys.argv[3] == "put" else deployment.roll_back("asked")
"""


@pytest.mark.parametrize("what", ["put", "roll back"])
def test_killed_before_any_of_its_steps_there_is_a_whole_model(tmp_path: Path, what: str) -> None:
    models = tmp_path / "models"
    for run in ("r1", "r2", "r3"):
        write(models / run, run, 0)
    deaths, seen = 0, set()
    while True:
        folder = tmp_path / str(deaths)
        folder.mkdir()
        for run in ("r1", "r2"):
            (folder / "model.candidate.onnx").write_bytes((models / run).read_bytes())
            Deployment(folder).put(folder / "model.candidate.onnx")
        (folder / "model.candidate.onnx").write_bytes((models / "r3").read_bytes())
        words = [sys.executable, "-c", KILLED, str(folder), str(deaths + 1), what]
        code = forked.run(words).returncode
        deployment = Deployment(folder)
        assert deployment.settle() == ""
        found = in_use(folder)
        seen.add(found)
        record = deployment.record()
        assert (record["in_use"]["run"], "next" in record) in ((found, False), ("r2", True))
        assert record["in_use"]["sha256"] == atomic_files.digest(folder / MODEL)
        if code == 0:
            break
        assert code == -signal.SIGKILL
        deaths += 1
        before = deployment.usable_before()
        assert before is None or open_model(before).fact("run") in ("r1", "r2")
    assert deaths == 4
    assert seen == ({"r2", "r3"} if what == "put" else {"r2", "r1"})


def test_the_model_of_a_run_before_stays_in_use_and_is_kept(tmp_path: Path) -> None:
    put(tmp_path, "r1", 0)
    (tmp_path / "summary.json").write_text(json.dumps({"run": "r1"}))
    AgentStore(tmp_path, "one", "t").keep_previous_model("r2")
    put(tmp_path, "r2", 0)
    AgentStore(tmp_path, "one", "t").keep_previous_model("r2")
    assert open_model(tmp_path / "previous" / "r1" / MODEL).fact("run") == "r1"
    assert in_use(tmp_path) == "r2"


def started(settings: DeviceSettings, log: Path) -> forked.Forked:
    path = settings.folder.with_suffix(".toml")
    path.write_text(tomli_w.dumps(settings.model_dump(mode="json", exclude_none=True)))
    with log.open("wb") as output:
        return forked.start([EDGELOOP, "agent", "--config", str(path)], stderr=output)


@pytest.mark.broker
def test_an_agent_has_a_model_after_each_round_and_goes_back_from_a_bad_one(
    broker: BrokerSettings, world: Path, tmp_path: Path
) -> None:
    settings, log = device(world, broker, tmp_path / "one"), tmp_path / "log"
    deployment = Deployment(settings.folder)

    def events(did: str) -> list[int | None]:
        return [
            each["round"] for each in deployment.record().get("events", []) if each["did"] == did
        ]

    with cloud(settings) as aggregator:
        aggregator.open(0, pairs(1))
        process = started(settings, log)
        try:
            aggregator.answer()
            wait_until(lambda: "round 0: its classifier is in use" in log.read_text())
            assert open_model(deployment.model).fact("round") == "0"
            assert (settings.folder / "model.picture.onnx").exists()
            aggregator.open(1, pairs(1))
            aggregator.answer()
            wait_until(lambda: "round 1: its classifier is in use" in log.read_text())
            assert events("accepted") == [0, 1]
            bad = b"0" * 100
            deployment.model.write_bytes(bad)
            damage = "was taken out of use: model.onnx has other bytes"
            wait_until(lambda: damage in log.read_text())
            assert events("rolled back") == [0]
            assert open_model(deployment.model).fact("round") == "0"
            assert (settings.folder / BAD).read_bytes() == bad
            said = facts(settings)
            assert said["model_of"] == "round 0 of run r"
            assert "rolled back round 0 of run r: model.onnx has other" in said["model_decision"]
            aggregator.open(ROUNDS, pairs(1))
            assert process.wait(60) == 0
        finally:
            process.kill()
            process.wait()
    assert open_model(deployment.model).fact("round") == str(ROUNDS)
    assert deployment.settle() == ""


def test_rollback_by_hand(tmp_path: Path) -> None:
    folder = tmp_path / "device"
    put(folder, "r1", 0)
    put(folder, "r2", 0)
    config = tmp_path / "device.toml"
    text = f'name = "one"\ntask = "t"\nfolder = "{folder}"\n[data]\nsource = "fashion-sample"\n'
    config.write_text(text)
    words = [EDGELOOP, "agent", "rollback", "--config", str(config)]
    done = forked.run(words)
    assert done.returncode == 0, done.stderr
    assert "is in use" in done.stdout
    assert in_use(folder) == "r1"
    again = forked.run(words)
    assert again.returncode == 2
    assert "has no classifier to go back to" in again.stderr


def test_rollback_and_status_of_one_of_many_that_share_a_file(tmp_path: Path) -> None:
    folder = tmp_path / "device"
    for run in ("r1", "r2"):
        put(folder / "two", run, 0)
    config = tmp_path / "device.toml"
    text = f'name = "one"\ntask = "t"\nfolder = "{folder}"\n[data]\nsource = "fashion-sample"\n'
    config.write_text(text)
    named = ["--config", str(config), "--name", "two"]
    done = forked.run([EDGELOOP, "agent", "status", *named, "--json"])
    said = json.loads(done.stdout)
    assert said["device"] == "two"
    assert said["model"] == str(folder / "two" / "model.onnx")
    assert said["model_choice"] is None
    ended = {
        "onnx_sha256": atomic_files.digest(folder / "two" / "model.onnx"),
        "mix": {"weight": 0.0, "why": "it was worse", "mixed": 0.75, "test_samples": 4},
    }
    kept = {"gate": {"keeps": "old", "old_run": "r0"}}
    for changed, told, chosen in (
        ({}, 0.75, "in use: what was learned alone"),
        (kept, None, "in use: still the model of run r0"),
        ({"onnx_sha256": "of another"}, None, ""),
    ):
        atomic_files.write_checked_json(folder / "two" / SUMMARY, {**ended, **changed})
        said = json.loads(forked.run([EDGELOOP, "agent", "status", *named, "--json"]).stdout)
        assert said["model_accuracy"] == told
        assert (said["model_choice"] or "").startswith(chosen)
        assert (said["model_choice"] is None) == (not chosen)
    assert forked.run([EDGELOOP, "agent", "rollback", *named[:2]]).returncode == 2
    done = forked.run([EDGELOOP, "agent", "rollback", *named])
    assert done.returncode == 0, done.stderr
    assert in_use(folder / "two") == "r1"


def test_a_running_agent_goes_back_when_it_is_asked(world: Path, tmp_path: Path) -> None:
    put(tmp_path, "r1", 0)
    put(tmp_path, "r2", 0)
    settings = device(world, BrokerSettings(), tmp_path)
    presence = PresenceTeller(MqttConnection(settings.broker, "one", []))
    store = AgentStore(tmp_path, "one", "t")
    current = CurrentModel(load_context(settings), store, presence)
    current.look()
    assert in_use(tmp_path) == "r2"
    (tmp_path / ASKED).touch()
    current.look()
    assert in_use(tmp_path) == "r1"
    assert not (tmp_path / ASKED).exists()
