"""What helm renders really runs: Mosquitto by its files and certificates, a round through it."""

import os
import socket
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
import trustme
import yaml

from edgeloop.mqtt.connection import Arrival, MqttConnection
from edgeloop.runtime import atomic_files
from edgeloop.runtime.ports import free_port
from tests.cloud.stack import stacks
from tests.devices import at_work, wait_until
from tests.helm import release
from tests.helm.release import Release
from tests.one_device import DEVICE, Task, write_data
from tests.ports import with_ports
from tests.postgres import Postgres

pytestmark = pytest.mark.broker


def test_the_test_pod_runs_a_round(tmp_path: Path) -> None:
    made = release.render(tmp_path)
    task = made.files("-test-round", "/etc/edgeloop/task") / "task.toml"
    made.secret("-aggregator-tls", "/etc/edgeloop/tls")
    text = task.read_text()
    served = "triton://r-edgeloop-triton.fed.svc:8001/digits"
    assert served in text
    task.write_text(text.replace(served, "digits"))  # the same generator, in process
    with ExitStack() as stack:
        made.broker(stack)
        containers = made.containers("Pod", "-test-round")
        processes = [made.start(each, stack) for each in containers]
        assert [process.wait(240) for process in processes] == [0, 0, 0]
    summary = atomic_files.read_json(tmp_path / "var/lib/edgeloop/aggregator/summary.json")
    assert summary["algorithm"] == "fedktl"
    assert summary["accuracy_by_device"].keys() == {"test-a", "test-b"}


def heard(made: Release, topic: str, who: str, payload: bytes) -> bool:
    """Return whether what somebody publishes gets to the aggregator."""
    with (
        MqttConnection(made.client("aggregator"), "listener", [topic]) as listener,
        MqttConnection(made.client(who), "sender", []) as sender,
    ):
        sender.publish(topic, payload)
        taken = sender.flush(5)  # not, if the broker refuses it
        arrival = listener.receive(30 if taken else 0.5)
    reached = isinstance(arrival, Arrival) and arrival.payload == payload
    assert taken == reached
    return reached


def test_a_device_may_speak_for_itself_only(tmp_path: Path) -> None:
    made = release.render(tmp_path, "--set", "tls.devices={press-1}")
    with ExitStack() as stack:
        made.broker(stack)
        assert heard(made, "edgeloop/v1/t/upload/press-1", "device-press-1", b"mine")
        assert not heard(made, "edgeloop/v1/t/upload/press-2", "device-press-1", b"another's")
        assert not heard(made, "edgeloop/v1/t/contract", "device-press-1", b"the aggregator's")
        assert heard(made, "edgeloop/v1/t/contract", "aggregator", b"mine")


def test_agents_with_one_certificate_may_speak_for_all(tmp_path: Path) -> None:
    made = release.render(tmp_path, "--set", "agent.enabled=true,agent.task=t")
    with ExitStack() as stack:
        made.broker(stack)
        assert heard(made, "edgeloop/v1/t/upload/press-2", "agent", b"a node's")
        assert not heard(made, "edgeloop/v1/t/round", "agent", b"the aggregator's")


TASK = {
    "algorithm": "fedproto",
    "class_names": [str(number) for number in range(10)],
    "shape": [1, 28, 28],
    "width": 16,
    "rounds": 2,
    "cohort": {"devices": [DEVICE]},
}


