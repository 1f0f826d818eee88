"""The study of a single client, on a scale that a test can wait for."""

import json
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edgeloop import data
from edgeloop.bases import building
from edgeloop.cli.main import main
from edgeloop.data import ClientData
from edgeloop.data.sample import fashion_sample
from edgeloop.data.samples import Shard
from edgeloop.errors import ConfigError
from edgeloop.generators.onnx import OnnxGenerator
from simulations.ktl import rows, study
from simulations.ktl.rows import ROWS, run_classifier
from simulations.ktl.study import Study
from simulations.results.seed_statistics import describe_values
from tests.bases.tiny import tiny_base
from tests.generators.tiny import write_tiny

NAMES = ("local", "etf-only", "ktl")


@pytest.fixture(scope="module")
def generator(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny(tmp_path_factory.mktemp("ktl") / "tiny")


def ktl(out: Path, generator: Path, *further: str) -> int:
    words = ["--data", "fashion-sample", "--shots", "4", "--seeds", "2", "--rounds", "2"]
    words += ["--set", "server_epochs=2", "--workers", "1", "--out", str(out)]
    if "--baselines" not in further:
        words += ["--baselines", ",".join(NAMES)]
    if "--test-samples" not in further:
        words.append("--own-test-samples")
    return main(["simulate", "ktl", *words, "--generator", str(generator), *further])


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory, generator: Path) -> Path:
    out = tmp_path_factory.mktemp("ktl") / "study"
    assert ktl(out, generator) == 0
    return out


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (["--client", "9999"], "client 9999: does not exist"),
        (["--test-samples", "99999"], "99999"),
        (["--model", "nope"], "nope"),
    ],
)
def test_what_is_refused_does_not_keep_the_folder(
    wrong: list[str],
    told: str,
    tmp_path: Path,
    generator: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    assert ktl(tmp_path / "study", generator, *wrong) == 2
    assert told in capfd.readouterr().err
    assert not (tmp_path / "study").exists()


def test_a_refusal_later_leaves_what_is_there(done: Path, generator: Path, tmp_path: Path) -> None:
    again = shutil.copytree(done, tmp_path / "study")
    assert ktl(again, generator, "--client", "1") == 2
    assert summary(again) == summary(done)


def summary(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "summary.json").read_text())
    return content


def test_values_by_hand() -> None:
    found = describe_values([1.0, 2.0, 3.0, 4.0, 5.0])
    assert found["mean"] == 3.0
    assert found["std"] == pytest.approx(np.sqrt(2.5))
    assert found["ci95"] == pytest.approx(2.776 * np.sqrt(2.5 / 5))
    assert describe_values([0.25]) == {"mean": 0.25, "std": None, "ci95": None, "runs": [0.25]}
    many = describe_values([0.0, 1.0] * 20)
    assert many["ci95"] == pytest.approx(1.960 * many["std"] / np.sqrt(40))


@pytest.mark.parametrize(
    ("samples", "classes", "shots", "clients"),
    [(60_000, 100, 23, 20), (60_000, 100, 9, 50), (60_000, 100, 2, 200), (6_000, 10, 4, 112)],
)
def test_among_how_many_clients(samples: int, classes: int, shots: int, clients: int) -> None:
    assert study.sharers(samples, classes, shots) == clients


def test_more_shots_than_there_are_samples() -> None:
    with pytest.raises(ConfigError, match=r"shots: 1000 of each of 10 classes.*ask for fewer"):
        study.sharers(6_000, 10, 1_000)


def test_the_summary_says_what_the_runs_say(done: Path) -> None:
    found = summary(done)
    assert list(found["baselines"]) == list(NAMES)
    assert (found["classes"], found["samples"]) == (10, {"train": 37, "test": 13})
    runs = {name: [summary(done / name / f"seed-{seed}") for seed in (0, 1)] for name in NAMES}
    for name in NAMES:
        best = [run["best_accuracy"] for run in runs[name]]
        assert found["baselines"][name] == describe_values(best)
        assert found["last_round"][name] == describe_values(
            [r["final_accuracy"] for r in runs[name]]
        )
    for better, worse in (("etf-only", "local"), ("ktl", "etf-only"), ("ktl", "local")):
        pairs = zip(runs[better], runs[worse], strict=True)
        gains = [one["best_accuracy"] - other["best_accuracy"] for one, other in pairs]
        assert found["differences"][f"{better} - {worse}"]["runs"] == gains
    assert (done / "accuracy.png").read_bytes().startswith(b"\x89PNG")


