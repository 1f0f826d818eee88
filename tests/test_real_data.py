"""Where there is no real data, the tests that need it say so in one line."""

from pathlib import Path

import pytest

from tests import real_data

NEEDS = "needs real data in ../shared/data or $EDGELOOP_DATA: "


def test_a_test_without_its_data_says_where_it_looked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGELOOP_DATA", str(tmp_path))
    with pytest.raises(pytest.skip.Exception) as told:
        real_data.place("har")
    assert str(told.value) == f"{NEEDS}har is not there"
    (tmp_path / "cifar10").mkdir()
    with pytest.raises(pytest.skip.Exception) as told:
        real_data.place("cifar10", "train.parquet")
    assert str(told.value) == f"{NEEDS}cifar10/train.parquet is not there"
    assert real_data.place("cifar10") == tmp_path / "cifar10"


@pytest.mark.parametrize("value", [None, ""])
def test_it_looks_beside_the_repository(
    value: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("EDGELOOP_DATA", raising=False)
    if value is not None:
        monkeypatch.setenv("EDGELOOP_DATA", value)
    monkeypatch.setattr(real_data, "BESIDE", tmp_path)
    (tmp_path / "har").mkdir()
    assert real_data.place("har") == tmp_path / "har"
