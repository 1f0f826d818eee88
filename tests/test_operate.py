"""docs/operate.md: its commands for one box are run as they stand there."""

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cloud.aggregator.ledger import Ledger, RoundCounts
from edgeloop.runtime.ports import free_ports
from tests.ports import with_ports
from tests.postgres import Postgres
from tests.world import StartBroker, contract

PAGE = (Path(__file__).parent.parent / "docs" / "operate.md").read_text()
BINARIES = str(Path(sys.executable).parent)


def blocks(language: str) -> list[str]:
    """Return the page's blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def line_with(command: str) -> str:
    """Return the page's line that begins with a command."""
    (found,) = re.findall(rf"^{command} .*$", "\n".join(blocks("bash")), re.MULTILINE)
    return str(found)


def installed(program: str) -> str:
    """Return a program's path; without it skip, or fail in CI."""
    found = shutil.which(program)
    if found is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(f"{program} is not installed")
    return found


@pytest.fixture
def home(tmp_path: Path, start_broker: StartBroker) -> Iterator[Path]:
    """A folder in the place of /srv/edgeloop; the stack in it is stopped."""
    for program in ("openssl", "curl"):
        installed(program)
    home = tmp_path / "home"
    yield home
    if (home / "up.pid").exists():
        os.kill(int((home / "up.pid").read_text()), signal.SIGKILL)


@pytest.mark.broker
def test_one_box_from_its_installation_to_its_removal(home: Path, tmp_path: Path) -> None:
    mqtt, http = free_ports(2)
    steps = blocks("sh")
    assert len(steps) == 7
    script = ["set -euo pipefail"]
    for number, step in enumerate(steps):
        script += [step, f"echo done {number}", f"cp up.log {tmp_path}/{number}.log || true"]
    text = "\n".join(script).replace("/srv/edgeloop", str(home))
    text = with_ports(text, {"8883": mqtt, "9464": http})
    environment = {**os.environ, "PATH": f"{BINARIES}:{os.environ['PATH']}:/usr/sbin"}
    done = subprocess.run(
        ["/bin/bash", "-c", text],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
        timeout=280,
    )
    assert done.returncode == 0, done.stdout
    assert f"broker: mosquitto, localhost:{mqtt}" in done.stdout
    assert not home.exists()
    restored = (tmp_path / "4.log").read_text()
    assert re.search(r"^shop-floor \| .* resumes at round [1-9]", restored, re.MULTILINE)
    upgraded = (tmp_path / "5.log").read_text()
    assert _round(upgraded) >= _round(restored) > 0
    for log in (restored, upgraded):
        assert "nothing is sent" not in log
        assert "started again" not in log


def _round(log: str) -> int:
    """Return the round that an aggregator continues with."""
    (found,) = re.findall(r"resumes at round (\d+)", log)
    return int(found)


@pytest.mark.postgresql
def test_a_postgresql_ledger_is_dumped_in_the_middle_of_a_round_and_restored(
    tmp_path: Path, postgres: Postgres
) -> None:
    url = postgres.database()
    path = f"{postgres.programs}:{os.environ['PATH']}"
    environment = {**os.environ, "URL": url, "PATH": path}

    def run(command: str) -> None:
        subprocess.run(["/bin/sh", "-c", command], check=True, cwd=tmp_path, env=environment)

    task = contract(run="kept")
    with Ledger.open(url) as ledger:
        ledger.adopt(task)
        ledger.begin(b"state 0", b"broadcast 0")
        ledger.record(0, "one", "digest", b"payload")
        run(line_with("pg_dump"))
        ledger.close_round(0, b"state 1", b"broadcast 1", RoundCounts(1, 1, 1))
    run(line_with("pg_restore"))
    with Ledger.open(url) as ledger:
        assert ledger.adopt(contract(run="fresh")).run == "kept"
        assert ledger.run_state() == (0, b"state 0", b"broadcast 0")
        assert ledger.recall(0) == {"one": b"payload"}


def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    program = installed("systemd-analyze")
    (unit,) = blocks("ini")
    path = tmp_path / "edgeloop.service"
    path.write_text(
        unit.replace("/opt/edgeloop/bin", BINARIES).replace("=edgeloop\nExec", "=root\nExec")
    )
    done = subprocess.run([program, "verify", path], capture_output=True, text=True)
    assert [line for line in done.stderr.splitlines() if path.name in line] == []
    assert done.returncode == 0, done.stderr
