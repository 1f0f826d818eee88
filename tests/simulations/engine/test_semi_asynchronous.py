"""Rounds with a buffer on a virtual clock: who counts when, by hand, and whole runs."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeloop.errors import ConfigError
from edgeloop.runtime import atomic_files
from simulations.engine import checkpoint, run_plan
from simulations.engine.run import simulate
from simulations.engine.semi_asynchronous import schedule
from simulations.settings import RunSettings


def silent(done: int, accuracy: float | None) -> None:
    """Watch nothing."""


def test_with_all_of_them_it_is_synchronous() -> None:
    policy, ends = schedule({"a": 1.0, "b": 2.0}, rounds=3, buffer=5, stalest=10)
    assert [sorted(each) for each in policy.answered] == [["a", "b"]] * 3
    assert not policy.delays
    assert ends == (2.0, 4.0, 6.0)


def test_a_slow_client_counts_when_it_is_done() -> None:
    """a takes 1 and b 2.5; each round is over with one answer."""
    policy, ends = schedule({"a": 1.0, "b": 2.5}, rounds=4, buffer=1, stalest=10)
    # a at 1 and 2; b's answer to round 0 ends round 2 at 2.5. It begins on round 2 then, whose
    # own answer of a, at 3, comes in round 3, and ends that.
    assert [sorted(each) for each in policy.answered] == [["a"], ["a"], ["b"], ["a"]]
    assert policy.bases == ({}, {}, {"b": 0}, {"a": 2})
    assert ends == (1.0, 2.0, 2.5, 3.0)
    assert policy.joining(0) == {"a", "b"}
    assert policy.joining(1) == {"a"}
    # At the end b is at work on round 2 and a on 3: they train, and count in no round.
    assert policy.joining(2) == {"a", "b"}
    assert [sorted(each) for each in policy.late] == [[], [], ["b"], ["a"]]


def test_an_answer_that_is_too_old_is_late() -> None:
    policy, _ = schedule({"a": 1.0, "b": 2.5}, rounds=3, buffer=1, stalest=1)
    assert [sorted(each) for each in policy.answered] == [["a"], ["a"], ["a"]]
    assert policy.late[0] == {"b"}


def test_a_second_answer_waits_for_the_next_round() -> None:
    """Round 1 has b's answer to round 0, at 3; b is done with round 1, at 6, before c is at 10."""
    times = {"a": 1.0, "b": 3.0, "c": 10.0}
    policy, ends = schedule(times, rounds=3, buffer=1, stalest=10)
    assert ends == (1.0, 2.0, 3.0)
    policy, ends = schedule(times, rounds=3, buffer=3, stalest=10)
    assert ends == (10.0, 20.0, 30.0)
    policy, ends = schedule({"a": 2.0, "b": 3.0, "c": 8.0}, rounds=4, buffer=2, stalest=10)
    # Round 0 ends with b at 3, round 1 with b at 6. Round 2 has c's answer to round 0 and a's to
    # it at 8; b's answer to round 2, at 9, counts in round 3, which a ends at 10.
    assert ends == (3.0, 6.0, 8.0, 10.0)
    assert policy.bases == ({}, {}, {"c": 0}, {"b": 2})


@given(
    st.dictionaries(st.sampled_from("abcdefg"), st.floats(0, 9), min_size=1),
    st.integers(1, 8),
    st.integers(0, 3),
)
def test_every_answer_counts_once_and_is_not_too_old(
    times: dict[str, float], buffer: int, stalest: int
) -> None:
    policy, ends = schedule(times, rounds=12, buffer=buffer, stalest=stalest)
    shorter, _ = schedule(times, rounds=5, buffer=buffer, stalest=stalest)
    assert policy.answered[:5] == shorter.answered
    assert list(ends) == sorted(ends)
    seen = set()
    for number, answered in enumerate(policy.answered):
        assert len(answered) == min(buffer, len(times))
        stale = policy.stale(number)
        for name in answered:
            base = stale.get(name, number)
            assert 0 <= number - base <= stalest
            assert (name, base) not in seen
            assert name in policy.joining(base)
            assert name not in policy.late[base]
            seen.add((name, base))


@pytest.fixture
def buffered(settings: RunSettings) -> RunSettings:
    changes = {"algorithm": "fedavg", "options": {}, "rounds": 4, "buffer": 2}
    return settings.model_copy(update=changes)


def test_a_run_is_the_replay_of_its_schedule(buffered: RunSettings, tmp_path: Path) -> None:
    """The knowledge is that of the record, as a service with these answers would have made it."""
    first = simulate(buffered, tmp_path / "first", silent)
    again = simulate(buffered.model_copy(update={"workers": 2}), tmp_path / "again", silent)
    assert first["knowledge_sha256"] == again["knowledge_sha256"]
    assert len(first["virtual_time_by_round"]) == 4
    federation = buffered.federation()
    assert len(federation) == 3
    plan = run_plan.Plan(buffered, federation)
    assert plan.schedule is not None
    policy = plan.schedule.policy
    assert policy.delays
    record = {
        **{"schema_version": 2, "task": "t", "run": "r", "algorithm": "fedavg"},
        "rounds": [
            {"answered": sorted(answered), "late": sorted(late), "bases": dict(bases)}
            for answered, late, bases in zip(
                policy.answered, policy.late, policy.bases, strict=True
            )
        ],
    }
    path = tmp_path / "participation.json"
    path.write_text(json.dumps(record))
    replayed = buffered.model_copy(update={"buffer": None, "replay": str(path)})
    assert (
        simulate(replayed, tmp_path / "replay", silent)["knowledge_sha256"]
        == (first["knowledge_sha256"])
    )


@pytest.mark.parametrize("stop", [1, 3])
def test_a_run_that_is_killed_goes_on_with_the_uploads_that_waited(
    buffered: RunSettings, tmp_path: Path, stop: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint.CheckpointSchedule, "due", lambda self: True)
    done: list[int] = []

    def killed(number: int, accuracy: float | None) -> None:
        if number == stop + 1:
            raise KeyboardInterrupt

    def watch(number: int, accuracy: float | None) -> None:
        done.append(number)

    with pytest.raises(KeyboardInterrupt):
        simulate(buffered, tmp_path / "run", killed)
    held = atomic_files.read_json(tmp_path / "run" / f"checkpoint-{stop}" / "held.json")["uploads"]
    assert all(each["round"] < stop for each in held)
    again = simulate(buffered, tmp_path / "run", watch)
    assert done[0] == stop + 1, "nothing is done twice"
    whole = simulate(buffered, tmp_path / "whole", silent)
    assert again["knowledge_sha256"] == whole["knowledge_sha256"]
    assert again["accuracy_by_round"] == whole["accuracy_by_round"]


def test_more_rounds_extend_it(buffered: RunSettings, tmp_path: Path) -> None:
    simulate(buffered.model_copy(update={"rounds": 2, "keep": True}), tmp_path / "run", silent)
    extended = simulate(buffered, tmp_path / "run", silent)
    whole = simulate(buffered, tmp_path / "whole", silent)
    assert extended["knowledge_sha256"] == whole["knowledge_sha256"]


def test_who_does_more_than_average_refuses_it(buffered: RunSettings) -> None:
    for changes, told in (
        ({"algorithm": "fedtgp"}, "fedtgp does more"),
        ({"join_ratio": 0.5}, "virtual clock"),
        ({"cohort": "stacked"}, "virtual clock"),
    ):
        with pytest.raises(ConfigError, match=told):
            buffered.model_copy(update=changes).check()
    buffered.model_copy(update={"slow_rate": 0.5}).check()
