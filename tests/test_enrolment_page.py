"""docs/enrolment.md: its commands are run as they stand there."""

import os
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from edgeloop.runtime.ports import free_ports
from tests.ports import with_ports
from tests.test_operate import BINARIES, installed
from tests.world import StartBroker

PAGE = (Path(__file__).parent.parent / "docs" / "enrolment.md").read_text(encoding="utf-8")


@pytest.fixture
def home(tmp_path: Path, start_broker: StartBroker) -> Iterator[Path]:
    """A folder in the place of /srv/edgeloop; what runs in it is stopped."""
    installed("curl")
    home = tmp_path / "home"
    yield home
    for file in home.glob("*.pid"):
        with suppress(ProcessLookupError, ValueError):
            os.kill(int(file.read_text()), signal.SIGKILL)


@pytest.mark.broker
def test_from_an_authority_to_a_device_that_is_revoked(home: Path) -> None:
    steps = re.findall(r"^```sh\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    assert len(steps) == 7
    text = "\n".join(["set -euo pipefail", *steps]).replace("/srv/edgeloop", str(home))
    known = ("8443", "8883", "8884", "9464")
    text = with_ports(text, dict(zip(known, free_ports(4), strict=True)))
    environment = {**os.environ, "PATH": f"{BINARIES}:{os.environ['PATH']}:/usr/sbin"}
    done = subprocess.run(
        ["/bin/bash", "-c", text],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
        timeout=240,
    )
    logs = {each.name: each.read_text() for each in home.glob("*.log")}
    assert done.returncode == 0, f"{done.stdout}\n{logs}"
    assert "press-1 is admitted to shop-floor" in done.stdout
    assert "press-1 of shop-floor is revoked" in done.stdout
    assert "token " in done.stdout, "the audit"
    assert "CN=press-1,OU=shop-floor" in logs["mosquitto.log"]