@pytest.mark.postgresql
def test_a_task_of_the_values_runs_to_its_end(tmp_path: Path, postgres: Postgres) -> None:
    source = write_data(tmp_path / "data")
    names = yaml.safe_load((source / "config.json").read_text())["class_names"]
    values = tmp_path / "values.yaml"
    task = {"name": "alone", "task": {**TASK, "class_names": names}}
    given = {
        "aggregators": [task],
        "tls": {"devices": [DEVICE]},
        "database": {"url": postgres.database()},
    }
    values.write_text(yaml.safe_dump(given))
    made, http = release.render(tmp_path, "-f", values), free_port()
    config = made.files("-task-alone", "/etc/edgeloop/task") / "task.toml"
    text = with_ports(config.read_text(), {"9464": http})
    config.write_text(text.replace("0.0.0.0", "127.0.0.1"))  # noqa: S104 - replaced, not bound
    made.secret("-aggregator-tls", "/etc/edgeloop/tls")
    made.secret("-database", "/etc/edgeloop/store")
    mine = Task(tmp_path, source, made.client(f"device-{DEVICE}"), None, http=http)
    with ExitStack() as stack:
        made.broker(stack)
        (container,) = made.containers("StatefulSet", "-task-alone")
        made.start(container, stack)
        with at_work(mine.device()) as device:
            device.ended.result(120)
        wait_until(lambda: mine.status().get("phase") == "finished")
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            path = container[probe]["httpGet"]["path"]
            answer = httpx.get(f"http://127.0.0.1:{http}{path}", trust_env=False)
            assert answer.status_code == 200
        assert mine.status()["round"] == 2
    assert not list((tmp_path / "var/lib/edgeloop").glob("ledger.sqlite"))


def _pauses(process: int) -> bool:
    return any(stacks.command_of(each).startswith("sleep") for each in stacks.children(process))


@contextmanager
def reloading(made: Release, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run the broker and the reloader's script, with a pkill that finds this broker only."""
    with ExitStack() as stack:
        broker = made.broker(stack)
        (reloader,) = [each for each in made.containers("StatefulSet", "-broker") if "args" in each]
        (folder / "bin").mkdir()
        pkill = folder / "bin" / "pkill"
        pkill.write_text(f'#!/bin/sh\n[ "$2 $3" = "-x mosquitto" ] && kill "$1" {broker.pid}\n')
        pkill.chmod(0o755)
        changed = {"PATH": f"{folder / 'bin'}:{os.environ['PATH']}", "SECONDS_BETWEEN": "1"}
        place = {"TLS": f"{made.folder}/mosquitto/tls"}
        command = [*reloader["command"], *reloader["args"]]
        watching = subprocess.Popen(command, env={**os.environ, **changed, **place})
        stack.callback(watching.wait)
        stack.callback(watching.kill)
        wait_until(lambda: _pauses(watching.pid))  # it has looked for the first time
        yield broker
        watching.terminate()
        assert watching.wait(5) == 0


def names_shown(port: int, authority: Path) -> list[str]:
    """Return the names in the certificate that a server shows."""
    context = ssl.create_default_context(cafile=str(authority))
    with (
        socket.create_connection(("127.0.0.1", port)) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as connection,
    ):
        shown: Any = connection.getpeercert()
    return [name for kind, name in shown["subjectAltName"] if kind == "DNS"]


def test_mosquitto_takes_a_new_certificate_without_a_restart(tmp_path: Path) -> None:
    made = release.render(tmp_path)
    with reloading(made, tmp_path):
        held = made.secret("-authority", "/authority")
        files_of = [(held / name).read_bytes() for name in ("tls.crt", "tls.key")]
        renewed = trustme.CA.from_pem(*files_of).issue_cert("localhost", "renewed.example")
        place = Path(f"{made.folder}/mosquitto/tls")
        with MqttConnection(made.client("aggregator"), "me", []) as connection:
            (place / "tls.crt").write_bytes(renewed.cert_chain_pems[0].bytes())
            (place / "tls.key").write_bytes(renewed.private_key_pem.bytes())

            def renews() -> bool:
                with suppress(ssl.SSLError):  # of a certificate whose key was not written yet
                    return "renewed.example" in names_shown(made.port, held / "tls.crt")
                return False

            wait_until(renews, 30)
            assert connection.connected


def test_mosquitto_starts_again_for_another_authority(tmp_path: Path) -> None:
    made, later = release.render(tmp_path / "before"), release.render(tmp_path / "later")
    with reloading(made, tmp_path) as broker:
        for path in later.secret("-broker-tls", "/mosquitto/tls").iterdir():
            Path(f"{made.folder}/mosquitto/tls", path.name).write_bytes(path.read_bytes())
        assert broker.wait(30) == 0
    assert Path(f"{made.folder}/mosquitto/data/mosquitto.db").exists()
