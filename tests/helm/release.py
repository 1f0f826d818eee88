"""A rendered release as processes of this machine: its files, with its paths and names changed."""

import base64
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path

from cloud.operator import certificates, certificates_command
from cloud.operator.certificates import Pair, Wanted
from edgeloop.runtime.config import BrokerSettings
from edgeloop.runtime.ports import free_port
from tests import forked
from tests.helm import chart
from tests.helm.chart import NAMESPACE, RELEASE, Manifest, containers, named
from tests.ports import wait_for_listener

EDGELOOP = str(Path(sys.executable).with_name("edgeloop"))
PATHS = re.compile(r"(?<![\w.])(/etc/edgeloop|/var/lib/edgeloop|/mosquitto)\b")


@dataclass(frozen=True)
class Release:
    """A rendered release.

    Attributes:
        manifests: as helm made them.
        folder: that stands for every pod's root.
        port: that stands for the broker's.
    """

    manifests: list[Manifest]
    folder: Path
    port: int

    @cached_property
    def certificates(self) -> list[Manifest]:
        """The secrets that the release's job makes."""
        wanted, now = chart.certificates(self.manifests), datetime.now(UTC)
        if wanted is None:
            return []
        authority = certificates.new_authority(wanted.authority, now)
        signing = {"tls.crt": authority.certificate, "tls.key": authority.key}
        made = [_secret(each, authority, now) for each in wanted.certificates]
        if wanted.devices is not None:
            devices = certificates.new_authority(wanted.devices, now)
            files = {"tls.crt": devices.certificate, "tls.key": devices.key}
            made.append(_held(wanted.devices, files))
        if wanted.access is not None:
            made.append(_held(wanted.access, certificates_command.new_tokens()))
        return [_held(wanted.authority, signing), *made]

    def here(self, text: str) -> str:
        """Return a text with the paths of this machine, and its broker."""
        text = PATHS.sub(lambda found: f"{self.folder}{found[0]}", text)
        host = f"{RELEASE}-edgeloop-broker.{NAMESPACE}.svc"
        return text.replace(host, "localhost").replace("port = 8883", f"port = {self.port}")

    def secret(self, name: str, place: str) -> Path:
        """Write a secret's keys as files; return their folder."""
        held = named([*self.manifests, *self.certificates], "Secret", name)
        folder = Path(f"{self.folder}{place}")
        folder.mkdir(parents=True, exist_ok=True)
        for key, value in held.get("data", {}).items():
            (folder / key).write_bytes(base64.b64decode(value))
        for key, value in held.get("stringData", {}).items():
            (folder / key).write_text(value)
        return folder

    def files(self, name: str, place: str) -> Path:
        """Write a ConfigMap's keys as files; return their folder."""
        folder = Path(f"{self.folder}{place}")
        folder.mkdir(parents=True, exist_ok=True)
        for key, value in named(self.manifests, "ConfigMap", name)["data"].items():
            (folder / key).write_text(self.here(value))
        return folder

    def broker(self, stack: ExitStack) -> subprocess.Popen[bytes]:
        """Run the release's Mosquitto until the stack ends."""
        program = shutil.which("mosquitto", path="/usr/sbin:/usr/bin:/usr/local/sbin")
        assert program is not None
        config = self.files("-broker", "/mosquitto/config") / "mosquitto.conf"
        self.secret("-broker-tls", "/mosquitto/tls")
        Path(f"{self.folder}/mosquitto/data").mkdir()
        listener = f"listener {self.port} 127.0.0.1"
        text = config.read_text().replace("listener 8883", listener)
        assert listener in text
        config.write_text(f"user root\n{text}")  # in a pod it is not root at all
        process = subprocess.Popen([program, "-c", config], stdout=subprocess.DEVNULL)
        stack.callback(process.wait)
        stack.callback(process.kill)
        wait_for_listener(process, self.port)
        return process

    def client(self, who: str) -> BrokerSettings:
        """Return how a client with one of the release's certificates reaches the broker."""
        place = self.secret(f"-{who}-tls", f"/etc/edgeloop/tls-{who}")
        return BrokerSettings(
            host="localhost",
            port=self.port,
            ca_file=place / "ca.crt",
            certificate_file=place / "tls.crt",
            key_file=place / "tls.key",
        )

    def start(self, container: Manifest, stack: ExitStack) -> forked.Forked:
        """Run a container's command as a process, at most until the stack ends."""
        arguments = [self.here(each) for each in container["args"]]
        process = forked.start([EDGELOOP, *arguments])
        stack.callback(process.wait)
        stack.callback(process.kill)
        return process

    def containers(self, kind: str, name: str) -> list[Manifest]:
        """Return the containers of one manifest's pods."""
        owner = named(self.manifests, kind, name)
        return containers(owner if kind == "Pod" else owner["spec"]["template"])


def _secret(wanted: Wanted, authority: Pair, now: datetime) -> Manifest:
    made = certificates.signed(wanted, authority, 90, now)
    files = {"tls.crt": made.certificate, "tls.key": made.key, "ca.crt": authority.certificate}
    return _held(wanted.secret, files)


def _held(name: str, files: Mapping[str, bytes]) -> Manifest:
    data = {key: base64.b64encode(each).decode() for key, each in files.items()}
    return {"kind": "Secret", "metadata": {"name": name}, "data": data}


def render(folder: Path, *arguments: str | Path) -> Release:
    """Render the chart with a broker whose certificate is good for this machine."""
    names = ("--set", "tls.extraNames={localhost,127.0.0.1}")
    text = chart.helm("template", RELEASE, chart.CHART, "-n", NAMESPACE, *names, *arguments)
    return Release(chart.parsed(text), folder, free_port())
