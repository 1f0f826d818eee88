from pathlib import Path

import pytest

from edgeloop import data
from edgeloop.cli.main import main
from simulations.commands.partition import rows
from tests.data.layouts import picture, place


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


def test_exdir_is_written_and_every_option_of_it_named(
    images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["partition", "--data", str(images), "--partition", "exdir", "--clients", "4"]
    chosen = ["--alpha", "100", "--classes-per-client", "5", "--out"]
    assert main([*words, *chosen, str(tmp_path / "divided")]) == 0
    partition = data.load(tmp_path / "divided").partition
    assert partition == data.Partition("exdir", clients=4, alpha=100.0, classes_per_client=5)
    assert main([*words, "--classes-per-client", "11", "--out", str(tmp_path / "x")]) == 2
    assert "--classes-per-client: 11 of only 10 classes; use at most 10" in capsys.readouterr().err


def test_pictures_of_other_sizes_are_resized(tmp_path: Path) -> None:
    for number in range(8):
        place(tmp_path / "in" / "ab"[number % 2] / f"{number}.png", picture(9, (4, 2 + number)))
    words = ["partition", "--data", str(tmp_path / "in"), "--partition", "iid", "--clients", "1"]
    out = tmp_path / "out"
    assert main([*words, "--out", str(out)]) == 2
    assert main([*words, "--balanced", "--image-size", "6", "--out", str(out)]) == 0
    assert data.load(out).shape == (3, 6, 6)
