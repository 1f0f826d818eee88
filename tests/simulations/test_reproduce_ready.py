"""Before the first run of a table: what is missing, what is done, and how long the rest takes."""

from pathlib import Path

import pytest

from edgeloop.cli.main import main
from simulations.reproduce import ready

TINY = """
title = "Tiny"
question = "Does it run?"
source = "ours"
seeds = 2
seconds = 60

[settings]
data = "fashion-sample"
partition = "dirichlet"
alpha = 1.0
clients = 2
samples = 80
rounds = 1
width = 8

[[rows]]
name = "Local"
settings = { algorithm = "local" }

[[rows]]
name = "FedKTL"
settings = { algorithm = "fedktl", generator = "digits", options = { server_epochs = 1 } }

[[columns]]
name = ""
"""


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.toml"
    path.write_text(TINY)
    return path


def reproduce(path: Path, out: Path, *further: str) -> int:
    return main(["reproduce", str(path), "--out", str(out), "--workers", "1", *further])


def test_all_missing_data_sets_and_their_commands(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "cifar10").mkdir()
    words = ["reproduce", "fedktl-table-1", "--scale", "paper", "--data", str(tmp_path)]
    assert main([*words, "--out", str(tmp_path / "out")]) == 2
    found = capsys.readouterr().err
    assert f"data: there is no cifar100, flowers102, tiny-imagenet below {tmp_path}" in found
    assert "`edgeloop data fetch cifar100`, `edgeloop data fetch flowers102`, tiny" in found
    assert "tiny-imagenet is at http://cs231n.stanford.edu/" in found  # which fetch refuses
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("reference", "words"),
    [
        ("elsewhere", "`edgeloop generator fetch elsewhere` if it is in the catalogue"),
        ("diffusers:nowhere?prompt=a cat", "there is no folder nowhere"),
    ],
)
def test_a_generator_that_is_not_here(
    tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], reference: str, words: str
) -> None:
    tiny.write_text(TINY.replace('"digits"', f'"{reference}"'))
    assert reproduce(tiny, tmp_path / "out") == 2
    assert words in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_finished_run_of_other_settings_is_not_taken(
    tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    first = ["--only", "row=Local", "--seeds", "1"]
    assert reproduce(tiny, out, *first) == 0
    assert reproduce(tiny, out, *first) == 0
    capsys.readouterr()
    assert reproduce(tiny, out, *first, "--rounds", "2") == 2
    assert "holds another run: rounds (1 there, 2 here); name another" in capsys.readouterr().err


def test_how_long_it_takes(tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert reproduce(tiny, tmp_path / "out", "--dry-run") == 0
    assert "4 of 4 runs left; 60 s each, 4 min with 1 at a time" in capsys.readouterr().out
    assert not (tmp_path / "out").exists()
    done = [{"seconds": {"wall": 10.0}}, {"seconds": {"wall": 30.0}}]
    expected = "8 of 10 runs left; 20 s each, 80 s with 2 at a time"
    assert ready.outlook(10, done, 2, 60.0) == expected
    assert ready.outlook(2, done, 2, None) == "0 of 2 runs left"
    assert ready.outlook(3, [], 2, None) == "3 of 3 runs left; how long one takes is not known"
    assert [ready.duration(s) for s in (99.0, 600.0, 9000.0)] == ["99 s", "10 min", "2.5 h"]
