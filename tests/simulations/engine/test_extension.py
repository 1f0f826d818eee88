"""A run with more rounds than it had is the run that had them from the beginning, to the bit."""

import json
from pathlib import Path

import pytest

from edgeloop.errors import RunError
from edgeloop.runtime import atomic_files
from simulations.engine import extension
from simulations.engine import run as running
from simulations.engine.run import simulate
from simulations.settings import RunSettings
from tests.simulations.engine.test_resume import lasting, of_clients, untimed


def silent(done: int, accuracy: float | None) -> None:
    """Watch nothing."""


def with_rounds(settings: RunSettings, rounds: int, **changes: object) -> RunSettings:
    return settings.model_copy(update={"rounds": rounds, **changes})


@pytest.mark.parametrize("keep", [True, False])
def test_the_same_bits(settings: RunSettings, tmp_path: Path, keep: bool) -> None:
    short, long = (with_rounds(settings, rounds, keep=keep) for rounds in (2, 4))
    simulate(short, tmp_path / "run", silent)
    rounds: list[int] = []
    extended = simulate(long, tmp_path / "run", lambda done, _: rounds.append(done))
    assert rounds[0] == (3 if keep else 1)  # it went on where it was, or began again
    whole = simulate(long, tmp_path / "whole", silent)
    assert lasting(extended) == lasting(whole)
    assert json.loads((tmp_path / "run/summary.json").read_text()) == extended
    assert untimed(tmp_path / "run") == untimed(tmp_path / "whole")
    assert of_clients(tmp_path / "run") == of_clients(tmp_path / "whole")
    assert bool(list((tmp_path / "run").glob("checkpoint-4"))) == keep


def test_what_an_algorithm_keeps_goes_on_too(settings: RunSettings, tmp_path: Path) -> None:
    """SCAFFOLD's control variates, of server and clients; a part of the clients, in workers."""
    changes = {"algorithm": "scaffold", "options": {}, "keep": True, "join_ratio": 0.7}
    simulate(with_rounds(settings, 2, **changes), tmp_path / "run", silent)
    longer = with_rounds(settings, 4, **changes, workers=2)
    extended = simulate(longer, tmp_path / "run", silent)
    whole = simulate(with_rounds(settings, 4, **changes), tmp_path / "whole", silent)
    assert extended["knowledge_sha256"] == whole["knowledge_sha256"]
    assert extended["accuracy_by_round"] == whole["accuracy_by_round"]


def test_what_runs_beside_it_is_extended_as_well(settings: RunSettings, tmp_path: Path) -> None:
    simulate(with_rounds(settings, 1, beside=("local",)), tmp_path, silent)
    summary = simulate(with_rounds(settings, 2, beside=("local",)), tmp_path, silent)
    beside = json.loads((tmp_path / "beside/local/summary.json").read_text())
    assert len(beside["accuracy_by_round"]) == 3
    assert set(summary["beside"]) == {"local"}


def test_a_stop_while_it_is_extended(
    settings: RunSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever it has done by then, the same command goes on to the same results."""
    short, long = (with_rounds(settings, rounds, keep=True) for rounds in (1, 3))
    simulate(short, tmp_path / "run", silent)

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    for where in ("claim", "Execution"):
        with monkeypatch.context() as patched:
            patched.setattr(running, where, stop)
            with pytest.raises(KeyboardInterrupt):
                simulate(long, tmp_path / "run", silent)
    extended = simulate(long, tmp_path / "run", silent)
    assert lasting(extended) == lasting(simulate(long, tmp_path / "whole", silent))


def test_a_run_of_before_there_were_digests_is_extended(tmp_path: Path) -> None:
    wanted = {"rounds": 3, "code": {"own-net": "a1"}, "versions": {"python": "3.11.9"}}
    for held, said in (
        ({"rounds": 2, "versions": {"python": "3.11.9"}}, True),
        ({"rounds": 2, "code": {"own-net": "a2"}, "versions": {"python": "3.10.9"}}, True),
        ({"rounds": 2, "code": {"own-net": "a2"}, "versions": {"python": "3.11.1"}}, False),
    ):
        atomic_files.write_json(tmp_path / "run.json", held)
        assert extension._longer(tmp_path, wanted) is said, held


def test_what_is_another_run_is_refused(settings: RunSettings, tmp_path: Path) -> None:
    simulate(with_rounds(settings, 2), tmp_path, silent)
    held = (tmp_path / "summary.json").read_bytes()
    for other, told in (
        (with_rounds(settings, 1), "rounds"),
        (with_rounds(settings, 3, seed=5), "seed"),
    ):
        with pytest.raises(RunError, match=f"holds another run: .*{told}"):
            simulate(other, tmp_path, silent)
    assert (tmp_path / "summary.json").read_bytes() == held


def test_a_finished_run_may_be_taken_as_it_is(settings: RunSettings, tmp_path: Path) -> None:
    first = simulate(settings, tmp_path, silent)
    assert simulate(settings, tmp_path, silent, again=True) == first
    with pytest.raises(RunError, match="finished"):
        simulate(settings, tmp_path, silent)
