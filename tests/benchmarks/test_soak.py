"""What a soak says of what grows, and of what does not; and a short one."""

import math
import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from benchmarks import soak
from benchmarks.soak import Soak, slope, table


def test_a_straight_line_has_its_slope() -> None:
    found, interval = slope([(number, 3.0 + 0.25 * number) for number in range(100)])
    assert found == pytest.approx(250)
    assert interval == pytest.approx(0, abs=1e-6)


def test_what_grows_at_first_alone_is_flat() -> None:
    found, _ = slope([(number, min(number, 40.0)) for number in range(100)])
    assert found == pytest.approx(0)


def test_noise_has_an_interval() -> None:
    found, interval = slope([(number, float(number % 2)) for number in range(200)])
    assert abs(found) < interval < 10


def test_too_few_readings_have_no_slope() -> None:
    assert math.isnan(slope([(1, 1.0), (2, 2.0)])[0])
    assert math.isnan(slope([(5, 1.0)] * 10)[0])


def test_a_row_a_reading() -> None:
    made = Soak()
    for number in range(10):
        made.note("a: MiB", number, 10.0 + number)
    assert table(made) == [["a: MiB", "10.0", "15.0", "19.0", "+1000.00", "0.00"]]


def test_a_process_that_has_ended_is_not_read() -> None:
    """Also where it ends within a reading."""
    assert soak.measured(psutil.Process()) is not None
    ended = subprocess.Popen([sys.executable, "-c", ""])
    process = psutil.Process(ended.pid)
    os.waitid(os.P_PID, ended.pid, os.WEXITED | os.WNOWAIT)
    assert (soak.measured(process), soak.has_ended(process)) == (None, True)
    ended.wait()
    assert (soak.measured(process), soak.has_ended(process)) == (None, True)


@pytest.mark.broker
def test_a_short_one_reads_all_processes_and_the_ledger(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(soak, "DEVICES", 2)
    made = soak.run(tmp_path, 8)
    names = {"aggregator", "broker", "device-0", "device-1"}
    expected = {f"{name}: {measure}" for name in names for measure in soak.MEASURES}
    expected |= {"ledger: rounds", "ledger: uploads", "ledger: KiB"}
    assert made.readings.keys() == expected
    done, rows = zip(*made.readings["ledger: uploads"], strict=True)
    assert list(done) == sorted(set(done))
    assert all(number * 2 <= count for number, count in zip(done, rows, strict=True))
    assert all(value > 0 for each in made.readings.values() for _, value in each)
