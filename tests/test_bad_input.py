"""Bad input ends with its exit code and one sentence that names the field and the remedy."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from edgeloop.cli.main import main
from edgeloop.mqtt.connection import MqttConnection
from edgeloop.protocol.task import contract_topic
from edgeloop.runtime.config import BrokerSettings
from edgeloop.runtime.ports import free_port
from tests.world import StartBroker, contract

TASK: dict[str, Any] = {
    "name": "bad",
    "algorithm": "fedtgp",
    "class_names": ["a", "b"],
    "shape": [1, 28, 28],
    "rounds": 1,
    "cohort": {"devices": ["one"]},
    "http": {"port": 0},
    "broker": {"port": 1, "connect_seconds": 1.0},
}


def toml(value: Any) -> str:
    """Write a value as TOML; tables become inline ones."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {toml(item)}" for key, item in value.items()) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(toml, value)) + "]"
    return json.dumps(value)


def write(path: Path, table: dict[str, Any]) -> str:
    path.write_text("".join(f"{key} = {toml(value)}\n" for key, value in table.items()))
    return str(path)


@pytest.fixture
def task(tmp_path: Path) -> dict[str, Any]:
    return {**TASK, "folder": str(tmp_path / "task")}


@pytest.fixture
def device(tmp_path: Path, world: Path) -> dict[str, Any]:
    return {
        "name": "one",
        "task": "bad",
        "folder": str(tmp_path / "device"),
        "data": {"source": str(world), "client": 0},
        "broker": {"port": 1, "connect_seconds": 1.0},
        "training": {"threads": 1},
    }


def refused(capfd: pytest.CaptureFixture[str], *arguments: str, code: int = 2) -> str:
    """Run a command that must end with an exit code; return its one sentence."""
    assert main(list(arguments)) == code
    said = capfd.readouterr().err.strip()
    assert "Traceback" not in said
    errors = [line for line in said.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    return errors[0]


@pytest.mark.parametrize("command", ["aggregator", "agent"])
def test_a_missing_file(capfd: pytest.CaptureFixture[str], command: str) -> None:
    said = refused(capfd, command, "--config", "nowhere.toml")
    assert said == "error: nowhere.toml: there is no such file; give the path of a TOML file"


def test_no_toml(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "task.toml"
    path.write_text("name = \n")
    assert "is no TOML" in refused(capfd, "aggregator", "--config", str(path))


def test_a_file_as_an_editor_on_windows_saves_it(
    capfd: pytest.CaptureFixture[str], tmp_path: Path, task: dict[str, Any]
) -> None:
    path = Path(write(tmp_path / "task.toml", task))
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    assert "cannot be reached" in refused(capfd, "aggregator", "--config", str(path), code=75)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"ronds": 1}, "ronds: there is no such key; did you mean rounds"),
        (
            {"cohort": {"devices": ["one"], "quorom": 1}},
            "cohort.quorom: there is no such key; did you mean quorum",
        ),
        ({"cohort": {"devices": ["one"], "quorum": 2}}, "quorum is larger than the 1 devices"),
        ({"cohort": {"devices": ["one", "one"]}}, "devices has a name twice"),
        ({"rounds": 10**20}, "rounds: 100000000000000000000 is too large; give at most 1000000000"),
        ({"batch_size": 10**20}, "batch_size: 100000000000000000000 is too large; give at most"),
        ({"class_names": ["a", "b", "a"]}, "class_names: classes 0 and 2 are both called 'a'"),
        ({"class_names": ["b", " b"]}, "class_names: classes 0 and 1 are both called 'b'"),
        ({"class_names": ["e\u0301", "\u00e9"]}, "classes 0 and 1 are both called"),
        ({"class_names": ["a", " "]}, "class_names: class 1 has an empty name"),
        ({"hyperparameters": {"width": 3}}, "width is no hyperparameter of a task: give width"),
        ({"hyperparameters": {"classes": 3}}, "of a task: give class_names beside the table"),
        ({"rounds": 0}, "rounds: 0 is too small; give 1 or more"),
        ({"name": "a/b"}, "name: "),
        ({"algorithm": "fedbest"}, "algorithm: there is no 'fedbest'; did you mean feddbe"),
        ({"variant": "old"}, "variant: fedtgp has no variant 'old'; choose one of"),
        (
            {"hyperparameters": {"local_lr": 0}},
            "local_lr: fedtgp: 0 is too small; give more than 0",
        ),
        ({"hyperparameters": {"server_epoch": 5}}, "did you mean server_epochs"),
        ({"store": "sqlite:////a", "store_file": "b"}, "store and store_file are two answers"),
        ({"store_file": "/no/such/file"}, "store_file: cannot be read"),
        ({"broker": {"host": ""}}, "broker.host: is empty; give at least 1 character"),
        ({"privacy": {"nois": 1.0}}, "privacy.nois: there is no such key; did you mean noise"),
        ({"privacy": {"zzz": 1.0}}, "privacy.zzz: there is no such key; the keys here are noise,"),
        ({"folder": ""}, "folder: names no file and no folder"),
        ({"broker": {"ca_file": ""}}, "broker.ca_file: names no file and no folder"),
        ({"broker": {"port": 70000}}, "broker.port: 70000 is too large; give at most 65535"),
    ],
)
def test_a_wrong_task(
    capfd: pytest.CaptureFixture[str],
    tmp_path: Path,
    task: dict[str, Any],
    changes: dict[str, Any],
    sentence: str,
) -> None:
    path = write(tmp_path / "task.toml", task | changes)
    assert sentence in refused(capfd, "aggregator", "--config", path)
    assert not (tmp_path / "task").exists()


