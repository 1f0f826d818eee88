"""compose.enrolment.yaml: its scripts and files, as processes, from nothing to a signed round."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from edgeloop.runtime.ports import free_ports
from tests.devices import wait_until
from tests.ports import wait_for_listener, with_ports
from tests.test_compose import ROOT, parsed

FILE = ROOT / "compose.enrolment.yaml"
BIN = Path(sys.executable).parent
PLACES = re.compile(r"(?<![\w.])(/srv|/var/lib/edgeloop|/etc/edgeloop)\b")


def whole() -> dict[str, Any]:
    """Return the file as it is where no variable is set."""
    text = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", FILE.read_text())
    return dict(yaml.safe_load(text))


def test_it_is_as_the_specification_says_and_as_the_other_one() -> None:
    services, other = whole()["services"], yaml.safe_load((ROOT / "compose.yaml").read_text())
    assert parsed(whole()).services is not None
    assert services["broker"]["image"] == other["services"]["broker"]["image"]
    for name, service in services.items():
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", [])), name
        assert service["read_only"]
        assert service["cap_drop"] == ["ALL"]
        for each in service["volumes"]:
            place, inside = each.split(":")[:2]
            if place.startswith("./"):
                assert (ROOT / place).is_file(), place
            else:
                assert place in whole()["volumes"]
                assert inside in (ROOT / "Dockerfile").read_text(), "its owner comes from there"


def test_only_who_needs_them_has_the_authoritys_keys() -> None:
    services = whole()["services"].items()
    having = {name for name, each in services if "authority:/srv/authority" in each["volumes"]}
    assert having == {"identities", "authority"}


def written(tmp_path: Path, ports: Mapping[str, int]) -> dict[str, Path]:
    """Write the set's files and folders below a folder, with other ports; return the files."""

    def here(text: str) -> str:
        text = PLACES.sub(lambda found: f"{tmp_path}{found[0]}", text)
        names = re.compile(r"(?<=//)authority(?=:)|(?<=\")broker(?=\"$)|0\.0\.0\.0", re.MULTILINE)
        changed = {"authority": "localhost", "broker": "localhost", "0.0.0.0": "127.0.0.1"}  # noqa: S104
        return with_ports(names.sub(lambda found: changed[found[0]], text), ports)

    for each in ("authority", "broker", "aggregator", "tokens"):
        (tmp_path / "srv" / each).mkdir(parents=True)
    for name in ("press-1", "aggregator"):
        (tmp_path / name / "var").mkdir(parents=True)
    files = {}
    for name in ("enrolment.sh", "enrolled.sh", "task-enrolment.toml", "press-enrolment.toml"):
        text = here((ROOT / "compose" / name).read_text())
        if name.startswith("task"):
            text = text.replace("rounds = 20", "rounds = 1").replace(
                '["press-1", "press-2"]', '["press-1"]'
            )
            text = text.replace(f"{tmp_path}/var/lib/edgeloop", f"{tmp_path}/aggregator/var")
            text = text.replace("linger = true", f"linger = true\nport = {ports['9464']}")
        files[name] = tmp_path / name
        files[name].write_text(text.replace("stay = true", "stay = false"))
    place = tmp_path / "etc" / "edgeloop"
    place.mkdir(parents=True)
    shutil.copy(files["press-enrolment.toml"], place / "device.toml")
    return files


@pytest.mark.broker
def test_its_files_run_a_signed_task(tmp_path: Path) -> None:
    ports = dict(zip(("8443", "8883", "8884", "9464"), free_ports(4), strict=True))

    environment = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}", "DEVICE": "press-1"}
    files = written(tmp_path, ports)
    with ExitStack() as stack:

        def start(*words: str | Path, log: str) -> subprocess.Popen[bytes]:
            out = stack.enter_context((tmp_path / log).open("wb"))
            process = subprocess.Popen([*map(str, words)], env=environment, stderr=out, stdout=out)
            stack.callback(process.wait)
            stack.callback(process.kill)
            return process

        for _ in range(2):  # again, it makes nothing anew
            made = start("sh", files["enrolment.sh"], log="identities.log")
            assert made.wait(240) == 0, (tmp_path / "identities.log").read_text()
        config = tmp_path / "srv" / "broker" / "mosquitto.conf"
        config.write_text(with_ports(config.read_text(), ports))
        mosquitto = shutil.which("mosquitto", path=f"{os.environ['PATH']}:/usr/sbin")
        assert mosquitto is not None
        wait_for_listener(start(mosquitto, "-c", config, log="broker.log"), ports["8883"])
        serve = ("ca", "serve", "--folder", tmp_path / "srv" / "authority")
        served = start(BIN / "edgeloop", *serve, log="authority.log")
        wait_for_listener(served, ports["8443"])
        task = ("aggregator", "--config", files["task-enrolment.toml"])
        start(BIN / "edgeloop", *task, log="aggregator.log")
        device = start("sh", files["enrolled.sh"], log="device.log")
        assert device.wait(240) == 0, (tmp_path / "device.log").read_text()

        def finished() -> bool:
            url = f"http://127.0.0.1:{ports['9464']}/status"
            return bool(httpx.get(url, trust_env=False).json()["phase"] == "finished")

        wait_until(finished, 30)
    assert (tmp_path / "aggregator" / "var" / "devices.crt").exists(), "answers were signed"
