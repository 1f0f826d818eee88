from pathlib import Path

import pytest

from edgeloop import data
from edgeloop.command import main
from simulations.partitioning import rows


def test_a_partition_is_written_and_shown(
    images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "divided"
    words = ["partition", "--data", str(images), "--partition", "iid", "--clients", "4"]
    assert main([*words, "--out", str(out)]) == 0
    federation = data.load(out)
    assert len(federation) == 4
    for row in rows(federation):
        assert row[1] + row[2] == sum(row[3:])
    text = capsys.readouterr().out
    assert "4 clients" in text
    assert str(out) in text.replace("\n", "")


@pytest.mark.parametrize(
    ("words", "field"),
    [
        (["--partition", "fair"], "partition"),
        (["--clients", "0"], "clients"),
        (["--clients", "1000"], "clients"),
        (["--alpha", "0"], "alpha"),
        (["--out", "no/such/folder"], "out"),
    ],
)
def test_a_wrong_option_is_named(
    words: list[str],
    field: str,
    images: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    base = ["partition", "--data", str(images), "--partition", "iid", "--clients", "4"]
    assert main([*base, "--out", str(tmp_path / "x"), *words]) == 2
    assert field in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


def test_a_folder_in_use_is_left_alone(images: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = sorted(images.rglob("*"))
    words = ["partition", "--data", str(images), "--partition", "natural", "--out", str(images)]
    assert main(words) == 2
    assert "not empty" in capsys.readouterr().err
    assert sorted(images.rglob("*")) == before
