import json
import os
import sys
from pathlib import Path

import pytest
import torch

from edgeloop.cli.main import main
from simulations.results.measurements import COLUMNS
from tests import forked

KEYS = {
    *("config", "accuracy_by_round", "best_accuracy", "best_round", "final_accuracy"),
    *("accuracy_by_client", "samples_by_client", "model_by_client", "accuracy_std_by_round"),
    "auc_by_round",
    *("seconds_per_round", "seconds", "bytes_up_per_client", "bytes_down_per_client"),
    *("floats_up_per_client", "floats_down_per_client", "peak_memory_bytes", "knowledge_sha256"),
    "cohort",
    "warnings",
    "train_loss_by_round",
}
QUICK = ["--width", "16", "--rounds", "2"]


@pytest.mark.parametrize("algorithm", ["fedtgp", "fedproto", "local"])
def test_a_run_leaves_its_results(
    algorithm: str, signals: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    words = ["simulate", algorithm, "--data", str(signals), "--out", str(out), *QUICK]
    assert main([*words, "--workers", "1"]) == 0
    assert str(out) in capsys.readouterr().out.replace("\n", "")
    names = {"accuracy.png", "prototypes.safetensors", "rounds.csv", "run.json", "summary.json"}
    names |= {"clients.parquet", "partition.json", "measures.csv"}
    assert {path.name for path in out.iterdir()} == names
    summary = json.loads((out / "summary.json").read_text())
    own = {"measures_by_round"} if algorithm == "fedtgp" else set()
    assert set(summary) == KEYS | own
    assert len(summary["accuracy_by_round"]) == 3
    lines = (out / "rounds.csv").read_text().splitlines()
    assert lines[0] == ",".join(COLUMNS)
    assert [float(line.split(",")[1]) for line in lines[1:]] == summary["accuracy_by_round"]
    samples = summary["samples_by_client"]
    right = {
        name: each * samples[name]["test"] for name, each in summary["accuracy_by_client"].items()
    }
    weighted = sum(right.values()) / sum(each["test"] for each in samples.values())
    assert summary["final_accuracy"] == pytest.approx(weighted)


def test_prototypes_travel_and_local_sends_none(signals: Path, tmp_path: Path) -> None:
    words = ["--data", str(signals), *QUICK, "--rounds", "1", "--workers", "1"]
    found = {}
    for algorithm in ("fedproto", "local"):
        assert main(["simulate", algorithm, *words, "--out", str(tmp_path / algorithm)]) == 0
        found[algorithm] = json.loads((tmp_path / algorithm / "summary.json").read_text())
    assert found["fedproto"]["floats_up_per_client"] == 2 * 16  # classes times width
    assert found["fedproto"]["floats_down_per_client"] == 0  # round 0 has no prototypes yet
    assert found["fedproto"]["bytes_up_per_client"] > 4 * 2 * 16
    assert found["local"]["floats_up_per_client"] == 0
    assert found["fedproto"]["accuracy_by_round"][0] == 0


def test_a_run_goes_to_a_folder_of_its_name(
    signals: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["simulate", "local", "--data", str(signals), *QUICK, "--seed", "3", "--workers", "1"]
    assert main(words) == 0
    assert (tmp_path / "runs" / "local-tiny-3" / "summary.json").is_file()
    assert main(words) == 2  # it is finished


def test_a_folder_with_another_run_names_the_keys(
    signals: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["simulate", "local", "--data", str(signals), "--out", str(tmp_path), *QUICK]
    words += ["--workers", "1"]
    assert main(words) == 0
    capsys.readouterr()
    assert main([*words, "--seed", "9"]) == 2
    assert "seed (0 there, 9 here)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "field"),
    [
        (["--rounds", "0"], "rounds"),
        (["--width", "0"], "width"),
        (["--batch-size", "0"], "--batch-size: "),
        (["--seed", "-1"], "seed"),
        (["--alpha", "nan"], "alpha"),
        (["--clients", "0"], "clients"),
        (["--clients", "7"], "clients"),
        (["--classes-per-client", "0"], "--classes-per-client: "),
        (["--partition", "fair"], "partition"),
        (["--partition-seed", "-1"], "--partition-seed: "),
        (["--layout", "upside-down"], "layout"),
        (["--layout", "signal"], "layout"),
        (["--variant", "best"], "variant"),
        (["--models", "gpt"], "gpt"),
        (["--models", "cnn"], "cnn"),
        (["--set", "pul=1"], "pul"),
        (["--set", "pull=-1"], "pull"),
        (["--set", "pull"], "set"),
        (["--set", "seed=1"], "seed"),
        (["--workers", "many"], "workers"),
        (["--device", "tpu"], "device"),
        (["--data", "nowhere"], "nowhere"),
        (["--data", "fashion-sample"], "partition"),
        (["--rounds", "few"], "--rounds"),
    ],
)
def test_a_wrong_option_is_named(
    words: list[str],
    field: str,
    signals: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "out"
    base = ["simulate", "fedtgp", "--data", str(signals), "--out", str(out)]
    assert main([*base, *words]) == 2
    assert field in capsys.readouterr().err
    assert not out.exists()


def test_an_unknown_algorithm_is_named(signals: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["simulate", "fedsgd", "--data", str(signals)]) == 2
    assert "fedsgd" in capsys.readouterr().err


def test_a_gpu_that_is_not_there_is_an_error(
    signals: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a CUDA device")
    words = ["simulate", "local", "--data", str(signals), "--device", "cuda"]
    assert main([*words, "--out", str(tmp_path / "out")]) == 2
    assert "device: 'cuda' cannot be used here (" in capsys.readouterr().err


def test_out_of_memory_names_the_device_and_what_to_lower(images: Path, tmp_path: Path) -> None:
    program = """
import resource, sys
from edgeloop.cli.main import main
import simulations.commands.simulate
now = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (now + 300 * 2**20, now + 300 * 2**20))
sys.exit(main(sys.argv[1:]))
"""
    out = tmp_path / "out"
    words = ["simulate", "local", "--data", str(images), *QUICK, "--out", str(out)]
    large = ["--models", "cnn", "--width", str(10**6), "--workers", "1"]
    environment = {**os.environ, "COLUMNS": "200"}
    done = forked.run([sys.executable, "-c", program, *words, *large], env=environment)
    assert done.returncode == 75, done.stderr
    assert done.stderr.startswith("error: memory of cpu: is used up (")
    assert "smaller batches, fewer samples or a smaller model" in done.stderr
    assert "Traceback" not in done.stderr
