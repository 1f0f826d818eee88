"""Class statistics of tables: no network is made, so that none need fit their rows."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeloop.errors import ModelError
from simulations.engine.run import simulate
from simulations.settings import RunSettings
from tests.bases.served import write_base

COLUMNS, CLASSES = 12, 3


def summary(folder: Path, **options: Any) -> dict[str, Any]:
    """Run on a table without a word on models; return the summary."""
    labels = np.arange(90) % CLASSES
    random = np.random.default_rng(0)
    rows = 3 * random.standard_normal((CLASSES, COLUMNS))[labels]
    source = folder / "table.npz"
    np.savez(source, x=(rows + random.standard_normal(rows.shape)).astype(np.float32), y=labels)
    write_base(folder / "base", shape=(COLUMNS,))
    settings = RunSettings(
        algorithm="class-statistics",
        data=str(source),
        partition="iid",
        clients=3,
        rounds=1,
        base=str(folder / "base"),
        workers=1,
        options=options,
    )
    return simulate(settings, folder / "run", lambda done, accuracy: None)


def test_without_a_word_on_models(tmp_path: Path) -> None:
    assert summary(tmp_path)["final_accuracy"] > 0.7


def test_a_network_must_fit(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"cnn: does not fit inputs of shape \(12,\)"):
        summary(tmp_path, network=True)
