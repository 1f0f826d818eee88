"""PAMAP2: windows, labels and clients as FL-IoT makes them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edgeloop.data import Partition, layout_of, load, read
from edgeloop.errors import DataError


def recording(activities: list[int], start: int = 0) -> NDArray[Any]:
    """Row t has the value 1000 c + t in column c, but for its activity."""
    table = np.arange(54) * 1000.0 + np.arange(start, start + len(activities))[:, np.newaxis]
    table[:, 1] = activities
    return table


def save(path: Path, table: NDArray[Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savetxt(path, table, fmt="%.8g")


def test_windows_overlap_by_half_and_count_as_their_smallest_activity(tmp_path: Path) -> None:
    # Windows begin at 0, 128, ... while one more step follows them: at 0 to 768 of 1025 steps.
    activities = [12] * 300 + [1] * 200 + [0] * 200 + [24] * 325
    save(tmp_path / "Protocol" / "subject101.dat", recording(activities))
    pool = read(tmp_path)
    assert layout_of(tmp_path).layout == "PAMAP2"
    # 0: all 12. 128: a 1 in it. 256 to 640: a 0 in it, left out. 768: all 24.
    assert pool.labels.tolist() == [8, 1, 0]
    assert pool.inputs.shape == (3, 9, 3, 256)
    assert (pool.class_names[0], pool.class_names[8]) == ("rope jumping", "ascending stairs")
    assert not pool.pixels


def test_channels_are_those_of_three_sensors_scaled_by_their_largest(tmp_path: Path) -> None:
    save(tmp_path / "Protocol" / "subject101.dat", recording([1] * 257))
    window = read(tmp_path).inputs[0]
    for sensor, first in enumerate((4, 21, 38)):
        columns = [*range(first, first + 3), *range(first + 6, first + 12)]
        for channel, column in enumerate(columns):
            values = (1000 * column + np.arange(256)) / (1000 * column + 256)
            np.testing.assert_allclose(window[channel, sensor], values, rtol=1e-6)


def test_missing_values_and_silent_channels_are_zeros(tmp_path: Path) -> None:
    table = recording([2] * 257)
    table[10, 4], table[:, 5] = np.nan, 0
    save(tmp_path / "Protocol" / "subject101.dat", table)
    window = read(tmp_path).inputs[0]
    assert window[0, 0, 10] == 0
    assert window[0, 0, 9] > 0.9
    assert not window[1, 0].any()


def test_recordings_of_a_subject_follow_each_other(tmp_path: Path) -> None:
    """Windows reach over the end of Protocol into Optional, which also scales them."""
    folder = tmp_path / "PAMAP2_Dataset"
    save(folder / "Protocol" / "subject101.dat", recording([3] * 200))
    save(folder / "Optional" / "subject101.dat", recording([17] * 200, start=500))
    save(folder / "Protocol" / "subject109.dat", recording([4] * 513))
    federation = load(tmp_path, Partition("natural"))
    assert [sum(sizes) for sizes in federation.sizes()] == [2, 3]
    assert federation.label_counts().sum(axis=0)[[3, 4]].tolist() == [2, 3]
    first = read(tmp_path).inputs[0, 0, 0]
    np.testing.assert_allclose(first[[199, 200]], np.array([4199, 4500]) / 4699, rtol=1e-6)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("1 2 3\n", "has 3 columns"),
        (("1 " * 53 + "\n") * 257, "has 53 columns instead of 54"),
        (("1 " * 53 + "x\n") * 257, None),
        (("x " * 54 + "\n") * 257, "no recording of PAMAP2"),
        (("1 " * 54 + "\n") * 256, "256 steps are less than one window of 256"),
        ("", "has 0 columns"),
    ],
    ids=["three", "columns", "unused", "words", "short", "empty"],
)
def test_a_recording_that_does_not_fit_is_named(
    tmp_path: Path, content: str, problem: str | None
) -> None:
    path = tmp_path / "Protocol" / "subject101.dat"
    path.parent.mkdir()
    path.write_text(content)
    if problem is None:
        assert len(read(tmp_path)) == 1
        return
    with pytest.raises(DataError, match=rf"subject101\.dat: .*{problem}"):
        read(tmp_path)
