"""The example of a serial reader, on a pseudo-terminal: windows, a restart, a port that is not."""

import itertools
import os
import sys
import threading
import tty
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeloop import data
from edgeloop.errors import ConfigError, DataError

pytest.importorskip("serial", reason="pyserial is not installed")
EXAMPLE = Path(__file__).parents[2] / "examples" / "serial"


@pytest.fixture
def source(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(EXAMPLE))
    monkeypatch.delitem(sys.modules, "serial_windows", raising=False)
    import serial_windows  # type: ignore[import-not-found,unused-ignore]  # not a package of ours

    return serial_windows.SOURCE


@pytest.fixture
def port() -> Iterator[tuple[int, str]]:
    sensor, computer = os.openpty()
    tty.setraw(computer)
    os.set_blocking(sensor, False)
    yield sensor, os.ttyname(computer)
    os.close(sensor)
    os.close(computer)


@contextmanager
def saying(sensor: int, *labels: str) -> Iterator[None]:
    """Have a sensor send numbered lines while a block runs, twelve of a label in turn."""
    stopped = threading.Event()

    def send() -> None:
        for number in itertools.count():
            label = labels[number // 12 % len(labels)]
            while not stopped.is_set():
                try:
                    os.write(sensor, f"{label},{number},{-number}\n".encode())
                    break
                except BlockingIOError:  # nobody reads yet
                    stopped.wait(0.001)
            if stopped.is_set():
                return

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        thread.join()


def written(folder: Path, port: str, **more: object) -> Path:
    facts = {"columns": 2, "steps": 4, "windows": 6, "seconds": 5.0, **more}
    path = folder / "gate.serial"
    path.write_text("\n".join([f'port = "{port}"', *(f"{k} = {v}" for k, v in facts.items())]))
    return path


def test_what_a_sensor_says_becomes_windows(
    source: Any, port: tuple[int, str], tmp_path: Path
) -> None:
    path = written(tmp_path, port[1], scale=2.0)
    assert source.matches(path)
    with saying(port[0], "still", "moves"):
        found = source.read(path)
    assert found.inputs.shape[1:] == (2, 1, 4)
    assert len(found.labels) >= 4  # a label's last lines may be too few for a window
    assert found.class_names == ("moves", "still")
    steps = np.diff(found.inputs[:, :, 0], axis=-1)
    np.testing.assert_array_equal(steps[:, 0], 0.5)
    np.testing.assert_array_equal(steps[:, 1], -0.5)


def test_a_restart_begins_with_what_was_heard(
    source: Any, port: tuple[int, str], tmp_path: Path
) -> None:
    with saying(port[0], "still"):
        first = source.read(written(tmp_path, port[1], windows=2))
    assert len(first.labels) == 2
    with (tmp_path / "gate.recorded.csv").open("ab") as file:
        file.write(b"still,1")  # killed as it wrote
    with saying(port[0], "moves"):
        found = source.read(written(tmp_path, port[1], windows=6))
    np.testing.assert_array_equal(found.inputs[:2], first.inputs)
    assert (found.labels == 0).sum() == 4


def test_half_a_line_is_none(source: Any) -> None:
    parsed = sys.modules["serial_windows"].parsed
    assert parsed(b"still,1,2\r\n", 2) == ["still", "1", "2"]
    for line in (b"1,2\n", b"till\n", b",1,2\n", b"still,x,1\n", b"still,nan,1\n", b"\xff\n"):
        assert parsed(line, 2) is None


def test_edgeloop_reads_it_by_its_import_path(
    source: Any, port: tuple[int, str], tmp_path: Path
) -> None:
    path = written(tmp_path, port[1])
    with saying(port[0], "still", "moves"):
        found = data.read(data.sources.admit(f"serial_windows:SOURCE:{path}"))
    assert found.class_names == ("moves", "still")


def test_what_is_wrong_is_said(source: Any, port: tuple[int, str], tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no window of 4 lines came"):
        source.read(written(tmp_path, port[1], seconds=0.1))  # a port that is silent
    with pytest.raises(DataError, match="dialout"):
        source.read(written(tmp_path, str(tmp_path / "ttyUSB9")))
    with pytest.raises(ConfigError, match="parity: is unknown"):
        source.read(written(tmp_path, port[1], parity=1))
    (tmp_path / "gate.serial").write_text('port = "x"')
    with pytest.raises(ConfigError, match="columns: is missing"):
        source.read(tmp_path / "gate.serial")
