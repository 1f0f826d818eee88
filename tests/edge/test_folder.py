"""A device's folder: its own, one agent at a time in it, and full or read-only at times."""

import errno
import fcntl
import json
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from edge.agent.command import _read
from edge.agent.folder import device_settings, hold_folder
from edge.agent.privacy_ledger import PrivacyLedger
from edge.agent.settings import DataSettings, DeviceSettings
from edge.agent.store import AgentState, AgentStore
from edgeloop.errors import RunError, TakenError, UnavailableError
from edgeloop.runtime import atomic_files
from edgeloop.runtime.config import BrokerSettings
from tests import forked
from tests.devices import wait_until
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
        done = forked.run(command)
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


@pytest.mark.parametrize("number", [*FULL, errno.EROFS, errno.EACCES, errno.EIO, errno.ESTALE])
def test_what_cannot_be_written_is_one_sentence(tmp_path: Path, number: int) -> None:
    kind = UnavailableError if number in (*FULL, errno.ESTALE) else RunError
    told = pytest.raises(kind, match=rf"^folder {tmp_path}: cannot be written \(why\); ")
    with told as caught, atomic_files.writing(tmp_path):
        raise OSError(number, "why")
    assert ("free space there" in caught.value.remedy) == (number in FULL)


WRITERS: dict[str, Callable[[Path], object]] = {
    "state": lambda folder: AgentStore(folder, "a", "t").save(AgentState("r", 1, b"x" * 9000)),
    "broadcast": lambda folder: AgentStore(folder, "a", "t").keep_broadcast(b"x" * 9000),
    "privacy": lambda folder: PrivacyLedger(folder),
}


@contextmanager
def full_disk() -> Iterator[None]:
    """Let no file of this process grow, pytest's output included: as short as can be."""
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (16, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)


@pytest.mark.parametrize("what", WRITERS)
def test_a_full_disk_is_one_sentence_and_leaves_no_half_file(tmp_path: Path, what: str) -> None:
    said = r"cannot be written \(File too large\); free space"
    with pytest.raises(UnavailableError, match=said), full_disk():
        WRITERS[what](tmp_path)
    assert [each.name for each in tmp_path.iterdir()] == []


PROGRAM = """
import resource, signal, sys
from edgeloop.cli.main import main
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
import torch, edge.agent.command
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), resource.RLIM_INFINITY))
sys.exit(main(sys.argv[2:]))
"""


def agents_config(task: Task, folder: Path) -> Path:
    path = task.folder / "device.json.toml"
    path.write_text(
        f'name = "{DEVICE}"\ntask = "alone"\nfolder = {json.dumps(str(folder))}\n'
        f"broker = {{ port = {task.broker.port} }}\n"
        f"data = {{ source = {json.dumps(str(task.source))} }}\n"
        'training = { architecture = "resnet4", threads = 1, mix = "never" }\n'
        "model = { every_rounds = 0 }\n"
    )
    return path


def wait_for(path: Path, text: str, process: forked.Forked) -> None:
    wait_until(lambda: text in path.read_text() or process.poll() is not None)
    assert text in path.read_text()


@pytest.mark.broker
def test_an_agent_on_a_full_disk_waits_for_room_and_goes_on(
    tmp_path: Path, broker: BrokerSettings
) -> None:
    task = Task(tmp_path, write_data(tmp_path / "data"), broker, None, "fedproto", {})
    folder, log = task.device().folder, tmp_path / "log"
    words = ["agent", "--config", str(agents_config(task, folder))]
    command = [sys.executable, "-c", PROGRAM, "10000", *words]
    with aggregator(task), log.open("wb") as output:
        process = forked.start(command, stderr=output)
        try:
            full = f"folder {folder}: cannot be written (File too large); free space there"
            wait_for(log, full, process)
            assert not (folder / "state.safetensors").exists()
            unlimited = resource.RLIM_INFINITY, resource.RLIM_INFINITY
            resource.prlimit(process.pid, resource.RLIMIT_FSIZE, unlimited)
            assert process.wait(100) == 0
        finally:
            process.kill()
    told = log.read_text()
    assert "Traceback" not in told
    assert "the folder can be written again" in told
    assert told.count("trying again every") == 1
    assert (folder / "model.onnx").exists()


@pytest.mark.broker
def test_a_small_disk_that_grows(tmp_path: Path, broker: BrokerSettings) -> None:
    small, log = tmp_path / "small", tmp_path / "log"
    small.mkdir()
    task = Task(tmp_path, write_data(tmp_path / "data"), broker, None, "fedproto", {})
    words = [EDGELOOP, "agent", "--config", str(agents_config(task, small / "device"))]
    with disk(small, "8k"), aggregator(task), log.open("wb") as output:
        process = forked.start(words, stderr=output)
        try:
            wait_for(log, "No space left on device); free space there", process)
            subprocess.run(["mount", "-o", "remount,size=64m", str(small)], check=True)  # noqa: S607
            assert process.wait(100) == 0, log.read_text()
        finally:
            process.kill()
            process.wait()
        assert (small / "device" / "model.onnx").exists()


@pytest.mark.parametrize(
    ("flags", "code", "problem"),
    [
        ("ro", 2, "cannot be written (Read-only file system); name a folder that can be written"),
        ("nr_inodes=1", 75, "cannot be written (No space left on device); free space there"),
    ],
)
def test_a_disk_that_takes_nothing_is_one_sentence(
    tmp_path: Path, flags: str, code: int, problem: str
) -> None:
    small = tmp_path / "small"
    small.mkdir()
    task = Task(tmp_path, write_data(tmp_path / "data"), BrokerSettings(port=1), None)
    words = [EDGELOOP, "agent", "--config", str(agents_config(task, small / "device"))]
    with disk(small, "64k", flags):
        done = forked.run(words)
    assert done.returncode == code
    assert done.stderr.splitlines()[-1].startswith(f"error: folder {small / 'device'}: {problem}")


@contextmanager
def disk(place: Path, size: str, flags: str = "rw") -> Iterator[None]:
    """Have a small disk at a place; skip where nobody may mount one."""
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size},{flags}", "tmpfs", str(place)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("nobody may mount a disk here")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)  # noqa: S607


def test_one_of_many_has_the_broker_that_it_has_enrolled_for(tmp_path: Path) -> None:
    """What its file does not say of the broker, the authority has said."""
    facts = {"server": "https://a:1", "task": "t", "name": "node-7", "broker_host": "b"}
    identity = tmp_path / "identity" / "node-7"
    identity.mkdir(parents=True)
    (identity / "identity.json").write_text(json.dumps({**facts, "broker_port": 8883}))
    config = tmp_path / "device.toml"
    places = f'folder = "{tmp_path}"\nenrolment = "{tmp_path / "identity"}"\n'
    data = (
        '[broker]\nport = 443\n[data]\nsource = "fashion-sample"\npartition = "iid"\nclients = 20\n'
    )
    config.write_text(f'name = "node"\ntask = "t"\n{places}{data}')
    found = _read(config, "node-7")
    assert (found.name, found.broker.host, found.broker.port) == ("node-7", "b", 443)
    assert found.broker.key_file == identity / "device.key"
