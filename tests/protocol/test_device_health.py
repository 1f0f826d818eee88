import subprocess
import sys

import pytest

from edge.agent import sensors
from edgeloop.protocol.device_health import BOUNDS, Health, parse_health


def test_what_is_known_arrives_and_what_is_not_is_none() -> None:
    assert Health(0.5, None, 41.25).notes() == {
        "battery_ratio": "0.500",
        "temperature_celsius": "41.250",
    }
    assert parse_health(Health(0.5, None, 41.25).notes()) == Health(0.5, None, 41.25)
    assert parse_health({"traceparent": "x"}) == Health()


@pytest.mark.parametrize("text", ["", "nan", "inf", "1.01", "-0.1", "warm", "9" * 5000])
def test_a_reading_that_cannot_be_is_none(text: str) -> None:
    found = parse_health({"battery_ratio": text, "cpu_ratio": "0.25"})
    assert found.cpu_ratio == 0.25
    assert found.battery_ratio is None


def test_this_machine_is_well() -> None:
    first = sensors.read_health()
    assert first.cpu_ratio is not None, "every machine has a processor"
    for name, value in first.notes().items():
        lowest, highest = BOUNDS[name]
        assert lowest <= float(value) <= highest


PROGRAM = """
import builtins, os, sys
import psutil
hidden, error = sys.argv[1].split(","), getattr(builtins, sys.argv[2])
from psutil import _pslinux
def refused(real):
    def call(path, *rest, **named):
        if any(str(path).startswith(each) for each in hidden):
            raise error(13, "hidden", str(path))
        return real(path, *rest, **named)
    return call
os.listdir, os.path.exists = refused(os.listdir), os.path.exists
builtins.open = _pslinux.open_text = refused(builtins.open)
_pslinux.open_binary = refused(_pslinux.open_binary)
_pslinux.glob.glob = refused(_pslinux.glob.glob)
from edge.agent import sensors
print(sensors.read_health().notes())
print(sensors.read_health().notes())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="hides files of Linux")
@pytest.mark.parametrize("error", ["FileNotFoundError", "PermissionError", "OSError"])
def test_a_machine_that_hides_its_sensors(error: str) -> None:
    hidden = "/sys/class,/proc/stat,/sys/devices"
    command = [sys.executable, "-c", PROGRAM, hidden, error]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["{}", "{}"]


@pytest.mark.parametrize(
    "error", [FileNotFoundError(2, "gone"), ValueError("x"), KeyError("x"), NotImplementedError()]
)
def test_sensors_that_raise_are_not_known(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def broken() -> None:
        raise error

    for name in ("sensors_battery", "sensors_temperatures", "cpu_percent"):
        monkeypatch.setattr(f"psutil.{name}", broken, raising=False)
    assert sensors.read_health() == Health()
