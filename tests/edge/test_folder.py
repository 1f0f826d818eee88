"""A device's folder: its own, one agent at a time in it, and full or read-only at times."""

import errno
import fcntl
import json
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edge.agent.folder import device_settings, hold_folder
from edge.agent.privacy_ledger import PrivacyLedger
from edge.agent.settings import DataSettings, DeviceSettings
from edge.agent.store import AgentState, AgentStore
from edgeloop.errors import RunError, TakenError, UnavailableError
from edgeloop.runtime import atomic_files
from edgeloop.runtime.config import BrokerSettings
from tests.one_device import DEVICE, EDGELOOP, Task, aggregator, write_data

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def settings(folder: Path, name: str = "somebody") -> DeviceSettings:
    data = DataSettings(source="fashion-sample")
    return DeviceSettings(name=name, task="shop", folder=folder, data=data)


def test_each_of_many_devices_has_a_folder_of_its_own(tmp_path: Path) -> None:
    for name in ("press-1", "press-2"):
        mine = device_settings(settings(tmp_path), name)
        assert (mine.name, mine.folder) == (name, tmp_path / name)
        AgentStore(mine.folder, name, "shop").save(AgentState("run-1", 1, name.encode()))
    got = AgentStore(tmp_path / "press-1", "press-1", "shop").load("run-1")
    assert got is not None
    assert got.answer == b"press-1"


def test_a_device_goes_on_with_the_state_of_before_folders_by_name(tmp_path: Path) -> None:
    AgentStore(tmp_path, "press-1", "shop").save(AgentState("run-1", 1, b"x"))
    assert device_settings(settings(tmp_path), "press-1").folder == tmp_path
    assert device_settings(settings(tmp_path), "press-2").folder == tmp_path / "press-2"


def test_a_folder_has_one_agent_at_a_time(tmp_path: Path) -> None:
    folder = tmp_path / "device"
    taken = pytest.raises(TakenError, match="device: another agent is at work in it; stop that one")
    with hold_folder(folder), taken, hold_folder(folder):
        pass
    with hold_folder(folder), hold_folder(tmp_path / "another"):
        pass


def test_a_second_agent_ends_with_one_sentence(tmp_path: Path) -> None:
    config = tmp_path / "device.toml"
    data = 'source = "fashion-sample", partition = "iid"'
    config.write_text(f'name = "one"\ntask = "shop"\nfolder = "{tmp_path}"\ndata = {{ {data} }}\n')
    command = [EDGELOOP, "agent", "--config", str(config)]
    with hold_folder(tmp_path):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 73
    assert done.stderr.splitlines()[-1] == (
        f"error: folder {tmp_path}: another agent is at work in it; stop that one, or name a"
        " folder of its own"
    )


def test_a_file_system_without_locks_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refused(_handle: int, _how: int) -> None:
        raise OSError(errno.ENOTSUP, "Operation not supported")

    monkeypatch.setattr(fcntl, "flock", refused)
    with hold_folder(tmp_path):
        assert "cannot be locked ([Errno 95] Operation not supported)" in caplog.text


@pytest.mark.parametrize("number", [*FULL, errno.EROFS, errno.EACCES, errno.EIO])
def test_what_cannot_be_written_is_one_sentence(tmp_path: Path, number: int) -> None:
    kind = UnavailableError if number in FULL else RunError
    told = pytest.raises(kind, match=rf"^folder {tmp_path}: cannot be written \(why\); ")
    with told as caught, atomic_files.writing(tmp_path):
        raise OSError(number, "why")
    assert ("free space there" in caught.value.remedy) == (number in FULL)


WRITERS: dict[str, Callable[[Path], object]] = {
    "state": lambda folder: AgentStore(folder, "a", "t").save(AgentState("r", 1, b"x" * 9000)),
    "broadcast": lambda folder: AgentStore(folder, "a", "t").keep_broadcast(b"x" * 9000),
    "privacy": lambda folder: PrivacyLedger(folder),
}


@pytest.fixture
def full(tmp_path: Path) -> Iterator[Path]:
    """Let no file of this process grow, as on a full disk."""
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (16, limits[1]))
    yield tmp_path
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    signal.signal(signal.SIGXFSZ, before)


@pytest.mark.parametrize("what", WRITERS)
def test_a_full_disk_is_one_sentence_and_leaves_no_half_file(full: Path, what: str) -> None:
    with pytest.raises(UnavailableError, match=r"cannot be written \(File too large\); free space"):
        WRITERS[what](full)
    assert [each.name for each in full.iterdir()] == []


PROGRAM = """
import resource, signal, sys
from edgeloop.cli.main import main
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
import torch, edge.agent.command
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), resource.RLIM_INFINITY))
sys.exit(main(sys.argv[2:]))
"""


@pytest.mark.broker
@pytest.mark.parametrize("size", [10_000, 2_000_000_000])
def test_an_agent_on_a_full_disk_ends_with_one_sentence(
    tmp_path: Path, broker: BrokerSettings, size: int
) -> None:
    task = Task(tmp_path, write_data(tmp_path / "data"), broker, None, "fedproto", {})
    device = task.device()
    config = tmp_path / "device.json.toml"
    config.write_text(
        f'name = "{DEVICE}"\ntask = "alone"\nfolder = "{device.folder}"\n'
        f"broker = {{ port = {broker.port} }}\n"
        f"data = {{ source = {json.dumps(device.data.source)} }}\n"
        'training = { architecture = "resnet4", threads = 1 }\n'
    )
    command = [sys.executable, "-c", PROGRAM, str(size), "agent", "--config", str(config)]
    with aggregator(task):
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=100)
    assert "Traceback" not in done.stderr
    if size > 10_000:
        assert done.returncode == 0, done.stderr
        assert (device.folder / "model.onnx").exists()
        return
    assert done.returncode == 75
    assert done.stderr.splitlines()[-1] == (
        f"error: folder {device.folder}: cannot be written (File too large); free space there, and"
        " start it again"
    )
