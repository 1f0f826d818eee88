"""A device leaves a task: what is left has the same bits as if it had never been there."""

# Over 320 lines: one suite for who may take whom out of a task.

import json
import shutil
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from safetensors.numpy import load_file

from cloud.aggregator.ledger import Ledger
from edgeloop import algorithms
from edgeloop.errors import ConfigError
from edgeloop.mqtt import leaving
from edgeloop.mqtt.connection import MqttConnection
from edgeloop.protocol.task import LEFT, Opening, contract_topic, presence_topic, round_topic
from edgeloop.runtime.config import BrokerSettings
from tests.devices import Heard, wait_until
from tests.leaving import TASK, Kept, Scene, killed_at
from tests.world import StartBroker, brokers_in

pytestmark = pytest.mark.broker


def opens(number: int) -> Heard:
    def opening(arrival: object) -> bool:
        topic, payload = arrival.topic, arrival.payload  # type: ignore[attr-defined]  # an Arrival
        return topic == round_topic(TASK) and Opening.model_validate_json(payload).round >= number

    return opening


@pytest.fixture
def scene(tmp_path: Path, broker: BrokerSettings) -> Scene:
    return Scene(tmp_path / "with", broker)


@dataclass(frozen=True)
class Ended:
    """A task that ended: its folder, and what the broker kept of it."""

    scene: Scene
    kept: Kept

    def again(self, folder: Path, broker: BrokerSettings) -> Scene:
        """Return a copy of it in another folder and at another broker."""
        shutil.copytree(self.scene.folder, folder)
        with MqttConnection(broker, "before", []) as connection:
            for topic, payload in self.kept.messages.items():
                connection.publish(topic, payload, retain=True)
            assert connection.flush(10)
        return Scene(folder, broker, self.scene.devices, changes=self.scene.changes)


def gone_through(folder: Path, start: StartBroker, devices: Sequence[str]) -> Ended:
    folder.mkdir()
    scene = Scene(folder, start().settings, devices, changes={"history": True})
    scene.through()
    return Ended(scene, scene.kept())


@pytest.fixture(scope="module")
def brokers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StartBroker]:
    with brokers_in(tmp_path_factory.mktemp("brokers")) as start:
        yield start


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory, brokers: StartBroker) -> Ended:
    """A task that a, b and c took part in."""
    return gone_through(tmp_path_factory.mktemp("ended") / "with", brokers, ("a", "b", "c"))


@pytest.fixture(scope="module")
def never(tmp_path_factory: pytest.TempPathFactory, brokers: StartBroker) -> Ended:
    """The same task without c."""
    return gone_through(tmp_path_factory.mktemp("never") / "never", brokers, ("a", "b"))


@pytest.fixture
def finished(ended: Ended, tmp_path: Path, broker: BrokerSettings) -> Scene:
    """The task that c took part in, for one test."""
    return ended.again(tmp_path / "with", broker)


def payloads(scene: Scene, device: str) -> list[bytes]:
    """Return pieces of a device's uploads in the ledger that nothing else there has."""
    with sqlite3.connect(scene.folder / "task" / "ledger.sqlite") as connection:
        query = "select payload from uploads where device = ? and payload is not null"
        found = [row[0] for row in connection.execute(query, (device,))]
    connection.close()
    return [each[-120:-40] for each in found]


def in_file(scene: Scene, device: str) -> list[object]:
    with sqlite3.connect(scene.folder / "task" / "ledger.sqlite") as connection:
        found = connection.execute("select * from uploads where device = ?", (device,)).fetchall()
    connection.close()
    return found


def said(scene: Scene, code: int, door: str, *flags: str, name: str = "") -> str:
    """Run a command; return what it said."""
    ended = scene.command(door, *flags, name=name)
    assert ended.returncode == code, ended.stderr
    return ended.stderr if code else ended.stdout


def say(scene: Scene, device: str, run: str) -> None:
    """Say that a device asks to be taken out."""
    topic = presence_topic(TASK, device)
    with MqttConnection(scene.broker, "says", []) as connection:
        connection.publish(topic, LEFT, retain=True, notes={"run": run})
        assert connection.flush(5, topic)


