"""`edgeloop up` makes an authority, and its broker lets in whom that has admitted."""

import re
from pathlib import Path
from typing import Any

import pytest

from cloud.authority import command
from cloud.stack import reading
from edge.agent import enrol_command, enrolment
from edgeloop.errors import BrokerError, ConfigError
from edgeloop.mqtt.connection import MqttConnection
from edgeloop.protocol.task import contract_topic, presence_topic, upload_topic
from edgeloop.runtime.config import BrokerSettings
from edgeloop.runtime.ports import free_ports
from tests.cloud.stack import stacks
from tests.cloud.stack.stacks import TASK
from tests.devices import wait_until
from tests.world import StartBroker

pytestmark = pytest.mark.broker


@pytest.fixture(autouse=True)
def _mosquitto(start_broker: StartBroker) -> None:
    """Skip without Mosquitto."""


def refused(settings: BrokerSettings) -> None:
    with pytest.raises(BrokerError), MqttConnection(settings, "x", [contract_topic(TASK)]):
        pass


def small(number: int) -> dict[str, Any]:
    return {"source": "fashion-sample", "partition": "iid", "clients": 100, "client": number}


def enrolled(folder: Path, port: int, token: str, authority: Path) -> BrokerSettings:
    """Enrol cam-1 at an authority's port, and return how it connects to the broker."""
    words = ["--server", f"https://127.0.0.1:{port}", "--name", "cam-1", "--token", token]
    words += ["--ca-file", str(authority), "--folder", str(folder)]
    assert enrol_command.main(words) == 0
    facts = enrolment.read(folder)
    files = {"ca_file": "ca.crt", "certificate_file": "device.crt", "key_file": "device.key"}
    return BrokerSettings(
        host=facts.broker_host,
        port=facts.broker_port,
        connect_seconds=5.0,
        **{key: folder / name for key, name in files.items()},  # type: ignore[arg-type]
    )


