from typing import Any

import pytest

from edgeloop.protocol.gathering import Gathering, TooFewUploadsError, Verdict


def gathering(quorum: int = 1) -> Gathering[str]:
    return Gathering(3, frozenset({"a", "b"}), quorum, deadline=10.0, give_up=20.0)


@pytest.mark.parametrize(
    ("client", "number", "verdict"),
    [
        ("a", 3, Verdict.ACCEPTED),
        ("a", 2, Verdict.LATE),
        ("a", 4, Verdict.WRONG_ROUND),
        ("z", 3, Verdict.UNINVITED),
    ],
)
def test_an_upload_is_judged(client: str, number: int, verdict: Verdict) -> None:
    assert gathering().offer(client, number, "digest", "x") is verdict


def test_a_second_delivery_counts_once_and_another_upload_not_at_all() -> None:
    g = gathering()
    g.offer("a", 3, "1", "first")
    assert g.offer("a", 3, "1", "first") is Verdict.DUPLICATE
    assert g.offer("a", 3, "2", "second") is Verdict.CONFLICT
    assert g.missing() == {"b"}
    assert g.close() == {"a": "first"}


def test_over_when_all_have_answered() -> None:
    g = gathering()
    g.offer("b", 3, "1", "x")
    assert not g.is_over(now=9.9)
    g.offer("a", 3, "2", "y")
    assert g.is_over(now=0.0)
    assert list(g.close()) == ["a", "b"]


def test_over_at_the_deadline_with_the_quorum_and_later_without_it() -> None:
    g = gathering()
    assert not g.is_over(now=10.0)
    g.offer("a", 3, "1", "x")
    assert g.is_over(now=10.0)
    assert not gathering(quorum=2).is_over(now=19.9)
    assert gathering(quorum=2).is_over(now=20.0)


def test_how_long_to_wait() -> None:
    g = gathering()
    assert g.until(now=4.0) == 6.0
    assert g.until(now=12.0) == 8.0
    assert g.until(now=30.0) == 0.0


def test_too_few() -> None:
    with pytest.raises(TooFewUploadsError, match="round 3: 0 uploads, 2 needed"):
        gathering(quorum=2).close()


def among(there: set[str], **changes: Any) -> Gathering[str]:
    """Return a round that ends 2 s after the answers of all who are there."""
    asked: dict[str, Any] = {"grace": 2.0, "may_grow": True, "there": lambda: there}
    invited = frozenset({"a", "b", "c", "d", "e"})
    return Gathering(3, invited, changes.pop("quorum", 1), 10.0, 20.0, **asked, **changes)


def test_over_a_grace_after_all_who_are_there_have_answered() -> None:
    there = {"a", "b"}
    g = among(there)
    g.offer("a", 3, "1", "x")
    assert not g.is_over(now=1.0)
    assert g.until(now=1.0) == 9.0
    g.offer("b", 3, "2", "x")
    assert not g.is_over(now=3.0)
    assert g.until(now=3.0) == 2.0
    assert not g.is_over(now=4.9)
    assert g.is_over(now=5.0)


def test_who_comes_meanwhile_is_waited_for_and_who_goes_is_not() -> None:
    there = {"a"}
    g = among(there)
    g.offer("a", 3, "1", "x")
    assert not g.is_over(now=1.0)
    there.add("b")
    assert not g.is_over(now=3.5)
    there.discard("b")
    assert not g.is_over(now=4.0)
    assert g.is_over(now=6.0)


def test_a_run_that_may_grow_is_not_over_before_anybody_came() -> None:
    g = Gathering[str](0, frozenset(), 1, 10.0, 20.0, grace=0.0, may_grow=True)
    assert not g.is_over(now=15.0)
    g.invite("a")
    g.offer("a", 0, "1", "x")
    assert g.is_over(now=15.0)


def test_who_is_there_and_not_asked_is_not_waited_for() -> None:
    g = among({"a", "stranger"})
    g.offer("a", 3, "1", "x")
    assert not g.is_over(now=1.0)
    assert g.is_over(now=3.0)


@pytest.mark.parametrize(
    ("share", "there", "answers", "needed"),
    [(0.8, "abcde", "", 4), (0.8, "ab", "", 2), (0.5, "abc", "de", 3), (0.8, "", "", 1)],
)
def test_a_quorum_is_a_share_of_those_who_are_there_or_have_answered(
    share: float, there: str, answers: str, needed: int
) -> None:
    g = among(set(there), share=share)
    for name in answers:
        g.offer(name, 3, name, "x")
    assert g.needed() == needed


def test_at_the_deadline_a_share_is_enough() -> None:
    g = among({"a", "b", "c"}, share=0.5)
    g.offer("a", 3, "1", "x")
    assert not g.is_over(now=10.0)
    g.offer("b", 3, "2", "x")
    assert g.is_over(now=10.0)
    few = among({"a", "b", "c"}, share=0.5)
    few.offer("a", 3, "1", "x")
    with pytest.raises(TooFewUploadsError, match="1 uploads, 2 needed"):
        few.close()


def test_without_a_grace_who_is_away_is_waited_for() -> None:
    g = gathering()
    g.there = lambda: {"a"}
    g.offer("a", 3, "1", "x")
    assert not g.is_over(now=9.9)


def test_without_a_quorum_the_grace_begins_with_as_many_as_are_usual() -> None:
    """Nobody need evaluate at the end; who is only on the way back is waited for all the same."""
    there: set[str] = set()
    g = among(there, quorum=0, usual=2)
    g.offer("a", 3, "1", "x")
    assert not g.is_over(now=1.0)
    assert not g.is_over(now=9.0)
    g.offer("b", 3, "2", "x")
    assert not g.is_over(now=9.0)
    assert g.is_over(now=11.0)
    empty = among(there, quorum=0, usual=2)
    assert not empty.is_over(now=9.9)
    assert empty.is_over(now=10.0), "at the deadline with whatever there is"
