"""A release where devices enrol: its rendered pods as processes, from a token to a signed round."""

import json
import shutil
import subprocess
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import tomli_w
import yaml

from cloud.authority import command, keys
from cloud.authority.signing import fingerprint
from edge.agent import enrol_command
from edgeloop.runtime.ports import free_ports
from tests import forked
from tests.devices import wait_until
from tests.helm import release
from tests.helm.chart import NAMESPACE, RELEASE, Manifest
from tests.helm.release import EDGELOOP, Release
from tests.one_device import write_data
from tests.ports import wait_for_listener, with_ports

FOLDER = "/var/lib/edgeloop/authority"
NODE = "press-1"
TASK = {
    "algorithm": "fedproto",
    "shape": [1, 28, 28],
    "width": 16,
    "rounds": 1,
    "cohort": {"devices": ["press-1"]},
}


@dataclass(frozen=True)
class Place:
    """A release on this machine.

    Attributes:
        made: it.
        ports: of the chart -> of this machine.
        stack: that ends its processes.
    """

    made: Release
    ports: Mapping[str, int]
    stack: ExitStack

    def here(self, text: str) -> str:
        """Return a text of the release's, that has this machine's paths, with its names, too."""
        for name in ("broker-services", "authority"):
            text = text.replace(f"{RELEASE}-edgeloop-{name}.{NAMESPACE}.svc", "localhost")
        return with_ports(text, self.ports).replace("0.0.0.0", "127.0.0.1")  # noqa: S104 - replaced, not bound

    def files(self, name: str, place: str) -> Path:
        """Write a ConfigMap's files."""
        folder = self.made.files(name, place)
        for path in folder.iterdir():
            if path.is_file():
                path.write_text(self.here(path.read_text()))
        return folder

    def run(self, container: Manifest, log: str) -> forked.Forked:
        """Run a container's command, at most until the stack ends."""
        words = [self.here(self.made.here(each)) for each in container["args"]]
        words = [each.replace("$(NODE_NAME)", NODE) for each in words]
        out = self.stack.enter_context((self.made.folder / log).open("wb"))
        process = forked.start([EDGELOOP, *words], stderr=out)
        self.stack.callback(process.wait)
        self.stack.callback(process.kill)
        return process

    def authority(self) -> Path:
        """Run the authority, with its files mounted into its folder; return that."""
        folder = self.files("-edgeloop-authority", FOLDER)
        for signer, name in (
            ("services", "-edgeloop-authority"),
            ("devices", "-devices-authority"),
        ):
            held = self.made.secret(name, f"/{signer}")
            for end in ("crt", "key"):
                shutil.copy(held / f"tls.{end}", folder / f"{signer}.{end}")
            (folder / f"{signer}.key").chmod(0o600)
        self.made.secret("-authority-access", "/etc/edgeloop/access")
        (container,) = self.made.containers("StatefulSet", "-authority")
        process = self.run(container, "authority.log")
        wait_for_listener(process, self.ports["8443"])
        return folder

    def broker(self) -> None:
        """Run the broker's pod: what fetches its rights, then Mosquitto and what keeps them."""
        config = self.files("-broker", "/mosquitto/config") / "mosquitto.conf"
        self.made.secret("-broker-tls", "/mosquitto/tls")
        for name in ("data", "identities"):
            Path(f"{self.made.folder}/mosquitto/{name}").mkdir()
        first, mosquitto, keeping, _ = self.made.containers("StatefulSet", "-broker")
        assert self.run(first, "first.log").wait(60) == 0
        config.write_text(f"user root\n{config.read_text()}")  # in a pod it is not root at all
        program = shutil.which(mosquitto["command"][0], path="/usr/sbin:/usr/bin")
        assert program is not None
        process = subprocess.Popen([program, "-c", config], stdout=subprocess.DEVNULL)
        self.stack.callback(process.wait)
        self.stack.callback(process.kill)
        wait_for_listener(process, self.ports["8883"])
        self.run(keeping, "keeping.log")

    def enrolling(self, folder: Path, *secrets: tuple[str, str]) -> None:
        """Write what containers that enrol have mounted: who is asked, and tokens by paths."""
        here = Path(f"{self.made.folder}/etc/edgeloop")
        (here / "authority").mkdir()
        shutil.copy(folder / "services.crt", here / "authority" / "ca.crt")
        for path, text in secrets:
            (here / path).parent.mkdir(exist_ok=True)
            (here / path).write_text(text)