def check_gone(scene: Scene, wanted: Kept) -> None:
    """Nothing that is held anywhere tells that c was in it."""
    found = scene.kept()
    assert found.opening().digest == wanted.opening().digest
    assert set(found.broadcasts().values()) == {wanted.opening().digest}
    assert found.contract().devices == ("a", "b")
    assert in_file(scene, "c") == []
    assert len(in_file(scene, "a")) > 0


def test_a_finished_task_without_a_device(finished: Scene, never: Ended) -> None:
    scene, before, wanted = finished, finished.summary(), never.scene.summary()
    assert before["knowledge_sha256"] != wanted["knowledge_sha256"]
    secret = payloads(scene, "c")
    assert len(secret) == 2
    assert all(piece in scene.held() for piece in secret)
    assert len(list((scene.folder / "task" / "history").glob("*"))) == 1
    found = said(scene, 0, "aggregator", "--forget-device", "c")
    assert found == f"c is taken out of {TASK}\n"
    after = scene.summary()
    assert after["knowledge_sha256"] == wanted["knowledge_sha256"]
    assert sorted(after["accuracy_by_device"]) == ["a", "b"]
    assert after["accuracy_by_round"] == before["accuracy_by_round"]
    check_gone(scene, never.kept)
    assert not any(piece in scene.held() for piece in secret)
    assert list((scene.folder / "task" / "history").glob("*")) == []
    final = [each.folder / "task" / "prototypes.safetensors" for each in (scene, never.scene)]
    assert load_file(final[0]).keys() == load_file(final[1]).keys()
    for name, array in load_file(final[0]).items():
        assert array.tobytes() == load_file(final[1])[name].tobytes()
    said(scene, 0, "aggregator", "--forget-device", "c")  # again is as well


def test_a_device_leaves_a_round_that_waits(tmp_path: Path, start_broker: StartBroker) -> None:
    scene = Scene(tmp_path / "with", start_broker().settings, rounds=2)
    never = Scene(tmp_path / "never", start_broker().settings, ("a", "b"), rounds=2)
    with scene.aggregator() as running, scene.at_work("a"):
        with scene.at_work("b", last=opens(1)), scene.at_work("c"):
            wait_until(lambda: "c: accepted" in running.said().partition("closed")[2])
        with never.aggregator() as other, never.at_work("a"):
            with never.at_work("b", last=opens(1)):
                wait_until(lambda: "a: accepted" in other.said().partition("closed")[2])
            assert scene.kept().opening().digest != never.kept().opening().digest
            found = said(scene, 0, "agent", "--leave", name="c")
            assert found == f"c is taken out of {TASK}, and takes part no more\n"
            check_gone(scene, never.kept())
            with scene.at_work("b") as here, never.at_work("b") as there:
                here[0].ended.result(60)
                there[0].ended.result(60)
            assert (running.process.wait(60), other.process.wait(60)) == (0, 0)
    one, other_one = scene.summary(), never.summary()
    assert one["knowledge_sha256"] == other_one["knowledge_sha256"]
    assert one["accuracy_by_round"][2] == other_one["accuracy_by_round"][2]
    assert f"c has left {TASK}; remove left.json from it" in said(scene, 2, "agent", name="c")


def test_a_device_asks_while_the_aggregator_is_away(finished: Scene, never: Ended) -> None:
    """The broker keeps its word; a finished task hears it at its next start."""
    scene = finished
    found = said(scene, 75, "agent", "--leave", "--wait", "0.5", name="c")
    assert f"it is taken out of {TASK} when its aggregator is there again" in found
    assert f"c has left {TASK}" in said(scene, 2, "agent", name="c")
    with scene.aggregator("again") as running:
        assert running.process.wait(60) == 0, running.said()
    assert "c is taken out: what is left is as if it had never been there" in running.said()
    assert scene.summary()["knowledge_sha256"] == never.scene.summary()["knowledge_sha256"]
    check_gone(scene, never.kept)
    said(scene, 0, "agent", "--leave", name="c")
    assert json.loads((scene.folder / "c" / "left.json").read_text())["out"] is True


