from pathlib import Path

import pytest

from edgeloop import algorithms, wire
from edgeloop.errors import RunError
from edgeloop.rounds import Standing
from simulations import checkpoint, engine
from simulations.checkpoint import Pace
from simulations.results import Row
from simulations.settings import RunSettings

ROW = Row(0, 1 / 3, 0.0, 1.0, 0.0, 0.0, 0.0, 0, 0, 0, 0, measures={"distance": 1 / 3})


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    def wait(self, seconds: float) -> None:
        self.now += seconds


def test_a_checkpoint_takes_at_most_a_twentieth_of_the_time() -> None:
    clock = Clock()
    pace = Pace(share=0.05, clock=clock)
    assert pace.due()  # nothing is known of its cost
    pace.run(lambda: clock.wait(1.0))
    clock.wait(19.0)
    assert not pace.due()
    clock.wait(1.0)
    assert pace.due()


def test_what_was_saved_comes_back_to_the_bit(settings: RunSettings, tmp_path: Path) -> None:
    federation = settings.federation()
    plan = engine.plan(settings, federation)
    algorithm = plan.load()
    state, broadcast = algorithm.start()
    with engine.cohort(plan, federation) as crew:
        upload = crew.ask(0, broadcast)["client-01"].upload
        state, broadcast = algorithm.aggregate(state, [upload])
        checkpoint.save(tmp_path, crew, Standing(1, state, broadcast), [ROW])
        after = crew.ask(1, broadcast)
    saved = checkpoint.latest(tmp_path, algorithm)
    assert saved is not None
    assert saved.rows == (ROW,)
    assert saved.standing.rounds == 1
    assert wire.fingerprint(saved.standing.state) == wire.fingerprint(state)
    with engine.cohort(plan, federation) as other:
        other.restore(saved.models)
        again = other.ask(1, saved.standing.broadcast)
    for name, answer in after.items():
        assert wire.fingerprint(answer.upload) == wire.fingerprint(again[name].upload)


def test_only_the_newest_whole_one_counts(settings: RunSettings, tmp_path: Path) -> None:
    federation = settings.federation()
    plan = engine.plan(settings, federation)
    algorithm = plan.load()
    (tmp_path / ".checkpoint-12.new").mkdir()  # a crash while it was being written
    with engine.cohort(plan, federation) as crew:
        for rounds in (9, 10):
            checkpoint.save(tmp_path, crew, Standing(rounds, *algorithm.start()), [ROW] * rounds)
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-10"]
    (tmp_path / "checkpoint-9").mkdir()  # a crash before the older one was gone
    saved = checkpoint.latest(tmp_path, algorithm)
    assert saved is not None
    assert saved.standing.rounds == 10
    checkpoint.remove(tmp_path)
    assert checkpoint.latest(tmp_path, algorithm) is None


def test_a_damaged_checkpoint_is_told(settings: RunSettings, tmp_path: Path) -> None:
    algorithm = algorithms.load(settings.algorithm, **settings.chosen(classes=2))
    (tmp_path / "checkpoint-3").mkdir()
    (tmp_path / "checkpoint-3" / "state.frame").write_bytes(b"EDGE, or not")
    with pytest.raises(RunError, match="cannot be read"):
        checkpoint.latest(tmp_path, algorithm)
