"""`edgeloop privacy`, on a scale that a test can wait for."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from edgeloop.cli.main import main
from simulations.privacy import attack_result
from simulations.privacy.command import parse_counts
from simulations.privacy.settings import AttackSettings
from simulations.results.seed_statistics import describe_values

QUICK = ["--seeds", "2", "--iterations", "3", "--samples", "1,2"]


def privacy(out: Path, *words: str, data: str = "fashion-sample") -> int:
    return main(["privacy", *words, "--data", data, "--out", str(out)])


def summary(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "summary.json").read_text())
    return content


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("privacy") / "study"
    assert privacy(out, "fedavg", "fedtgp", *QUICK) == 0
    return out


def test_the_summary_says_what_the_attacks_say(done: Path) -> None:
    found = summary(done)
    assert found["settings"]["data"] == "fashion-sample"
    rows = {(row["algorithm"], row["samples"]): row for row in found["attacks"]}
    assert list(rows) == [("fedavg", 1), ("fedavg", 2), ("fedtgp", 1), ("fedtgp", 2)]
    for (name, samples), row in rows.items():
        places = [done / f"{name}-{samples}-seed-{seed}.safetensors" for seed in (0, 1)]
        facts = [attack_result.read(place).facts for place in places]
        for key in (*attack_result.MEASURES, "labels"):
            assert row[key] == describe_values([each[key] for each in facts])
    assert [row["uploads"] for row in rows.values()] == ["whole", "whole", "features", "features"]
    assert (done / "privacy.png").read_bytes().startswith(b"\x89PNG")


def test_it_goes_on_with_what_is_missing(done: Path, tmp_path: Path) -> None:
    again = tmp_path / "study"
    shutil.copytree(done, again)
    kept, lost = (again / f"fedavg-2-seed-{seed}.safetensors" for seed in (0, 1))
    before = kept.stat().st_mtime_ns
    lost.unlink()
    (again / "summary.json").unlink()
    assert privacy(again, "fedavg", "fedtgp", *QUICK) == 0
    assert kept.stat().st_mtime_ns == before
    assert summary(again) == summary(done)


def test_more_is_added_and_another_study_is_not(
    done: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    again = tmp_path / "study"
    shutil.copytree(done, again)
    assert privacy(again, "fedktl", *QUICK) == 0
    assert [row["algorithm"] for row in summary(again)["attacks"]] == ["fedktl"] * 2
    assert privacy(again, "fedavg", *QUICK, "--epochs", "1") == 2
    assert "holds another study: epochs (0 there, 1 here)" in capfd.readouterr().err


def test_clients_that_a_folder_has(tmp_path: Path, images: Path) -> None:
    words = ["fedavg", "--samples", "1", "--seeds", "1", "--iterations", "1", "--client", "2"]
    assert privacy(tmp_path / "out", *words, "--model", "cnn-flat2", data=str(images)) == 0
    assert summary(tmp_path / "out")["attacks"][0]["psnr"]["std"] is None


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["local"], "algorithm: there is no attack on Local here; choose of ditto, fedavg"),
        (["fedavgg"], "algorithm: there is no 'fedavgg'"),
        (["fedavg", "--samples", "1,x"], "samples: 'x' is no number above 0; write 1,2,4"),
        (["fedproto", "--samples", "900"], "samples: 900, but the client has too few images"),
        (["fedavg", "--client", "5"], "client 5: does not exist"),
        (["fedavg", "--model", "lenet"], "architecture: there is no 'lenet'; "),
        (["fedavg", "--knowledge", "all"], "--knowledge: "),
        (["fedavg", "--objective", "l1"], "--objective: there is no 'l1'"),
        (["fedavg", "--variation", "-1"], "--variation: "),
        (["fedavg", "--iterations", "0"], "--iterations: 0 is too small; give"),
        (["fedproto", "--set", "pul=1"], "pul: fedproto has no such hyperparameter"),
        (["fedavg", "--set", "architecture=cnn-flat2"], "set: architecture has an option"),
    ],
)
def test_bad_input(
    words: list[str], said: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert privacy(tmp_path / "out", *words) == 2
    told = capfd.readouterr().err
    assert said in told
    assert "Traceback" not in told
    assert not (tmp_path / "out").exists()


def test_signals_are_no_images(
    signals: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert privacy(tmp_path / "out", "fedavg", data=str(signals)) == 2
    assert "holds no images of 7 pixels a side or more" in capfd.readouterr().err


def test_numbers_of_images() -> None:
    assert parse_counts(" 2, 1,2") == (2, 1)


def test_undivided_data_is_dealt_out_evenly() -> None:
    federation = AttackSettings(data="fashion-sample").federation()
    assert len(federation) == 5
    counts = federation.label_counts()
    assert (counts == 120).all()
    skewed = AttackSettings(data="fashion-sample", partition="dirichlet", clients=3).federation()
    assert len(skewed) == 3
    assert skewed.label_counts().min() < 50
