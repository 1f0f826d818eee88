"""What else the house knows of an algorithm is in its INFO, and can be read without torch."""

import dataclasses
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from edgeloop import algorithms
from edgeloop.hyperparameters import ModelConfig, TrainingConfig

ROOT = Path(__file__).parents[2]
READ = (
    "import json, sys; from edgeloop import algorithms;"
    "found = {name: algorithms.info(name) for name in algorithms.built_in()};"
    "print(json.dumps([[n for n, i in found.items() if i.upload],"
    " [n for n, i in found.items() if i.numbers], [n for n, i in found.items() if i.tuned],"
    " 'torch' in sys.modules]))"
)


def test_it_is_read_without_torch() -> None:
    done = subprocess.run([sys.executable, "-c", READ], capture_output=True, text=True, cwd=ROOT)
    uploads, numbers, tuned, torch = json.loads(done.stdout)
    assert {"fedavg", "fedktl"} <= set(uploads)
    assert "fedktl" in numbers
    assert "fedktl" in tuned
    assert torch is False


@pytest.mark.parametrize("name", algorithms.built_in())
def test_what_is_tried_are_hyperparameters(name: str) -> None:
    info = algorithms.info(name)
    facts = algorithms.supported_options(name, classes=2, width=2)
    config = algorithms.config(name, **facts)
    for key, values in info.tuned.items():
        for value in values:
            assert getattr(algorithms.config(name, **facts, **{key: value}), key) == value
    fields = {each.name for each in dataclasses.fields(config)}
    assert set(info.generator_options) <= fields
    assert not info.generator_options or info.generator


@pytest.mark.parametrize("name", algorithms.built_in())
def test_what_all_are_configured_by_is_declared_once(name: str) -> None:
    """The fields of the bases are in no Config's own file again."""
    text = (ROOT / "edgeloop" / "algorithms" / f"{name.replace('-', '_')}.py").read_text()
    config = algorithms.config(name, **algorithms.supported_options(name, classes=2, width=2))
    if algorithms.info(name).base:  # it trains no network
        return
    assert isinstance(config, TrainingConfig)
    shared = ModelConfig if isinstance(config, ModelConfig) else TrainingConfig
    for each in dataclasses.fields(shared):
        assert not re.search(rf"^    {each.name}: ", text, re.MULTILINE), each.name
