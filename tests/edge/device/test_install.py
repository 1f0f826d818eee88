"""`edgeloop agent install`: a unit that systemd's own verifier takes."""

import json
import os
import shutil
import signal
import socket
import subprocess
from pathlib import Path

import pytest

from edge.agent.command import main
from edge.agent.supervised import LOOP_SECONDS, Supervised
from edge.device import systemd
from edge.device.install import describe
from edge.device.unit import Service
from edgeloop.errors import ConfigError, InputError
from edgeloop.protocol.presence import Presence, State
from edgeloop.runtime.config import BrokerSettings
from tests import forked
from tests.devices import wait_until
from tests.one_device import EDGELOOP

ANALYZE = shutil.which("systemd-analyze") or ""
needs_systemd = pytest.mark.skipif(not ANALYZE, reason="systemd-analyze is not installed")


def write_config(folder: Path, port: int = 1883, **more: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "device.toml"
    extra = "".join(f"{key} = {value}\n" for key, value in more.items())
    text = f'name = "press-1"\ntask = "shop"\nfolder = "state"\n{extra}'
    path.write_text(f'{text}[broker]\nport = {port}\n[data]\nsource = "fashion-sample"\n')
    return path


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    config = write_config(tmp_path / 'a "b" $c %d')
    root = tmp_path / "root"
    assert main(["install", "--config", str(config), "--user", "daemon", "--root", str(root)]) == 0
    return root / "etc/systemd/system/edgeloop-agent-press-1.service"


@needs_systemd
def test_systemd_verifies_the_unit(unit: Path) -> None:
    words = ["verify", "--man=no", str(unit)]
    done = subprocess.run([ANALYZE, *words], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


@needs_systemd
def test_systemd_finds_it_locked_away(unit: Path) -> None:
    words = [ANALYZE, "security", "--offline=true", "--threshold=25", str(unit)]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout  # 2.5 of 10 at most


def test_what_the_unit_says(unit: Path, tmp_path: Path) -> None:
    lines = unit.read_text().splitlines()
    folder = str(tmp_path).replace("%", "%%")
    assert f'WorkingDirectory={folder}/a "b" $c %%d' in lines
    assert f'ReadWritePaths="{folder}/a \\"b\\" $c %%d/state"' in lines
    assert {"User=daemon", "Type=notify", "RestartPreventExitStatus=2 73"} <= set(lines)
    assert "PrivateDevices=yes" in lines


def test_it_prints_and_writes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["install", "--config", str(write_config(tmp_path)), "--user", "daemon", "--print"]
    assert main([*words, "--memory", "300M", "--cpu", "50%"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert {"MemoryMax=300M", "CPUQuota=50%"} <= set(lines)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["device.toml"]


@pytest.mark.parametrize(
    ("option", "value"),
    [
        *(
            ("--memory", value)
            for value in ("lots", "512MB", "150%", "0", "1G\nX=y", "16E", "15.5E", "9" * 20)
        ),
        *(("--memory", value) for value in ("0.0K", "12.555%", "100.5%", "0%", "1.5", "\u0665G")),
        *(("--cpu", value) for value in ("half", "-5%", "0%", "0", "50 %", "12.555%", "0.0")),
        ("--cpu", "99999999%"),
    ],
)
def test_a_limit_that_systemd_would_ignore_is_refused(
    tmp_path: Path, option: str, value: str
) -> None:
    words = ["install", "--config", str(write_config(tmp_path)), "--user", "daemon", "--print"]
    with pytest.raises(ConfigError, match=f"{option}: .* is no limit that systemd knows"):
        main([*words, f"{option}={value}"])


@pytest.mark.parametrize("memory", ["512", "1048575", "4K", "0.5M"])
def test_a_limit_that_no_agent_runs_within_is_refused(tmp_path: Path, memory: str) -> None:
    words = ["install", "--config", str(write_config(tmp_path)), "--user", "daemon", "--print"]
    with pytest.raises(ConfigError, match=f"--memory: '{memory}' is less than 1 MiB; write it"):
        main([*words, "--memory", memory])


@pytest.mark.parametrize(
    ("memory", "cpu"),
    [
        *((memory, "50") for memory in ("300M", "1.5G", "75%", "100%", "infinity")),
        *((memory, "250%") for memory in ("536870912", "1048576", "12.5%", "1P", "15E", "0.5G")),
        *((memory, "12.5%") for memory in ("0.25%", "100.00%", "1.23456789G", "14.999999999E")),
        ("75%", "12.5"),
        ("75%", "0.01%"),
        ("75%", "9999999%"),
    ],
)
def test_systemd_knows_the_limits_that_are_taken(tmp_path: Path, memory: str, cpu: str) -> None:
    words = ["install", "--config", str(write_config(tmp_path)), "--user", "daemon"]
    assert main([*words, "--root", str(tmp_path), "--memory", memory, "--cpu", cpu]) == 0
    unit = tmp_path / "etc/systemd/system/edgeloop-agent-press-1.service"
    assert f"CPUQuota={cpu.rstrip('%')}%" in unit.read_text().splitlines()
    assert f"MemoryMax={memory}" in unit.read_text().splitlines()
    if ANALYZE:
        done = subprocess.run([ANALYZE, "verify", "--man=no", str(unit)], capture_output=True)
        assert (done.returncode, done.stderr) == (0, b"")


def test_a_user_that_systemd_makes_has_its_folder_there(tmp_path: Path) -> None:
    made = Service("a", "t", Path("/e"), Path("/c/d.toml"), (Path("/var/lib/edgeloop-agent/a"),))
    assert "DynamicUser=yes\nStateDirectory=edgeloop-agent/a\n" in made.text()
    if os.getuid() == 0:
        from edge.device.doctor import read

        config = write_config(tmp_path)
        with pytest.raises(ConfigError, match='below "/var/lib/edgeloop-agent/press-1"'):
            describe(read(config, None), config)


def test_uninstall_removes_the_unit(unit: Path, tmp_path: Path) -> None:
    config, root = next(tmp_path.glob("a*/device.toml")), tmp_path / "root"
    words = ["uninstall", "--config", str(config), "--root", str(root)]
    assert main(words) == 0
    assert not unit.exists()
    with pytest.raises(InputError, match="is not there"):
        main(words)


@needs_systemd
def test_one_of_many_that_share_a_file_has_a_unit_of_its_own(unit: Path, tmp_path: Path) -> None:
    config, root = next(tmp_path.glob("a*/device.toml")), tmp_path / "root"
    named = ["--config", str(config), "--name", "press 2", "--root", str(root)]
    with pytest.raises(ConfigError, match="name"):
        main(["install", *named, "--user", "daemon"])
    named[3] = "press-2"
    assert main(["install", *named, "--user", "daemon"]) == 0
    other = unit.with_name("edgeloop-agent-press-2.service")
    done = subprocess.run([ANALYZE, "verify", "--man=no", str(other)], capture_output=True)
    assert (done.returncode, done.stderr) == (0, b"")
    (start,) = (each for each in other.read_text().splitlines() if each.startswith("ExecStart="))
    assert start.endswith('device.toml" --name press-2 --log-format plain')
    (writes,) = (each for each in other.read_text().splitlines() if each.startswith("ReadWrite"))
    assert writes.endswith('/state/press-2"')
    assert "--name" not in unit.read_text()
    assert main(["uninstall", *named]) == 0
    assert unit.exists()
    assert not other.exists()


def test_the_log_of_one_of_many_is_its_unit_s(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, ...]] = []

    def ask(*words: str) -> str:
        asked.append(words)
        return ""

    monkeypatch.setattr(systemd, "is_running", lambda: True)
    monkeypatch.setattr(systemd, "ask", ask)
    main(["logs", "--config", str(write_config(tmp_path)), "--name", "press-2"])
    assert asked[0][:3] == ("journalctl", "--unit", "edgeloop-agent-press-2.service")


def listening(path: Path) -> socket.socket:
    receiver = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    receiver.bind(str(path))
    receiver.settimeout(60)
    return receiver


def test_an_agent_tells_systemd_and_its_file(tmp_path: Path, broker: BrokerSettings) -> None:
    config = write_config(tmp_path, broker.port)
    environment = {**os.environ, "NOTIFY_SOCKET": str(tmp_path / "n"), "WATCHDOG_USEC": "1500000"}
    words = [EDGELOOP, "agent", "--config", str(config)]
    with (
        listening(tmp_path / "n") as systemd,
        forked.running(words, env=environment, cwd=tmp_path) as agent,
    ):
        said = [systemd.recv(4096).decode()]
        while not (any("WATCHDOG" in each for each in said) and "STATUS=waiting" in said):
            said.append(systemd.recv(4096).decode())
        assert said[0] == "READY=1"
        status = tmp_path / "state" / "status.json"
        wait_until(status.exists)
        words = [EDGELOOP, "agent", "status", "--config", str(config), "--json"]
        told = json.loads(forked.run(words, check=True, cwd=tmp_path).stdout)
        assert (told["running"], told["state"], told["device"]) == (True, "waiting", "press-1")
        agent.send_signal(signal.SIGTERM)
        assert agent.wait(60) == 0
        while said[-1] != "STOPPING=1":
            said.append(systemd.recv(4096).decode())
    told = json.loads(forked.run(words, check=True, cwd=tmp_path).stdout)
    assert (told["running"], told["state"]) == (False, "stopped")


def test_a_loop_that_hangs_is_left_to_the_watchdog(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    supervised = Supervised(None, {})
    now[0] = 1e7
    assert not supervised.hangs()  # the first connection may take as long as it wants
    supervised.turn()
    supervised.working(State.TRAINING)
    now[0] += 10 * LOOP_SECONDS
    assert not supervised.hangs()
    supervised.turn()
    now[0] += LOOP_SECONDS + 1
    assert supervised.hangs()


def test_an_abstract_socket_is_understood() -> None:
    name = f"@edgeloop-{os.getpid()}"
    receiver = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    with receiver:
        receiver.bind("\0" + name[1:])
        Supervised(None, {"NOTIFY_SOCKET": name}).say(Presence(state="training", round=3))
        assert receiver.recv(100) == b"STATUS=training round 3"


def test_settings_are_read_again(tmp_path: Path, broker: BrokerSettings) -> None:
    config = write_config(tmp_path, broker.port)
    log = tmp_path / "log"
    words = [EDGELOOP, "agent", "--config", str(config)]
    with log.open("w") as output, forked.running(words, stderr=output, cwd=tmp_path) as agent:
        wait_until((tmp_path / "state" / "status.json").exists)
        write_config(tmp_path, broker.port + 1, stay="true")
        agent.send_signal(signal.SIGHUP)
        wait_until(lambda: "read the settings again: stay" in log.read_text())
        assert "changed, but used only after the agent is restarted: broker" in log.read_text()
        config.write_text("no = toml = at all")
        agent.send_signal(signal.SIGHUP)
        wait_until(lambda: "the settings stay as they were" in log.read_text())
        assert agent.poll() is None