def test_the_baselines_differ_in_nothing_but_what_they_are_called(
    done: Path, generator: Path
) -> None:
    for seed in (0, 1):
        configs = {name: summary(done / name / f"seed-{seed}")["config"] for name in NAMES}
        same = ("data", "seed", "models", "rounds", "batch_size", "partition_fingerprint")
        assert len({json.dumps([config[key] for key in same]) for config in configs.values()}) == 1
        etf, whole = (configs[name]["hyperparameters"] for name in ("etf-only", "ktl"))
        bound = {"transfer", "generator_sha256", "latent_dim"}
        assert {key for key in etf if etf[key] != whole[key]} == bound
        assert (etf["transfer"], whole["transfer"]) == (0.0, 50.0)
        assert (configs["etf-only"]["generator"], configs["local"]["algorithm"]) == (None, "local")
        assert whole["generator_sha256"] == OnnxGenerator(generator).identity


def test_every_seed_has_a_client_of_its_own(done: Path) -> None:
    shares = [data.load(done / "data" / f"4-shot-seed-{seed}").client(0) for seed in (0, 1)]
    assert not np.array_equal(shares[0].train.inputs, shares[1].train.inputs)


def test_one_client_for_all_and_a_larger_test(tmp_path: Path, generator: Path) -> None:
    further = ["--client", "3", "--test-samples", "50", "--baselines", "local", "--rounds", "1"]
    assert ktl(tmp_path, generator, *further) == 0
    shares = [data.load(tmp_path / "data" / f"4-shot-seed-{seed}").client(0) for seed in (0, 1)]
    assert np.array_equal(shares[0].train.inputs, shares[1].train.inputs)
    assert [len(share.test) for share in shares] == [50, 50]
    assert summary(tmp_path)["differences"] == {}


def of(folder: Path, **changes: Any) -> Study:
    fields: dict[str, Any] = {
        **{"data": "fashion-sample", "shots": 4, "seeds": None, "client": None},
        **{"test_samples": None, "baselines": ("local",), "rounds": 1, "patience": 1},
        **{"model": "cnn", "generator": None, "options": {}, "folder": folder, "workers": 1},
    }
    return Study(**{**fields, **changes})


def test_ten_clients_and_as_many_test_samples_as_tell_something(tmp_path: Path) -> None:
    dealt = study.divide(of(tmp_path))
    assert (dealt.seeds, dealt.test) == (10, 1556)
    (note,) = dealt.notes
    assert note.startswith("all clients together have 1,556 test samples, fewer than the 2,000")
    assert len(list((tmp_path / "data").glob("4-shot-seed-*"))) == 10


def test_fewer_clients_than_usual_are_told_of(tmp_path: Path) -> None:
    dealt = study.divide(of(tmp_path, shots=150))
    assert dealt.seeds == 3
    assert "there are samples for 3 clients of 150 shots, fewer than the usual 10" in dealt.notes[1]


def test_what_was_dealt_is_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = study.divide(of(tmp_path, seeds=2))
    monkeypatch.setattr(study, "_divided", pytest.fail)
    assert study.divide(of(tmp_path, seeds=2)) == first
    assert study.divide(of(tmp_path, seeds=1)).seeds == 1
    monkeypatch.undo()
    assert study.divide(of(tmp_path)).seeds == 10  # no longer two


