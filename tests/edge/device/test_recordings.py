"""`edgeloop agent init` on recordings of sensors: what it finds, proposes, asks and refuses."""

import os
import pty
import subprocess
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from edge.agent.command import main
from edge.agent.settings import DeviceSettings
from edgeloop.data import DeviceData
from edgeloop.errors import ConfigError
from edgeloop.runtime import config as config_files
from tests.one_device import EDGELOOP

STEPS = 600


def table(columns: Mapping[str, object], steps: int = STEPS) -> str:
    rows = zip(
        *(np.broadcast_to(np.asarray(each), steps) for each in columns.values()), strict=True
    )
    return "\n".join([",".join(columns), *(",".join(map(str, row)) for row in rows), ""])


def values(steps: int = STEPS) -> dict[str, object]:
    random = np.random.default_rng(0)
    return {name: random.normal(size=steps).round(3) for name in ("ax", "ay", "az")}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for label in ("walk", "sit"):
        path = tmp_path / "recordings" / label / "monday.csv"
        path.parent.mkdir(parents=True)
        time = (1.7e12 + np.arange(STEPS) * 20).astype(np.int64)  # milliseconds: 50 a second
        path.write_text(table({"timestamp": time, **values()}))
    return tmp_path / "recordings"


def words(source: Path, *more: str) -> list[str]:
    known = {"--name": "press-1", "--task": "shop", "--data": str(source), "--host": "b.example"}
    config = source.parent / "device.toml"
    pairs = {**known, "--config": str(config)}
    return ["init", *(each for pair in pairs.items() for each in pair), *more]


def written(source: Path, *more: str) -> DeviceSettings:
    assert main(words(source, *more)) == 0
    return config_files.read(source.parent / "device.toml", DeviceSettings)


def test_it_writes_how_recordings_are_cut_and_the_agent_cuts_them_so(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    device = written(folder)
    said = capsys.readouterr().out
    assert "2 files, the shortest of 600 steps" in said
    assert "columns: ax, ay, az (" in said
    assert "steps a second: 50, by the column timestamp" in said
    assert "windows of 128 steps, 64 apart" in said
    assert "2 classes: sit (" in said
    windows = device.data.windows
    assert windows is not None
    assert (windows.columns, windows.rate) == (("ax", "ay", "az"), 50)
    assert (windows.window, windows.stride, windows.label) == (2.56, 1.28, None)
    data = DeviceData(device.data.selection())
    found = data.samples_for(("sit", "walk"), (3, 1, 128)).data
    assert len(found.train) + len(found.test) > 8
    assert "[data.windows]" in (folder.parent / "device.toml").read_text()
    assert device.training.architecture == "cnn"


def test_options_are_stronger_than_what_is_found(folder: Path) -> None:
    more = ("--columns", "az, ax", "--rate", "100", "--window", "0.5", "--stride", "0.5")
    windows = written(folder, *more).data.windows
    assert windows is not None
    assert windows.columns == ("az", "ax")
    assert (windows.rate, windows.window, windows.stride) == (100, 0.5, 0.5)


@pytest.mark.parametrize("kind", ["csv", "npz"])
def test_one_file_with_a_column_of_labels(tmp_path: Path, kind: str) -> None:
    source = tmp_path / f"day.{kind}"
    labels = np.repeat(["sit", "walk"], STEPS // 2)
    columns = {"time_s": np.arange(STEPS) / 25, **values(), "activity": labels, "note": labels}
    if kind == "npz":
        np.savez(source, **columns)  # type: ignore[arg-type]
    else:
        source.write_text(table(columns))
    windows = written(source, "--force").data.windows
    assert windows is not None
    assert (windows.rate, windows.label, windows.columns) == (25, "activity", ("ax", "ay", "az"))
    again = written(source, "--force", "--label-column", "note").data.windows
    assert again is not None
    assert again.label == "note"


def test_a_rate_that_nothing_tells_is_asked_for(folder: Path) -> None:
    for path in folder.glob("*/*.csv"):
        path.write_text(table(values(90), 90))
    with pytest.raises(ConfigError, match="--rate: is missing"):
        main(words(folder))
    ours, theirs = pty.openpty()
    command = [EDGELOOP, "agent", *words(folder)]
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs) as process:
        os.write(ours, b"10\n")
        assert process.wait(120) == 0
    os.close(ours)
    os.close(theirs)
    device = config_files.read(folder.parent / "device.toml", DeviceSettings)
    assert device.data.windows is not None
    assert (device.data.windows.rate, device.data.windows.windowing().steps) == (10, 22)


def test_what_cannot_be_is_named(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"--columns: not every recording has 'gx'"):
        main(words(folder, "--columns", "ax,gx"))
    with pytest.raises(ConfigError, match=r"--label-column: not every recording has 'what'"):
        main(words(folder, "--label-column", "what"))
    alone = tmp_path / "alone.csv"
    alone.write_text(table({"time": np.arange(STEPS), **values()}))
    with pytest.raises(ConfigError, match="put them into folders, one for each class"):
        main(words(alone))
    (tmp_path / "none").mkdir()
    with pytest.raises(ConfigError, match="has no recording"):
        main(words(tmp_path / "none", "--rate", "50"))
    assert not (tmp_path / "device.toml").exists()
