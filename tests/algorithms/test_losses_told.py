"""Every algorithm whose clients train a network tells what they descend."""

from pathlib import Path
from typing import Any

import pytest

from edgeloop import algorithms, server_loop
from edgeloop.generators.onnx import OnnxGenerator
from tests.cohorts.test_stacked import SIZES, built, members
from tests.generators.tiny import write_tiny

WITHOUT = {"class-statistics"}
"""They train nothing: docs/algorithms.md says so."""


@pytest.fixture(scope="module")
def generator(tmp_path_factory: pytest.TempPathFactory) -> OnnxGenerator:
    return OnnxGenerator(write_tiny(tmp_path_factory.mktemp("losses") / "tiny"))


@pytest.mark.parametrize("name", sorted(set(algorithms.built_in()) - WITHOUT))
def test_its_clients_tell_their_loss(name: str, generator: OnnxGenerator) -> None:
    own = {"warm_up": 0} if name == "fedl2g" else {}  # whose first rounds train no client
    algorithm: Any = built(name, generator, **own)
    client = members(algorithm, dict.fromkeys(SIZES, "cnn"))["client-01"]
    answer = client.answer(0, server_loop.initial_state(algorithm).broadcast)
    assert answer.upload is not None
    assert client.training_loss is not None
    assert 0 < client.training_loss < 100


def test_whoever_tells_none_is_on_the_page() -> None:
    page = Path(__file__).parents[2] / "docs" / "algorithms.md"
    assert "class statistics train nothing at all" in page.read_text()