def said(read: Callable[[], Any]) -> str:
    """Return what a command's last line was."""
    return str(read().out.strip().splitlines()[-1])


DEVICE = ("--task", "alone", "--name", "press-1")


def enrolled(folder: Path, token: str, port: int, tmp_path: Path) -> Path:
    """Enrol the device by a token; return the folder of its identity."""
    shown = fingerprint(keys.read_certificate(folder / "services.crt"))
    identity = tmp_path / "identity"
    words = ["--server", f"https://localhost:{port}", "--ca-fingerprint", shown]
    words += ["--token", token, "--name", "press-1", "--folder", str(identity)]
    assert enrol_command.main(words) == 0
    return identity


def device(tmp_path: Path, source: Path, identity: Path) -> Path:
    """Write the device's file; return its path."""
    path = tmp_path / "device.toml"
    fields = {
        "name": "press-1",
        "task": "alone",
        "folder": str(tmp_path / "press-1"),
        "enrolment": str(identity),
        "data": {"source": str(source), "client": 0},
        "training": {"architecture": "cnn", "threads": 1},
    }
    path.write_text(tomli_w.dumps(fields))
    return path


@pytest.mark.broker
def test_from_a_token_to_a_signed_round(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = write_data(tmp_path / "data")
    names = json.loads((source / "config.json").read_text())["class_names"]
    values = tmp_path / "values.yaml"
    task = {"name": "alone", "task": {**TASK, "class_names": names}}
    given = {"authority": {"enabled": True}, "aggregators": [task], "triton": {"enabled": False}}
    values.write_text(yaml.safe_dump(given))
    made = release.render(tmp_path, "-f", values)
    ports = dict(zip(("8443", "8884", "9464"), free_ports(3), strict=True))
    ports["8883"] = made.port
    with ExitStack() as stack:
        place = Place(made, ports, stack)
        folder = place.authority()
        place.broker()
        assert command.main(["tokens", "--folder", str(folder), *DEVICE]) == 0
        identity = enrolled(folder, said(capsys.readouterr), ports["8443"], tmp_path)
        rights = Path(f"{tmp_path}/mosquitto/identities/rights.acl")
        wait_until(lambda: "user CN=press-1,OU=alone" in rights.read_text(), 30)
        assert "user aggregator\ntopic readwrite edgeloop/v1/#" in rights.read_text()
        place.files("-task-alone", "/etc/edgeloop/task")
        made.secret("-aggregator-tls", "/etc/edgeloop/tls")
        (aggregator,) = made.containers("StatefulSet", "-task-alone")
        place.run(aggregator, "aggregator.log")
        config = device(tmp_path, source, identity)
        log = stack.enter_context((tmp_path / "device.log").open("wb"))
        agent = forked.start([EDGELOOP, "agent", "--config", str(config)], stderr=log)
        stack.callback(agent.wait)
        stack.callback(agent.kill)
        assert agent.wait(120) == 0, (tmp_path / "device.log").read_text()
        told = httpx.get(f"http://127.0.0.1:{ports['9464']}/status", trust_env=False).json()
        assert (told["phase"], told["round"]) == ("finished", 1)
    believed = tmp_path / "var/lib/edgeloop/devices.crt"
    assert believed.read_bytes() == (folder / "devices.crt").read_bytes(), "as the authority says"
    heard = (tmp_path / "aggregator.log").read_text()
    assert "does not say who is revoked" not in heard
    assert "HTTP 40" not in heard, "its certificate, which others have signed, may ask"


def rendered(tmp_path: Path, **values: Any) -> tuple[Release, dict[str, int]]:
    """Render a release with an authority; return it with the chart's ports as they are here."""
    path = tmp_path / "values.yaml"
    given = {"authority": {"enabled": True}, "triton": {"enabled": False}}
    path.write_text(yaml.safe_dump({**given, **values}))
    made = release.render(tmp_path, "-f", path)
    ports = dict(zip(("8443", "8884", "9464"), free_ports(3), strict=True))
    return made, {**ports, "8883": made.port}


@pytest.mark.broker
def test_a_node_enrols_and_signs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = write_data(tmp_path / "data")
    names = json.loads((source / "config.json").read_text())["class_names"]
    made, ports = rendered(
        tmp_path,
        aggregators=[{"name": "alone", "task": {**TASK, "class_names": names}}],
        agent={
            "enabled": True,
            "task": "alone",
            "data": {"client": 0},
            "training": {"architecture": "cnn", "threads": 1},
            "enrolment": {"tokenSecret": {"name": "nodes"}},
        },
    )
    with ExitStack() as stack:
        place = Place(made, ports, stack)
        folder = place.authority()
        place.broker()
        words = ["--task", "alone", "--name", "press-*", "--uses", "2"]
        assert command.main(["tokens", "--folder", str(folder), *words]) == 0
        place.enrolling(folder, ("token/token", said(capsys.readouterr)))
        enrol, agent = made.containers("DaemonSet", "-agent")
        assert place.run(enrol, "enrol.log").wait(60) == 0, (tmp_path / "enrol.log").read_text()
        (tmp_path / "etc/edgeloop/token/token").unlink()
        assert place.run(enrol, "again.log").wait(60) == 0, "a pod that is started again"
        place.files("-task-alone", "/etc/edgeloop/task")
        made.secret("-aggregator-tls", "/etc/edgeloop/tls")
        (aggregator,) = made.containers("StatefulSet", "-task-alone")
        place.run(aggregator, "aggregator.log")
        config = place.files("-agent", "/etc/edgeloop/device") / "device.toml"
        config.write_text(config.read_text().replace('"/data"', f'"{source}"'))
        place.run(agent, "agent.log")
        status = f"http://127.0.0.1:{ports['9464']}/status"
        wait_until(lambda: told(status).get("phase") == "finished", 120)
        assert told(status)["round"] == 1
    assert not (tmp_path / "etc/edgeloop/tls-agent").exists(), "no certificate of all nodes"


def told(url: str) -> Any:
    """Return what an aggregator says; nothing while it does not answer."""
    try:
        return httpx.get(url, trust_env=False).json()
    except httpx.HTTPError:
        return {}


@pytest.mark.broker
def test_the_test_pod_enrols_and_signs(tmp_path: Path) -> None:
    made, ports = rendered(tmp_path)
    with ExitStack() as stack:
        place = Place(made, ports, stack)
        folder = place.authority()
        place.broker()
        place.enrolling(folder)
        *first, aggregator, one, other = made.containers("Pod", "-test-round")
        assert [each["name"] for each in first] == [
            *("test-a-token", "test-a-enrol", "test-b-token", "test-b-enrol"),
        ]
        for each in first:
            log = f"{each['name']}.log"
            assert place.run(each, log).wait(60) == 0, (tmp_path / log).read_text()
        place.files("-test-round", "/etc/edgeloop/task")
        made.secret("-aggregator-tls", "/etc/edgeloop/tls")
        running = [place.run(each, f"{each['name']}.log") for each in (aggregator, one, other)]
        assert [each.wait(120) for each in running] == [0, 0, 0]
        heard = (tmp_path / "aggregator.log").read_text()
        assert "not signed" not in heard
    assert (tmp_path / "var/lib/edgeloop/aggregator/devices.crt").exists(), "it checked them"
    assert (tmp_path / "var/lib/edgeloop/aggregator/summary.json").exists()