def nearest_mean(client: ClientData, classes: int) -> NDArray[np.int64]:
    """Name a test image after the nearest mean of the training images."""
    train, test = (part.inputs.reshape(len(part), -1) for part in (client.train, client.test))
    means = np.stack([train[client.train.labels == each].mean(axis=0) for each in range(classes)])
    gaps = np.square(test[:, None] - means[None]).sum(axis=2)
    return np.asarray(gaps.argmin(axis=1), np.int64)


def test_a_row_without_rounds_is_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = {**ROWS, "nearest": partial(run_classifier, how=nearest_mean)}
    monkeypatch.setattr(study, "ROWS", rows)
    asked = of(tmp_path, seeds=2, baselines=("local", "nearest"), shots=20)
    found = study.run(asked, lambda title, summary: None)
    assert found["baselines"]["nearest"]["mean"] > 0.5
    assert set(found["differences"]) == {"nearest - local"}
    again = study.run(asked, lambda title, summary: None)
    assert again == found


def test_it_goes_on_with_what_is_missing(done: Path, tmp_path: Path, generator: Path) -> None:
    again = tmp_path / "study"
    shutil.copytree(done, again)
    kept = (again / "local" / "seed-0" / "rounds.csv").stat().st_mtime_ns
    (again / "summary.json").unlink()
    shutil.rmtree(again / "ktl" / "seed-1")
    assert ktl(again, generator) == 0
    assert (again / "local" / "seed-0" / "rounds.csv").stat().st_mtime_ns == kept
    assert (again / "ktl" / "seed-1" / "summary.json").exists()
    assert summary(again)["baselines"]["local"] == summary(done)["baselines"]["local"]


@pytest.mark.parametrize(
    ("further", "words"),
    [
        (["--baselines", "local,fedavg"], "baselines: there is no 'fedavg'"),
        (["--shots", "5000"], "shots: 5000 of each of 10 classes"),
        (["--shots", "400"], "seeds: 2, but there are samples for 1 clients"),
        (["--client", "112"], "client 112: does not exist"),
        (["--test-samples", "9999"], "test samples: 9999 of only"),
        (["--set", "sever_epochs=1"], "sever_epochs: fedktl has no such hyperparameter"),
        (["--generator", "nowhere"], "generator: there is no generator 'nowhere'"),
        (["--data", "nowhere"], "nowhere: no such file or folder"),
        (["--test-samples", "9", "--own-test-samples"], "test-samples: asks for all clients'"),
    ],
)
def test_bad_input(
    further: list[str],
    words: str,
    tmp_path: Path,
    generator: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    assert ktl(tmp_path / "out", generator, *further) == 2
    said = capfd.readouterr().err
    assert words in said
    assert "Traceback" not in said


def test_another_study_is_not_mixed_in(
    done: Path, generator: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert ktl(done, generator, "--client", "0") == 2
    assert "holds another study: client (None there, 0 here)" in capfd.readouterr().err
    (done.parent / "other").mkdir()
    (done.parent / "other" / "file").touch()
    assert ktl(done.parent / "other", generator) == 2
    assert "holds something else" in capfd.readouterr().err


def test_class_means_on_a_base() -> None:
    """Two samples of each class are told apart by their features' direction."""
    base = tiny_base((1, 28, 28), 32)
    pool = fashion_sample()
    chosen = [np.flatnonzero(pool.labels == label) for label in range(10)]
    train, test = (
        Shard(pool.inputs[some], pool.labels[some]).samples()
        for some in (
            np.concatenate([each[:2] for each in chosen]),
            np.concatenate([each[2:22] for each in chosen]),
        )
    )
    found = rows.nearest_mean(ClientData(train, test), 10, base)
    assert (found == test.labels).mean() > 0.35  # chance is a tenth


def test_the_row_on_a_base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        building, "load_or_compute", lambda generator, shape, classes: tiny_base(shape)
    )
    words = ["--data", "fashion-sample", "--shots", "4", "--seeds", "2", "--own-test-samples"]
    words += ["--baselines", "computed-base", "--workers", "1", "--out", str(tmp_path / "out")]
    assert main(["simulate", "ktl", *words]) == 0
    found = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert 0.1 < found["baselines"]["computed-base"]["mean"] < 1
