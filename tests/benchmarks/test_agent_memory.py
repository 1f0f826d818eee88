"""What an agent takes of a small machine: read of a real one, in one short run."""

from pathlib import Path

import pytest

from benchmarks import agent_memory
from edgeloop.errors import UnavailableError


@pytest.mark.broker
def test_an_agent_that_waits_and_one_that_trains(tmp_path: Path) -> None:
    found = agent_memory.measure(tmp_path, "fedproto")
    assert found.idle < 150  # without torch, which takes more by itself
    assert found.idle < found.rounds <= found.end
    assert agent_memory.importing_torch() > 150


@pytest.mark.broker
def test_one_that_ends_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agent_memory, "DEVICE", "no such name")
    with pytest.raises(UnavailableError, match="has ended"):
        agent_memory.measure(tmp_path, "fedproto")
