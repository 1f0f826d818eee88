"""Rounds as text, in the header of an answer."""

import pytest

from edgeloop.protocol import wire
from edgeloop.protocol.history import FORM, LONGEST, read, written


@pytest.mark.parametrize(
    ("rounds", "text"),
    [([], "none"), ([0], "0"), ([0, 1, 2, 5], "0-2,5"), ([7, 3, 4], "3-4,7"), ([2, 4], "2,4")],
)
def test_rounds_are_written_and_read(rounds: list[int], text: str) -> None:
    assert written(rounds) == text
    assert FORM.fullmatch(text)
    assert read(text, below=100) == set(rounds)


def test_a_round_tells_only_of_those_before_it() -> None:
    assert read("0-9999999999,3", below=4) == {0, 1, 2, 3}
    assert read("7", below=4) == set()
    assert read("", below=4) == set()


def test_of_what_is_too_long_the_latest_is_told() -> None:
    text = written(range(0, 2000, 2))
    assert len(text) <= LONGEST
    assert FORM.fullmatch(text)
    assert max(read(text, below=5000)) == 1998


@pytest.mark.parametrize("text", ["x", "1-", "1,,2", "-1", "1 2", "9" * 11, "1," * 300 + "1"])
def test_what_is_no_history_is_no_header(text: str) -> None:
    with pytest.raises(ValueError, match="rounds before"):
        wire.Envelope("t", "r", 3, "a", trained=text)
