"""A ledger in a PostgreSQL that several tasks share."""

import os
import signal
import threading

import pytest

from cloud.aggregator import postgresql
from cloud.aggregator.ledger import Ledger, RoundCounts
from edgeloop.errors import RunError, TakenError, UnavailableError
from tests.devices import wait_until
from tests.postgres import PASSWORD, Postgres
from tests.slow_link import slow_link
from tests.world import contract

pytestmark = pytest.mark.postgresql

CATS = contract(task="cats", run="first", rounds=3)
DOGS = contract(task="dogs", run="other", rounds=9)


@pytest.fixture
def url(postgres: Postgres) -> str:
    return postgres.database()


def test_each_task_has_a_run_of_its_own(url: str) -> None:
    with Ledger.open(url) as cats, Ledger.open(url) as dogs:
        assert cats.adopt(CATS) == CATS
        assert dogs.adopt(DOGS) == DOGS
        for ledger, state in ((cats, b"cats"), (dogs, b"dogs")):
            ledger.begin(state, b"broadcast")
            ledger.record(0, "a", "digest", state)
        cats.close_round(0, b"more cats", b"broadcast", RoundCounts(1, 1, 2))
        assert cats.run_state() == (1, b"more cats", b"broadcast")
        assert dogs.run_state() == (0, b"dogs", b"broadcast")
        assert dogs.recall(0) == {"a": b"dogs"}
        assert (len(cats.history()), len(dogs.history())) == (1, 0)
        cats.finish()
        assert not dogs.finished()


def test_a_task_that_differs_is_refused(url: str) -> None:
    with Ledger.open(url) as ledger:
        ledger.adopt(CATS)
    with Ledger.open(url) as ledger, pytest.raises(RunError, match="task cats, other seed"):
        ledger.adopt(CATS.model_copy(update={"seed": 4}))


def test_a_second_aggregator_of_a_task_is_refused_until_the_first_closes(url: str) -> None:
    with Ledger.open(url) as first:
        first.adopt(CATS)
        with Ledger.open(url) as second, pytest.raises(TakenError) as caught:
            second.adopt(CATS)
    expected = "another aggregator is running task cats on it; stop it, or give this task another"
    assert expected in str(caught.value)
    assert PASSWORD not in str(caught.value)
    with Ledger.open(url) as second:
        assert second.adopt(CATS) == CATS


def cut_off(postgres: Postgres) -> None:
    """End every connection to every test's database; return when they have gone."""
    connected = "from pg_stat_activity where datname ~ '^test_'"
    with postgres.connect() as connection:
        connection.execute(f"select pg_terminate_backend(pid) {connected}")
        wait_until(lambda: not connection.execute(f"select pid {connected}").fetchall())


def test_a_task_that_is_given_back_can_be_taken_at_once(url: str) -> None:
    port = url.rpartition(":")[2].partition("/")[0]

    def last_word(data: bytes) -> float:
        """Hold the message that a client ends its connection with."""
        return 1.0 if data == b"X\0\0\0\4" else 0.0

    with slow_link(int(port), up=last_word) as slow, Ledger.open(url) as second:
        with Ledger.open(url.replace(f":{port}/", f":{slow}/")) as first:
            first.adopt(CATS)
        assert second.adopt(CATS) == CATS


def test_a_server_that_has_stopped_does_not_hold_who_gives_a_task_back(
    url: str, postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgresql, "RELEASE_SECONDS", 0.1)
    with postgres.connect() as connection:
        ledger = Ledger.open(url)
        ledger.adopt(CATS)
        query = "select pid from pg_locks where locktype = 'advisory' and granted"
        ((backend,),) = connection.execute(query).fetchall()
        os.kill(backend, signal.SIGSTOP)
        try:
            ledger.close()
        finally:
            os.kill(backend, signal.SIGCONT)


def test_who_has_lost_the_task_cannot_write(url: str, postgres: Postgres) -> None:
    with Ledger.open(url) as first, Ledger.open(url) as second:
        first.adopt(CATS)
        first.begin(b"state", b"broadcast")
        cut_off(postgres)
        second.adopt(CATS)
        for _ in range(2):
            with pytest.raises(UnavailableError, match="was lost; check that it runs"):
                first.record(0, "a", "digest", b"payload")
        assert first.run_state() == (0, b"state", b"broadcast")  # reading connects again
        assert second.recall(0) == {}
        second.record(0, "a", "digest", b"payload")


def test_a_server_that_was_started_again(url: str, postgres: Postgres) -> None:
    with Ledger.open(url) as ledger:
        ledger.adopt(CATS)
        ledger.begin(b"state", b"broadcast")
        ledger.record(0, "a", "digest", b"payload")
        postgres.control("-m", "immediate", "restart")
        with pytest.raises(UnavailableError, match="was lost"):
            ledger.record(0, "b", "digest", b"payload")
    with Ledger.open(url) as ledger:
        ledger.adopt(CATS)
        assert ledger.recall(0) == {"a": b"payload"}


def test_tasks_that_start_at_once_make_the_tables_once(url: str) -> None:
    failures: list[Exception] = []

    def start(number: int) -> None:
        try:
            with Ledger.open(url) as ledger:
                ledger.adopt(contract(task=f"task-{number}", run=f"run-{number}"))
        except Exception as error:  # told by the test's own thread
            failures.append(error)

    threads = [threading.Thread(target=start, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("a%20p%40ss%2Fword", "wrong", "refuses the user or password; fix the URL"),
        (":a%20p%40ss%2Fword", "", "wants a password; put it into the URL"),
        ("/test_", "/no_test_", "cannot be used; create the database"),
        ("127.0.0.1", "nowhere.invalid", "cannot be reached; fix the host in the URL"),
        ("127.0.0.1", "127.0.0.2", "cannot be reached; start it, or fix the URL"),
    ],
)
def test_a_database_that_cannot_be_used(url: str, old: str, new: str, problem: str) -> None:
    kind = UnavailableError if "reached" in problem else RunError
    with pytest.raises(kind, match=problem) as caught:
        Ledger.open(url.replace(old, new))
    assert "p@ss" not in str(caught.value)
    assert "p%40ss" not in str(caught.value)
