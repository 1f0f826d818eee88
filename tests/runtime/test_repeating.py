import logging
import threading

import pytest

from edgeloop.errors import UnavailableError
from edgeloop.runtime import repeating
from edgeloop.runtime.repeating import Repeated
from tests.devices import wait_until


def test_what_fails_is_done_again(caplog: pytest.LogCaptureFixture) -> None:
    done = threading.Event()

    def act() -> None:
        if not caplog.records:
            raise UnavailableError("the database", "is away", "start it")
        done.set()

    with caplog.at_level(logging.WARNING), Repeated(0.01, act, first=True):
        assert done.wait(20)
    assert "the database: is away; start it; tries again in 0 s" in caplog.text


def test_a_fault_is_logged_with_its_place_and_ends_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    done = threading.Event()

    def act() -> None:
        if not caplog.records:
            raise KeyError("classNames")
        done.set()

    with caplog.at_level(logging.WARNING), Repeated(0.01, act, first=True):
        assert done.wait(20)
    assert "Traceback" in caplog.text
    assert "KeyError: 'classNames'" in caplog.text


def test_who_is_woken_does_it_soon_and_not_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repeating, "LEAST_SECONDS", 0.2)
    times = 0

    def act() -> None:
        nonlocal times
        times += 1

    with Repeated(3600.0, act) as repeated:
        assert times == 0
        repeated.wake()
        wait_until(lambda: times == 1)
        for _ in range(1000):
            repeated.wake()
        wait_until(lambda: times == 2)
    assert times == 2, "a thousand are one, and the end is none"
