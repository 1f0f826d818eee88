"""What is written in another thread: what comes then comes after, and errors come back."""

import threading

import pytest

from edgeloop.cohorts.write_behind import WriteBehind


def test_what_comes_then_waits_for_the_work() -> None:
    writes, go, told = WriteBehind(), threading.Event(), list[str]()
    writes.begin(lambda: (go.wait(10), None)[1], lambda: told.append("first"))
    assert writes.is_open
    assert writes.is_running
    assert told == []
    go.set()
    writes.begin(lambda: told.append("work"), lambda: told.append("second"))
    assert told[0] == "first"
    writes.settle()
    writes.settle()
    assert told == ["first", "work", "second"]
    assert not writes.is_open


def test_an_error_of_the_work_is_raised_by_who_settles() -> None:
    writes, told = WriteBehind(), list[str]()

    def fails() -> None:
        raise OSError("full")

    writes.begin(fails, lambda: told.append("no"))
    with pytest.raises(OSError, match="full"):
        writes.settle()
    assert told == []
    assert not writes.is_open
