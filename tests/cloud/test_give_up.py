"""A task that too few devices answer stops with exit code 1, and continues when started again."""

import json
from pathlib import Path

import pytest

from edgeloop.cli.main import main
from edgeloop.runtime.config import BrokerSettings


@pytest.mark.broker
def test_a_round_that_is_given_up(
    tmp_path: Path, broker: BrokerSettings, capfd: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "task.toml"
    config.write_text(
        f"""
        name = "lonely"
        algorithm = "fedproto"
        class_names = ["a", "b"]
        shape = [1, 28, 28]
        rounds = 1
        folder = {json.dumps(str(tmp_path / "task"))}
        broker = {{ port = {broker.port} }}
        http = {{ port = 0 }}
        cohort = {{ devices = ["one"], deadline_seconds = 0.1, give_up_seconds = 0.2 }}
        """
    )
    for _ in range(2):
        assert main(["aggregator", "--config", str(config)]) == 75
        said = capfd.readouterr().err
        assert "round 0: 0 uploads, 1 needed; started again, the task goes on" in said
        assert "Traceback" not in said
    assert (tmp_path / "task" / "ledger.sqlite").exists()
    assert not (tmp_path / "task" / "summary.json").exists()
