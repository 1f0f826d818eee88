"""Texts from files to results: AG News in its own layout, a few sentences of it made here."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from edgeloop.cli.main import main
from simulations.results import clients_table

TOPICS = {
    1: "the army and the government met at the border",
    2: "the team won the match in the last minute",
    3: "the company sold shares on the market",
    4: "the software runs on a new computer",
}
NOISE = ("today", "again", "it was said", "on monday", "as planned", "for the first time")


@pytest.fixture(scope="module")
def news(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """AG News as it is published: class, title, description; 48 texts to train on, 16 to test."""
    folder = tmp_path_factory.mktemp("text") / "ag_news_csv"
    folder.mkdir()
    random = np.random.default_rng(0)
    for part, count in (("train", 48), ("test", 16)):
        with (folder / f"{part}.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, quoting=csv.QUOTE_ALL)
            for place in range(count):
                topic = place % 4 + 1
                words = " ".join(random.choice(NOISE, 2))
                writer.writerow([topic, TOPICS[topic], f"{words} {TOPICS[topic]} " * 12])
    return folder


def simulate(out: Path, algorithm: str, news: Path, *words: str) -> dict[str, object]:
    fixed = ["--data", str(news), "--partition", "iid", "--clients", "2", "--batch-size", "4"]
    fixed += ["--width", "16", "--workers", "1", "--out", str(out)]
    assert main(["simulate", algorithm, *fixed, *words]) == 0
    found: dict[str, object] = json.loads((out / "summary.json").read_text())
    return found


@pytest.mark.parametrize("algorithm", ["fedproto", "fedgh"])
def test_clients_of_two_architectures(algorithm: str, news: Path, tmp_path: Path) -> None:
    words = ("--models", "htfe-txt-2", "--rounds", "2")
    found = simulate(tmp_path / "run", algorithm, news, *words)
    assert found["model_by_client"] == {"client-00": "fasttext", "client-01": "textlr"}
    assert json.loads((tmp_path / "run" / "partition.json").read_text())["shape"] == [200]
    trained = [row for row in clients_table.read(tmp_path / "run") if row.round < 2]
    assert all(row.floats_up == 4 * 16 for row in trained)


def test_texts_are_learned(news: Path, tmp_path: Path) -> None:
    words = ("--models", "fasttext", "--rounds", "30", "--set", "local_lr=0.3")
    found = simulate(tmp_path / "run", "fedavg", news, *words)
    assert found["accuracy_by_round"][0] < 0.6  # type: ignore[index]  # one of four topics, guessed
    assert found["best_accuracy"] == 1.0


def test_dropout_is_the_same_again(news: Path, tmp_path: Path) -> None:
    words = ("--models", "transformer-l1-h8", "--rounds", "1", "--samples", "40")
    runs = [simulate(tmp_path / str(n), "fedproto", news, *words) for n in (0, 1)]
    assert runs[0]["knowledge_sha256"] == runs[1]["knowledge_sha256"]


def test_an_image_s_model_is_refused(
    news: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    words = ["--data", str(news), "--partition", "iid", "--clients", "2", "--models", "cnn"]
    assert main(["simulate", "fedproto", *words, "--out", str(tmp_path / "run")]) == 2
    assert "cnn: does not fit inputs of shape (200,)" in capfd.readouterr().err
