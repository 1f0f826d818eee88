"""Small data for simulated runs."""

from pathlib import Path

import numpy as np
import pytest

from edgeloop import data
from edgeloop.data import Partition, Pool
from edgeloop.data.sample import fashion_sample
from simulations.settings import RunSettings


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of three clients with unequal shares of 240 images."""
    folder = tmp_path_factory.mktemp("images") / "tiny"
    whole = fashion_sample()
    few = Pool(whole.inputs[:240], whole.labels[:240], whole.class_names)
    return data.write(data.split(few, Partition("dirichlet", clients=3, alpha=1.0)), folder)


@pytest.fixture(scope="session")
def signals(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of three clients with windows of 2 channels and 64 steps, 2 classes."""
    folder = tmp_path_factory.mktemp("signals") / "tiny"
    inputs = np.random.default_rng(0).normal(size=(120, 2, 1, 64)).astype(np.float32)
    pool = Pool(inputs, np.arange(120) % 2, ("still", "moving"))
    return data.write(data.split(pool, Partition("iid", clients=3)), folder)


@pytest.fixture
def settings(images: Path) -> RunSettings:
    """A run of a second or two."""
    return RunSettings(
        algorithm="fedtgp",
        data=str(images),
        width=16,
        rounds=2,
        workers=1,
        options={"server_epochs": 2},
    )
