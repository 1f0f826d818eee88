"""Recordings of sensors as a device's samples: columns, rate, window and stride as its file says.

Shape suffixes: T steps, C columns, S steps of a window.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge.agent.settings import DeviceSettings
from edgeloop.data import DeviceData
from edgeloop.data.sensor_windows import Windowing, read
from edgeloop.errors import ConfigError, DataError, EdgeloopError
from edgeloop.runtime.config import parse

CUT = Windowing(("ax", "ay"), rate=10, window=0.4, stride=0.2)  # of 4 steps, 2 apart
LONG = 200


def write(path: Path, steps: int = LONG, label: str = "", begin: int = 0) -> Path:
    """Write a recording whose first column counts its steps."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [f"{n},{n},{-n},{label}" for n in range(begin, begin + steps)]
    path.write_text("\n".join(["time,ax,ay,activity", *rows]) + "\n")
    return path


def test_a_window_is_channels_by_steps_as_they_follow(tmp_path: Path) -> None:
    pool = read(write(tmp_path / "walk" / "a.csv"), CUT)
    assert pool.inputs.shape[1:] == (2, 1, 4)
    assert pool.inputs.dtype == np.float32
    assert pool.class_names == ("walk",)
    np.testing.assert_array_equal(pool.inputs[0, :, 0], [[0, 1, 2, 3], [0, -1, -2, -3]])
    np.testing.assert_array_equal(pool.inputs[1, 0, 0], [2, 3, 4, 5])


def test_no_step_is_on_both_sides_and_a_growing_recording_moves_none(tmp_path: Path) -> None:
    def sides(steps: int) -> dict[float, bool]:
        pool = read(write(tmp_path / "walk" / "a.csv", steps), CUT)
        assert pool.tested is not None
        found = zip(pool.inputs[:, 0, 0, 0].tolist(), pool.tested.tolist(), strict=True)
        return dict(found)

    before, after = sides(LONG), sides(2 * LONG)
    assert {begin: after[begin] for begin in before} == before
    tested = {begin + n for begin, side in after.items() if side for n in range(4)}
    trained = {begin + n for begin, side in after.items() if not side for n in range(4)}
    assert not tested & trained
    assert 0.15 < len(tested) / (len(tested) + len(trained)) < 0.35


def test_a_column_has_the_labels_and_a_mixed_window_is_none(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", 8, "sit")
    with path.open("a") as file:
        file.writelines(f"{n},{n},0,run\n" for n in range(8, 16))
        file.write("16,1")  # it is being written
    pool = read(path, Windowing(("ax",), 10, 0.4, 0.2, label="activity", scale=(2.0,)))
    assert pool.class_names == ("run", "sit")
    starts = dict(zip(pool.inputs[:, 0, 0, 0].tolist(), pool.labels.tolist(), strict=True))
    assert starts == {0.0: 1, 1.0: 1, 2.0: 1, 4.0: 0, 5.0: 0, 6.0: 0}  # by two: scaled


def test_npz_has_the_columns_as_arrays(tmp_path: Path) -> None:
    (tmp_path / "walk").mkdir()
    steps = np.arange(LONG, dtype=np.float64)
    np.savez(tmp_path / "walk" / "a.npz", ax=steps, ay=-steps, more=steps[:3])
    pool = read(tmp_path, CUT)
    np.testing.assert_array_equal(pool.inputs[0, :, 0], [[0, 1, 2, 3], [0, -1, -2, -3]])
    np.savez(tmp_path / "walk" / "a.npz", ax=np.ones((3, 2)), ay=steps)
    with pytest.raises(DataError, match="is no row of numbers"):
        read(tmp_path, CUT)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"columns": ()}, "columns: names none"),
        ({"columns": ("ax", "ax")}, "names one twice"),
        ({"columns": ("ax", "az")}, "has no column 'az'; it has time, ax, ay, activity"),
        ({"label": "what"}, "has no column 'what'"),
        ({"scale": (1.0, 2.0, 3.0)}, "has 3 numbers for 2 columns"),
        ({"window": 0.1}, "of 1 steps, 2 apart, is none"),
        ({"window": 99.0}, "has no window of 99 s"),
        ({"columns": ("activity",)}, "holds what is no number"),
    ],
)
def test_what_cannot_be_is_said(tmp_path: Path, changes: dict[str, Any], problem: str) -> None:
    write(tmp_path / "walk" / "a.csv", label="x")
    with pytest.raises(EdgeloopError, match=problem):
        read(tmp_path, Windowing(**{**vars(CUT), **changes}))


def test_a_folder_without_a_recording_and_damaged_ones_are_said(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has no recording"):
        read(tmp_path, CUT)
    with pytest.raises(DataError, match="no such file or folder"):
        read(tmp_path / "nowhere", CUT)
    (tmp_path / "a.npz").write_bytes(b"PK")
    with pytest.raises(DataError, match="no npz of columns"):
        read(tmp_path, CUT)


TABLE = {
    "name": "wrist-1",
    "task": "steps",
    "folder": "device",
    "data": {
        "source": "recordings",
        "windows": {"columns": ["ax", "ay"], "rate": 10, "window": 0.4, "stride": 0.2},
    },
}


def test_a_device_has_them_by_its_file_and_hears_of_new_ones(tmp_path: Path) -> None:
    write(tmp_path / "walk" / "a.csv")
    data = {**TABLE["data"], "source": str(tmp_path)}  # type: ignore[dict-item]
    settings = parse({**TABLE, "data": data}, DeviceSettings, "device.toml")
    found = DeviceData(settings.data.selection())
    names, shape = ("run", "walk"), (2, 1, 4)
    before = len(found.samples_for(names, shape).data.train)
    write(tmp_path / "run" / "b.csv", begin=500)
    assert found.anew(keeps_split=True)
    train = found.samples_for(names, shape).data.train
    assert len(train) > before
    assert set(train.labels.tolist()) == {0, 1}
    divided = parse({**TABLE, "data": {**data, "partition": "iid"}}, DeviceSettings, "device.toml")
    with pytest.raises(ConfigError, match="recordings of this device"):
        DeviceData(divided.data.selection())