def test_a_missing_key(
    capfd: pytest.CaptureFixture[str], tmp_path: Path, task: dict[str, Any]
) -> None:
    del task["rounds"]
    path = write(tmp_path / "task.toml", task)
    assert "rounds: is missing; add rounds" in refused(capfd, "aggregator", "--config", path)


def test_a_broker_that_is_not_there(
    capfd: pytest.CaptureFixture[str],
    tmp_path: Path,
    task: dict[str, Any],
    device: dict[str, Any],
) -> None:
    broker = {"port": free_port(), "connect_seconds": 1.0}
    for command, table in (("aggregator", task), ("agent", device)):
        path = write(tmp_path / "config.toml", table | {"broker": broker})
        said = refused(capfd, command, "--config", path, code=75)
        assert f"broker 127.0.0.1:{broker['port']}: cannot be reached (Connection refused)" in said


@pytest.mark.broker
def test_wrong_credentials(
    capfd: pytest.CaptureFixture[str],
    tmp_path: Path,
    task: dict[str, Any],
    device: dict[str, Any],
    start_broker: StartBroker,
) -> None:
    broker = start_broker("allow_anonymous false").settings
    for command, table in (("aggregator", task), ("agent", device)):
        path = write(tmp_path / "config.toml", table | {"broker": {"port": broker.port}})
        said = refused(capfd, command, "--config", path)
        assert "(Not authorized); check username and password" in said


def test_a_folder_that_holds_another_run(
    capfd: pytest.CaptureFixture[str], tmp_path: Path, task: dict[str, Any]
) -> None:
    refused(capfd, "aggregator", "--config", write(tmp_path / "task.toml", task), code=75)
    other = write(tmp_path / "task.toml", task | {"seed": 2})
    said = refused(capfd, "aggregator", "--config", other)
    assert "holds another run" in said
    assert "seed" in said


def test_a_port_in_use(
    capfd: pytest.CaptureFixture[str],
    tmp_path: Path,
    task: dict[str, Any],
    broker: BrokerSettings,
) -> None:
    path = write(tmp_path / "task.toml", task | {"http": {"port": broker.port}})
    said = refused(capfd, "aggregator", "--config", path, code=73)
    assert f"http.port: {broker.port} is in use" in said


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"data": {"source": "nowhere"}}, "nowhere"),
        (
            {"data": {"source": "fashion-sample", "client": 1}},
            "data.client: 1, but without a",
        ),
        ({"data": {"source": "fashion-sample", "partition": "iid", "alpha": 0}}, "data.alpha"),
        ({"data": {"source": ""}}, "data: is empty; name a file or a folder"),
        (
            {"privacy": {"requir": True}},
            "privacy.requir: there is no such key; did you mean require",
        ),
        ({"trainng": {}}, "trainng: there is no such key; did you mean training"),
    ],
)
def test_a_wrong_device(
    capfd: pytest.CaptureFixture[str],
    tmp_path: Path,
    device: dict[str, Any],
    changes: dict[str, Any],
    sentence: str,
) -> None:
    path = write(tmp_path / "device.toml", device | changes)
    assert sentence in refused(capfd, "agent", "--config", path)


def test_a_client_that_is_not_in_the_folder(
    capfd: pytest.CaptureFixture[str], tmp_path: Path, device: dict[str, Any], world: Path
) -> None:
    shutil.copytree(world, tmp_path / "data")
    (tmp_path / "data" / "train" / "2.npz").unlink()
    for client, sentence in ((2, "2.npz"), (6, "client 6: does not exist")):
        source = {"data": {"source": str(tmp_path / "data"), "client": client}}
        path = write(tmp_path / "device.toml", device | source)
        assert sentence in refused(capfd, "agent", "--config", path)


@pytest.mark.broker
@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"training": {"architecture": "vgg"}}, "vgg"),
        ({"training": {"device": "potato"}}, "device: 'potato' cannot be used here ("),
        ({"training": {"device": "cuda:99"}}, "device: 'cuda:99' cannot be used here ("),
    ],
)
def test_a_device_that_does_not_fit_the_task(
    capfd: pytest.CaptureFixture[str],
    tmp_path: Path,
    device: dict[str, Any],
    broker: BrokerSettings,
    world: Path,
    changes: dict[str, Any],
    sentence: str,
) -> None:
    _publish_contract(broker, world)
    path = write(tmp_path / "device.toml", device | {"broker": {"port": broker.port}} | changes)
    assert sentence in refused(capfd, "agent", "--config", path)


def _publish_contract(broker: BrokerSettings, world: Path) -> None:
    names = json.loads((world / "config.json").read_text())["class_names"]
    published = contract(task="bad", class_names=tuple(names), devices=("one",))
    with MqttConnection(broker, "server", []) as connection:
        connection.publish(contract_topic("bad"), published.model_dump_json().encode(), retain=True)
