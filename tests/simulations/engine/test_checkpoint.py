from pathlib import Path

import pytest

from edgeloop import algorithms
from edgeloop.errors import RunError
from edgeloop.protocol import wire
from edgeloop.server_loop import RunState
from simulations.engine import checkpoint, run_cohort, run_plan
from simulations.engine.checkpoint import CheckpointSchedule
from simulations.engine.run import simulate
from simulations.results.measurements import Row
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
    pace = CheckpointSchedule(share=0.05, clock=clock)
    assert pace.due()  # nothing is known of its cost
    pace.run(lambda: clock.wait(1.0))
    clock.wait(19.0)
    assert not pace.due()
    clock.wait(1.0)
    assert pace.due()


def test_what_was_saved_comes_back_to_the_bit(settings: RunSettings, tmp_path: Path) -> None:
    federation = settings.federation()
    plan = run_plan.Plan(settings, federation)
    algorithm = plan.clients.load()
    state, broadcast = algorithm.start()
    with run_cohort.open_cohort(plan, federation) as cohort:
        upload = cohort.ask(0, broadcast)["client-01"].upload
        state, broadcast = algorithm.aggregate(state, [upload])
        checkpoint.save(tmp_path, cohort, RunState(1, state, broadcast), [ROW])
        after = cohort.ask(1, broadcast)
    saved = checkpoint.latest(tmp_path, algorithm)
    assert saved is not None
    assert saved.rows == (ROW,)
    assert saved.run_state.rounds == 1
    assert wire.fingerprint(saved.run_state.state) == wire.fingerprint(state)
    with run_cohort.open_cohort(plan, federation) as other:
        other.restore(saved.models)
        again = other.ask(1, saved.run_state.broadcast)
    for name, answer in after.items():
        assert wire.fingerprint(answer.upload) == wire.fingerprint(again[name].upload)


def test_only_the_newest_whole_one_counts(settings: RunSettings, tmp_path: Path) -> None:
    federation = settings.federation()
    plan = run_plan.Plan(settings, federation)
    algorithm = plan.clients.load()
    (tmp_path / ".checkpoint-12.new").mkdir()  # a crash while it was being written
    with run_cohort.open_cohort(plan, federation) as cohort:
        for rounds in (9, 10):
            checkpoint.save(tmp_path, cohort, RunState(rounds, *algorithm.start()), [ROW] * rounds)
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-10"]
    (tmp_path / "checkpoint-9").mkdir()  # a crash before the older one was gone
    saved = checkpoint.latest(tmp_path, algorithm)
    assert saved is not None
    assert saved.run_state.rounds == 10
    checkpoint.remove(tmp_path)
    assert checkpoint.latest(tmp_path, algorithm) is None


def test_a_damaged_checkpoint_is_told(settings: RunSettings, tmp_path: Path) -> None:
    algorithm = algorithms.load(settings.algorithm, **settings.algorithm_options(classes=2))
    (tmp_path / "checkpoint-3").mkdir()
    (tmp_path / "checkpoint-3" / "state.frame").write_bytes(b"EDGE, or not")
    with pytest.raises(RunError, match="cannot be read"):
        checkpoint.latest(tmp_path, algorithm)


def begun(settings: RunSettings, folder: Path) -> Path:
    """Leave a run's folder as a kill leaves it after the second round; return its checkpoint."""

    class KilledError(Exception):
        pass

    def kill(done: int, accuracy: float | None) -> None:
        if done == 2:
            raise KilledError

    with pytest.raises(KilledError):
        simulate(settings, folder, kill)
    (kept,) = folder.glob("checkpoint-*")
    return kept


def goes_on(settings: RunSettings, folder: Path) -> int:
    return len(simulate(settings, folder, lambda done, accuracy: None)["accuracy_by_round"])


@pytest.fixture
def started(settings: RunSettings, tmp_path: Path) -> tuple[RunSettings, Path]:
    few = settings.model_copy(update={"rounds": 4, "workers": 1})
    return few, begun(few, tmp_path / "run")


def test_a_model_that_has_changed_is_not_taken(started: tuple[RunSettings, Path]) -> None:
    settings, kept = started
    model = kept / "models" / "client-01.safetensors"
    model.write_bytes(model.read_bytes()[:-1] + b"\x7f")
    with pytest.raises(RunError, match=r"models/client-01.safetensors is not as it was written"):
        goes_on(settings, kept.parent)


@pytest.mark.parametrize("name", ["rows.json", "models/client-01.safetensors", "state.frame"])
@pytest.mark.parametrize("content", [None, b"", b"x", b"[" * 100_000, b"[]", b"\xff"])
@pytest.mark.parametrize("summed", [True, False])
def test_a_file_that_cannot_be_read_is_a_sentence(
    started: tuple[RunSettings, Path], name: str, content: bytes | None, summed: bool
) -> None:
    """Without sums too, as before there were any."""
    settings, kept = started
    if not summed:
        (kept / "sha256.json").unlink()
    (kept / name).unlink() if content is None else (kept / name).write_bytes(content)
    with pytest.raises(RunError, match="it then starts again"):
        goes_on(settings, kept.parent)


def test_without_sums_it_goes_on(started: tuple[RunSettings, Path]) -> None:
    settings, kept = started
    (kept / "sha256.json").unlink()
    assert goes_on(settings, kept.parent) == 5


def test_what_is_no_checkpoint_is_left_alone(started: tuple[RunSettings, Path]) -> None:
    settings, kept = started
    for name in ("checkpoint-abc", "checkpoint--5", "checkpoint-"):
        (kept.parent / name).write_text("mine")
    (kept.parent / "checkpoint-else").symlink_to(kept.parent.parent)
    assert goes_on(settings, kept.parent) == 5
    assert (kept.parent / "checkpoint-abc").exists()


@pytest.mark.parametrize("content", [b"[" * 100_000, b"[]", b"null", b"\xff"])
def test_a_run_that_does_not_say_what_it_is(
    started: tuple[RunSettings, Path], content: bytes
) -> None:
    settings, kept = started
    (kept.parent / "run.json").write_bytes(content)
    with pytest.raises(RunError, match="holds no run"):
        goes_on(settings, kept.parent)


@pytest.mark.parametrize("content", [b"\xff\n", b"header\nx,1\n"])
def test_a_journal_that_is_none(started: tuple[RunSettings, Path], content: bytes) -> None:
    settings, kept = started
    (kept.parent / "clients.csv").write_bytes(content)
    with pytest.raises(RunError, match="does not hold"):
        goes_on(settings, kept.parent)