def test_an_aggregator_that_runs_takes_a_device_out_when_told_to(scene: Scene) -> None:
    """Nobody waits for it any more, and its own agent is told."""
    with scene.aggregator() as running, scene.at_work("a", "c"):
        wait_until(lambda: "c: accepted" in running.said() and "a: accepted" in running.said())
        found = said(scene, 0, "aggregator", "--forget-device", "c")
        assert found == f"c is taken out of {TASK}\n"
        with scene.at_work("b") as devices:
            devices[0].ended.result(60)
        assert running.process.wait(60) == 0
    assert sorted(scene.summary()["accuracy_by_device"]) == ["a", "b"]


def test_an_aggregator_that_stays_after_the_end_hears_of_it(scene: Scene, never: Ended) -> None:
    changed = Scene(scene.folder, scene.broker)
    changed.changes["http"] = {"port": 0, "linger": True}
    with changed.aggregator() as running:
        with changed.at_work("a", "b", "c") as devices:
            for each in devices:
                each.ended.result(60)
        wait_until(lambda: "serving HTTP until stopped" in running.said())
        said(changed, 0, "agent", "--leave", name="c")
    check_gone(changed, never.kept)
    assert changed.summary()["knowledge_sha256"] == never.scene.summary()["knowledge_sha256"]


def naming(scene: Scene, **names: list[str]) -> Scene:
    """Return the task with a file that sends devices away."""
    cohort = {"devices": list(scene.devices), "give_up_seconds": 60, **names}
    return Scene(scene.folder, scene.broker, changes={**scene.changes, "cohort": cohort})


def test_a_file_names_who_is_forgotten(finished: Scene, never: Ended) -> None:
    scene = naming(finished, forgotten=["c"])
    for name in ("again", "and-again"):
        with scene.aggregator(name) as running:
            assert running.process.wait(60) == 0, running.said()
        assert scene.summary()["knowledge_sha256"] == never.scene.summary()["knowledge_sha256"]
    check_gone(scene, never.kept)


def test_a_file_names_who_goes_in_an_open_round(scene: Scene) -> None:
    with scene.aggregator() as running, scene.at_work("c"):
        wait_until(lambda: "c: accepted" in running.said())
    changed = naming(scene, evicted=["b"], forgotten=["c"])
    with changed.aggregator("changed") as running, changed.at_work("a") as devices:
        devices[0].ended.result(60)
        assert running.process.wait(60) == 0, running.said()
    assert running.said().count("b is evicted from the run") == 1
    assert sorted(scene.summary()["accuracy_by_device"]) == ["a"]
    assert in_file(scene, "c") == []
    with scene.aggregator("again") as running:  # for good, also where the file says nothing more
        assert running.process.wait(60) == 0, running.said()
    assert scene.kept().contract().devices == ("a",)


def test_a_file_names_whom_it_cannot(scene: Scene) -> None:
    unknown = naming(scene, evicted=["x"])
    found = said(unknown, 2, "aggregator")
    assert "evicted or forgotten names x, which is no device of it" in found
    changed = naming(scene, forgotten=["c"])
    changed.changes.update(algorithm="fedproto", width=8, base=None)
    found = said(changed, 2, "aggregator")
    assert "cohort.forgotten: fedproto cannot take a device out" in found


def test_everybody_leaves(finished: Scene) -> None:
    scene = finished
    for name in scene.devices:
        said(scene, 0, "aggregator", "--forget-device", name)
    assert scene.kept().contract().devices == ()
    assert len(scene.kept().broadcasts()) == 1
    assert [in_file(scene, name) for name in scene.devices] == [[], [], []]


STEPS = {
    "cloud.aggregator.ledger:insert": "before",
    "cloud.aggregator.ledger:Ledger.scrub": "after",
    "edgeloop.round_history:forget": "after",
    "cloud.aggregator.outcome:rewrite": "after",
    "cloud.aggregator.forgetting:clear": "after",
    "edgeloop.cohorts.mqtt:MqttCohort.tell": "after",
}


@pytest.mark.parametrize("step", STEPS)
def test_a_kill_between_the_steps(finished: Scene, never: Ended, step: str) -> None:
    """It is in all of it, or out of all of it once the aggregator has been started again."""
    scene, before = finished, finished.summary()
    flags = ["aggregator", "--config", str(scene.config()), "--forget-device", "c"]
    killed_at(step, flags)
    with scene.aggregator("again") as running:
        assert running.process.wait(60) == 0, running.said()
    if STEPS[step] == "before":
        assert scene.summary() == before
        assert len(in_file(scene, "c")) == 2
        said(scene, 0, "aggregator", "--forget-device", "c")
    assert scene.summary()["knowledge_sha256"] == never.scene.summary()["knowledge_sha256"]
    check_gone(scene, never.kept)


