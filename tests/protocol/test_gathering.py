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