def test_a_stack_that_names_no_certificates_has_its_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of its own parts, and of a device elsewhere, until that is revoked."""
    outer, inner, port = free_ports(3)
    broker = {"port": outer, "services_port": inner, "connect_seconds": 5.0}
    # A round waits a second for who is away: the looks for who is revoked take most of a minute.
    cohort = {"devices": [*stacks.DEVICES, "away"], "admit": ["cam-*"], "grace_seconds": 1.0}
    parts: dict[str, Any] = {
        "aggregators": [stacks.task(rounds=1000, cohort=cohort)],
        "agents": [stacks.device(number, data=small(number)) for number in range(2)],
    }
    table = stacks.table(tmp_path, broker=broker, authority={"port": port}, **parts)
    with stacks.running(stacks.write(tmp_path, table)) as up:
        up.wait_for("round 1 of 1000: working")
        for each in (outer, inner):
            refused(BrokerSettings(port=each, connect_seconds=0.5))
        place = tmp_path / "stack" / "authority"
        assert place.stat().st_mode & 0o077 == 0
        capsys.readouterr()
        words = ["--task", TASK, "--name", "cam-1", "--folder", str(place)]
        assert command.main(["tokens", *words]) == 0
        token = capsys.readouterr().out.strip()
        settings = enrolled(tmp_path / "identity", port, token, place / "services.crt")
        topic = presence_topic(TASK, "cam-1")

        def goes(connection: MqttConnection, name: str) -> bool:
            connection.publish(name, b"offline")
            return connection.flush(5.0, name)

        with MqttConnection(settings, "x", [], persistent=False) as device:
            wait_until(lambda: goes(device, topic), 30)  # the broker has heard of it
            assert not goes(device, upload_topic(TASK, "one"))
            words = ["cam-1", "--task", TASK, "--folder", str(place)]
            assert command.main(["revoke", *words]) == 0
            wait_until(lambda: not goes(device, topic), 60)
        refused(settings.model_copy(update={"connect_seconds": 1.0}))
        # The run goes on without a member that is revoked: the aggregator has asked the authority.
        assert command.main(["revoke", "one", "--task", TASK, "--folder", str(place)]) == 0
        up.wait_for("one was revoked, and takes no more part")
        up.wait_for("closed: 1 answers", 2)
    assert "nothing is sent" not in up.said()


def test_plain_is_asked_for_by_name(tmp_path: Path) -> None:
    broker: dict[str, Any] = {"port": free_ports(1)[0], "plain": True}
    table = stacks.table(tmp_path, broker=broker, **stacks.of_one_device(2))
    with stacks.running(stacks.write(tmp_path, table)) as up:
        up.wait_for("round 1 of 2: working")
        with MqttConnection(BrokerSettings(port=broker["port"]), "x", [], persistent=False):
            pass
    assert not (tmp_path / "stack" / "authority").exists()


EVERYWHERE = "0.0.0.0"  # noqa: S104 - written, not bound


@pytest.mark.parametrize(
    ("broker", "own"),
    [
        ({}, True),
        ({"listen": EVERYWHERE, "hosts": ["cloud.example"]}, True),
        ({"transport": "websockets"}, True),
        ({"plain": True}, False),
        ({"listen": EVERYWHERE, "plain": True}, False),
        ({"run": "wheel"}, False),
        ({"run": "external"}, False),
    ],
)
def test_who_makes_an_authority(tmp_path: Path, broker: dict[str, Any], own: bool) -> None:
    table = stacks.table(tmp_path, broker={"port": 18_883, **broker})
    layout = reading.read(stacks.write(tmp_path, table))
    assert (layout.own_authority() is not None) == own
    aggregator, *_ = layout.aggregators
    assert (aggregator.checked.broker.port == 18_884) == own
    assert (aggregator.checked.broker.ca_file is not None) == own
    assert all((each.checked.broker.key_file is not None) == own for each in layout.agents)
    assert not (tmp_path / "stack").exists(), "nothing is made before it starts"


@pytest.mark.parametrize("asked", [None, "accepted", "off"])
def test_whether_its_parts_sign(tmp_path: Path, asked: str | None) -> None:
    """They do, unless its file says otherwise; without an authority there is nothing to sign by."""
    given = {} if asked is None else {"signatures": asked}
    table = stacks.table(tmp_path, broker={"port": 18_883, **given})
    layout = reading.read(stacks.write(tmp_path, table))
    parts = [each.checked.broker for each in (*layout.aggregators, *layout.agents)]
    assert {each.signing for each in parts} == {asked or "required"}
    assert parts[0].devices_file == tmp_path / "stack" / "authority" / "devices.crt"
    assert all(each.revoked_files for each in parts)
    plain = stacks.table(tmp_path, broker={"port": 18_883, "plain": True})
    bare = reading.read(stacks.write(tmp_path, plain))
    assert {each.checked.broker.signing for each in bare.agents} == {"off"}


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        (
            {"broker": {"listen": EVERYWHERE}},
            "or hosts, for certificates of the stack's own; or pl",
        ),
        ({"broker": {"run": "external", "plain": True}}, "plain is Mosquitto's, and run is 'ext"),
        ({"broker": {"hosts": ["a b"]}}, "broker: hosts.0"),
        ({"broker": {"plain": True}, "authority": {}}, "authority: serves the stack's own authori"),
        ({"authority": {"prot": 1}}, "authority: prot: there is no such key; did you mean port"),
        ({"broker": {"port": 8443, "services_port": 8443}}, "services_port: 8443 is broker.port"),
    ],
)
def test_what_does_not_fit_together(tmp_path: Path, changes: dict[str, Any], problem: str) -> None:
    table = {**stacks.table(tmp_path, broker={"port": 18_883}), **changes}
    with pytest.raises(ConfigError, match=re.escape(problem)):
        reading.read(stacks.write(tmp_path, table))
