"""Adding an algorithm touches one file: a toy one runs like any other."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgeloop import algorithms
from edgeloop.cli.main import main

TOY = '''"""Toy: everybody trains alone, and the server counts the samples."""

from dataclasses import dataclass

from edgeloop.algorithm import Algorithm, AlgorithmInfo
from edgeloop.training.sgd import cross_entropy, train_sgd

INFO = AlgorithmInfo("Toy", ("simulation",), "a number", "a number", "nobody, nowhere")


@dataclass(frozen=True)
class Config:
    """Hyperparameters.

    Attributes:
        local_epochs: E, epochs of a client a round.
    """

    local_epochs: int = 1


@dataclass(frozen=True)
class Total:
    samples: int


def build(config):
    return Algorithm(
        state=Total,
        upload=Total,
        broadcast=Total,
        sizes={},
        start=lambda: (Total(0), Total(0)),
        aggregate=lambda state, uploads: (Total(sum(u.samples for u in uploads)),) * 2,
        loss=cross_entropy,
        train=lambda model, batches, broadcast: train(model, batches, config),
    )


def train(model, batches, config):
    train_sgd(model, batches, cross_entropy, epochs=config.local_epochs, lr=0.01)
    return Total(len(batches.labels))
'''


@pytest.fixture
def toy(tmp_path: Path) -> Iterator[None]:
    folder = tmp_path / "more"
    folder.mkdir()
    (folder / "toy.py").write_text(TOY)
    algorithms.__path__.append(str(folder))
    yield
    algorithms.__path__.remove(str(folder))


@pytest.mark.usefixtures("toy")
def test_one_new_file_is_an_algorithm(
    images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    words = ["simulate", "toy", "--data", str(images), "--rounds", "2", "--set", "local_epochs=2"]
    assert main([*words, "--workers", "1", "--out", str(out)]) == 0
    summary = json.loads((out / "summary.json").read_text())
    assert summary["config"]["hyperparameters"] == {"local_epochs": 2}
    assert len(summary["accuracy_by_round"]) == 3
    capsys.readouterr()
    assert main(["algorithms", "toy", "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)
    assert found["meanings"]["local_epochs"] == "E, epochs of a client a round."
