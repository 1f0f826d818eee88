from pathlib import Path

import pytest

from benchmarks import simulation
from benchmarks.simulation import Cell, Folders
from benchmarks.work import Work
from edgeloop import data
from simulations.engine import run_plan

SAMPLES = {"cnn": 120, "head": 200}


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    return Folders(tmp_path, "fashion-sample", SAMPLES)


def cell(folder: Path, algorithm: str, way: str = "plain", task: str = "head") -> Cell:
    return Cell(algorithm, task, 2, way, str(folder), 1, "cpu")


def test_the_head_task_is_the_same_labels_on_frozen_features(folders: Folders) -> None:
    images, features = (data.load(folders.made(task, 2)) for task in ("cnn", "head"))
    assert images.shape == (1, 28, 28)
    assert features.shape == (simulation.FROZEN,)
    assert sum(sum(sizes) for sizes in features.sizes()) == SAMPLES["head"]


def test_operations_are_those_of_training_and_evaluation(folders: Folders) -> None:
    """Two linear layers: 2 operations a weight forward; training adds two products but one."""
    folder = folders.made("head", 2)
    found = {}
    for algorithm in ("fedproto", "fedtgp"):
        settings = cell(folder, algorithm).settings()
        federation = settings.federation()
        found[algorithm] = Work(run_plan.Plan(settings, federation), federation).operations()
    steps = sum(train // 10 for train, _ in federation.sizes())
    tests = sum(test for _, test in federation.sizes())
    hidden, head = simulation.FROZEN * 100, 100 * federation.classes
    forward = 2 * (hidden + head)
    step = 10 * (2 * forward + 2 * head)  # the inputs have no gradient
    assert found["fedproto"] == steps * step + tests * forward
    assert found["fedtgp"] == found["fedproto"] + 10 * steps * forward  # its look before training


@pytest.mark.parametrize("way", ["plain", "stacked", "bfloat16"])
def test_a_cell_is_measured_and_told(way: str, folders: Folders) -> None:
    asked = cell(folders.made("head", 2), "fedktl", way)
    measures = simulation.measure(asked)
    assert all(measures[key] > 0 for key in ("seconds", "floor", "bare", "memory", "rate"))
    columns, (row,) = simulation.table({asked: [measures], cell(Path(), "local"): []})
    assert len(row) == len(columns)
    assert row[:4] == ["head", "2", "fedktl", way]


def test_what_failed_is_told() -> None:
    _, (row,) = simulation.table({cell(Path(), "local"): [{"failed": "no memory"}]})
    assert row[4] == "no memory"