def test_a_kill_in_the_middle_of_a_round(scene: Scene, never: Ended) -> None:
    """The word is still at the broker."""
    with scene.aggregator() as running, scene.at_work("a", "c"):
        wait_until(lambda: "c: accepted" in running.said())
        run = scene.kept().contract().run
    say(scene, "c", run)
    killed_at(
        "cloud.aggregator.ledger:Ledger.scrub", ["aggregator", "--config", str(scene.config())]
    )
    with scene.aggregator("again") as running, scene.at_work("a", "b") as devices:
        for each in devices:
            each.ended.result(60)
        assert running.process.wait(60) == 0
    assert scene.summary()["knowledge_sha256"] == never.scene.summary()["knowledge_sha256"]


@pytest.mark.parametrize("name", algorithms.names())
def test_a_card_says_who_can_be_taken_out_again(name: str) -> None:
    if algorithms.info(name).forgets:
        leaving.check("t", name)
        return
    sentence = f"algorithm: {name} cannot take a device out: .*; stop the device, and begin a new"
    with pytest.raises(ConfigError, match=sentence):
        leaving.check("t", name)


def test_what_cannot_be_taken_out_says_so(scene: Scene) -> None:
    scene.changes.update(algorithm="fedproto", width=8, base=None)
    sentence = "algorithm: fedproto cannot take a device out: what it learned of one is in all"
    assert sentence in said(scene, 2, "aggregator", "--forget-device", "c")
    with scene.aggregator() as running:
        wait_until(lambda: "resumes at round 0" in running.said())
        wait_until(lambda: contract_topic(TASK) in scene.kept().messages)
        assert sentence in said(scene, 2, "agent", "--leave", name="c")
        assert not (scene.folder / "c" / "left.json").exists()
        say(scene, "c", scene.kept().contract().run)
        wait_until(lambda: "begin a new run without it" in running.said())
    assert "c asks to be taken out, and fedproto cannot do that" in running.said()


def test_who_cannot_leave(scene: Scene) -> None:
    assert "x is no device of leaving" in said(scene, 2, "aggregator", "--forget-device", "x")
    not_begun = f"task leaving: has not begun: there is no {scene.folder}/task/ledger.sqlite; "
    for option, remedy in (
        (("--forget-device", "c"), "no device has contributed yet: take its name out of cohort."),
        (("--evict", "c"), "name the device in cohort.evicted, or start the aggregator first"),
        (("--record", str(scene.folder / "record.json")), "start its aggregator first"),
    ):
        assert not_begun + remedy in said(scene, 2, "aggregator", *option)
    assert not (scene.folder / "task").exists(), "nor does asking begin it"
    (scene.folder / "task").mkdir()
    Ledger.open(f"sqlite:///{scene.folder}/task/ledger.sqlite").close()
    found = said(scene, 2, "aggregator", "--forget-device", "c")
    assert "the ledger: holds no run of leaving: it has not begun; start its aggregator" in found
    found = said(scene, 2, "agent", "--leave", name="c")
    assert "task: leaving, of which the broker keeps no contract" in found
    some = Scene(scene.folder, scene.broker, ("a", "b"))
    with some.aggregator():
        wait_until(lambda: contract_topic(TASK) in some.kept().messages)
        assert "name: c has no part in run" in said(some, 2, "agent", "--leave", name="c")


def test_a_word_on_another_run_is_none(scene: Scene) -> None:
    """Nor is one of somebody who is not in the task."""
    with scene.aggregator() as running, scene.at_work("a", "b"):
        wait_until(lambda: contract_topic(TASK) in scene.kept().messages)
        say(scene, "c", "another-run")
        say(scene, "x", scene.kept().contract().run)
        with scene.at_work("c") as devices:
            devices[0].ended.result(60)
        assert running.process.wait(60) == 0
    assert sorted(scene.summary()["accuracy_by_device"]) == ["a", "b", "c"]
