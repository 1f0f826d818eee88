# Over 320 lines: one suite that SQLite and PostgreSQL both pass.

import os
import signal
import sqlite3
import sys
import threading
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine
from sqlalchemy.exc import OperationalError, ProgrammingError

from cloud.aggregator import migrations, recording
from cloud.aggregator.ledger import Ledger, PastRound, RoundCounts
from cloud.aggregator.membership import LedgerMembers
from edgeloop.cohorts.uploads import Upload
from edgeloop.errors import ConfigError, RunError, TakenError
from tests import forked
from tests.postgres import Postgres, reopened
from tests.world import contract

CONTRACT = contract(task="cats", run="first", rounds=3, options={"pull": 10.0}, devices=("b", "a"))
COUNTS = RoundCounts(participants=2, test_correct=3, test_samples=4)


SQLITE = pytest.mark.parametrize("url", ["sqlite"], indirect=True)  # what is so of a file only


@pytest.fixture(
    params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgresql)],
)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'ledger.sqlite'}"
    server: Postgres = request.getfixturevalue("postgres")
    return server.database()


def file_of(url: str) -> Path:
    return Path(url.removeprefix("sqlite:///"))


def begun(url: str, *, keep_rounds: int = 2, now: Callable[[], datetime] | None = None) -> Ledger:
    clock = {} if now is None else {"now": now}
    ledger = Ledger.open(url, keep_rounds=keep_rounds, busy_seconds=0.05, **clock)
    ledger.adopt(CONTRACT)
    ledger.begin(b"state 0", b"broadcast 0")
    return ledger


def execute(url: str, *statements: str) -> list[tuple[object, ...]]:
    """Execute statements behind the ledger's back; return what the last one returns."""
    engine = create_engine(url.replace("postgresql:", "postgresql+psycopg:"))
    try:
        with engine.begin() as connection:
            *_, last = [connection.exec_driver_sql(each) for each in statements]
            return [tuple(row) for row in last] if last.returns_rows else []
    finally:
        engine.dispose()


def test_it_tells_when_it_last_stored_where_the_run_stands(url: str) -> None:
    times = [datetime(2026, 1, 1, 12, minute, tzinfo=UTC) for minute in range(4)]
    clock = iter(times)
    told: list[float] = []
    with Ledger.open(url, now=lambda: next(clock)) as ledger:
        ledger.adopt(CONTRACT)
        assert ledger.committed() is None
        ledger.on_write = told.append
        ledger.begin(b"state 0", b"broadcast 0")
        assert ledger.committed() == times[1].timestamp()
        ledger.close_round(0, b"state 1", b"broadcast 1", COUNTS)
        assert ledger.committed() == times[3].timestamp()
    assert len(told) == 2
    assert all(0 <= seconds < 60 for seconds in told)


def rows(url: str, query: str) -> list[tuple[object, ...]]:
    return execute(url, query)


def test_migrations_make_just_the_declared_tables(url: str) -> None:
    Ledger.open(url).close()
    engine = create_engine(url.replace("postgresql:", "postgresql+psycopg:"))
    with engine.connect() as connection:
        context = MigrationContext.configure(connection)
        assert compare_metadata(context, migrations.metadata) == []
    engine.dispose()


@SQLITE
def test_constraints_are_named_as_declared(url: str) -> None:
    Ledger.open(url).close()
    text = "".join(str(row) for row in rows(url, "select sql from sqlite_master"))
    declared = [
        constraint.name
        for table in migrations.metadata.tables.values()
        for constraint in table.constraints
    ]
    assert len(declared) == 15
    for name in declared:
        assert str(name) in text


@SQLITE
def test_a_ledger_is_durable_on_every_connection(url: str) -> None:
    with begun(url) as ledger, ledger._database.engine.connect() as connection:
        pragmas = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        }
    assert pragmas == {
        "journal_mode": "wal",
        "synchronous": 2,
        "foreign_keys": 1,
        "busy_timeout": 50,
    }


def test_adopt_stores_the_first_contract_and_returns_it_after_a_restart(url: str) -> None:
    with Ledger.open(url) as ledger:
        assert ledger.adopt(CONTRACT) == CONTRACT
    with Ledger.open(url) as ledger:
        assert ledger.adopt(CONTRACT.model_copy(update={"run": "second"})) == CONTRACT
    assert rows(url, "select run, task from runs") == [("first", "cats")]


@SQLITE
def test_adopt_names_what_differs(url: str) -> None:
    with Ledger.open(url) as ledger:
        ledger.adopt(CONTRACT)
        other = CONTRACT.model_copy(update={"run": "second", "rounds": 9, "seed": 1})
        with pytest.raises(RunError) as caught:
            ledger.adopt(other)
    assert caught.value.field == str(file_of(url))
    assert caught.value.problem == "holds another run (task cats, other seed)"
    assert caught.value.remedy == "use another folder"


def test_devices_may_be_added(url: str) -> None:
    more = CONTRACT.model_copy(update={"run": "second", "devices": (*CONTRACT.devices, "late")})
    with begun(url) as ledger:
        ledger.record(0, "a", "digest a", b"from a")
    with Ledger.open(url) as ledger:
        assert ledger.adopt(more) == more.model_copy(update={"run": CONTRACT.run})
        assert ledger.recall(0) == {"a": b"from a"}
    with Ledger.open(url) as ledger:
        assert ledger.adopt(more).devices == more.devices
        held = ledger.hold(CONTRACT.task)
        assert held is not None
        assert held.devices == more.devices
        with pytest.raises(RunError, match="other devices"):
            ledger.adopt(CONTRACT)  # one less
        with pytest.raises(RunError, match="other seed"):
            ledger.adopt(more.model_copy(update={"seed": 9, "devices": (*more.devices, "z")}))


def test_rounds_may_be_added_to_a_finished_run(url: str) -> None:
    """What came as the last evaluation is no answer to the round of that number."""
    more = CONTRACT.model_copy(update={"run": "second", "rounds": 5})
    with begun(url) as ledger:
        for number in range(CONTRACT.rounds):
            ledger.record(number, "a", "digest", b"trained")
            ledger.close_round(number, b"state", b"broadcast", RoundCounts(1, 1, 1))
        ledger.record(CONTRACT.rounds, "a", "digest a", b"evaluated")
        ledger.finish()
    with Ledger.open(url) as ledger:
        assert ledger.adopt(more) == more.model_copy(update={"run": CONTRACT.run})
        assert not ledger.finished()
        assert ledger.recall(CONTRACT.rounds) == {}
        assert ledger.recall(CONTRACT.rounds - 1) == {"a": b"trained"}
        assert ledger.run_state() == (CONTRACT.rounds, b"state", b"broadcast")
        held = ledger.hold(CONTRACT.task)
        assert held is not None
        assert held.rounds == 5
        ledger.record(CONTRACT.rounds, "a", "another", b"trained again")
    with Ledger.open(url) as ledger:
        assert ledger.adopt(more).rounds == 5
        assert ledger.recall(CONTRACT.rounds) == {"a": b"trained again"}


def test_the_first_added_round_begins_when_it_is_added(url: str) -> None:
    """Its deadline counts from then; that of a round that was open goes on."""
    clock = [datetime(2026, 1, 1, tzinfo=UTC)]

    def days_later(days: int) -> float:
        clock[0] = datetime(2026, 1, 1 + days, tzinfo=UTC)
        return clock[0].timestamp()

    begin = clock[0].timestamp()
    with begun(url, now=lambda: clock[0]) as ledger:
        days_later(1)
        ledger.adopt(CONTRACT.model_copy(update={"rounds": CONTRACT.rounds + 1}))
        assert ledger.committed() == begin, "round 0 was open"
        for number in range(CONTRACT.rounds + 1):
            ledger.close_round(number, b"state", b"broadcast", RoundCounts(1, 1, 1))
        ledger.finish()
        added = days_later(9)
        ledger.adopt(CONTRACT.model_copy(update={"rounds": CONTRACT.rounds + 2}))
        assert ledger.committed() == added


def test_an_upload_may_answer_an_earlier_round(url: str) -> None:
    with begun(url) as ledger:
        ledger.close_round(0, b"state", b"broadcast", RoundCounts(0, 0, 0))
        ledger.record_all(
            1, [Upload("a", "digest a", b"from a", 0), Upload("b", "digest b", b"from b", 1)]
        )
        assert ledger.recall(1) == {"a": b"from a", "b": b"from b"}
        assert (ledger.held(0, "a"), ledger.held(1, "a")) == ("digest a", None)
        assert (ledger.held(0, "b"), ledger.held(1, "b")) == (None, "digest b")
        LedgerMembers(ledger).trained("a", [0])
        ledger.close_round(1, b"state", b"broadcast", RoundCounts(2, 0, 0))
        record = recording.record_of(CONTRACT, ledger)
    assert record.schema_version == 2
    first, second = record.rounds
    assert (first.answered, first.late) == ((), ())
    assert (second.answered, second.bases) == (("a", "b"), {"a": 0})
    policy = record.policy()
    assert policy.joining(0) == {"a"}
    assert policy.joining(1) == {"b"}
    assert policy.delays


def test_rounds_are_not_taken_away(url: str) -> None:
    with begun(url) as ledger:
        ledger.close_round(0, b"state", b"broadcast", RoundCounts(1, 1, 1))
        for fewer in (1, 2):
            with pytest.raises(RunError) as caught:
                ledger.adopt(CONTRACT.model_copy(update={"rounds": fewer}))
            assert caught.value.field == "rounds"
            told = f"is {fewer}, and the run has 3, of which 1 are done"
            assert caught.value.problem == told
            assert "give 3, or more" in caught.value.remedy
        assert ledger.adopt(CONTRACT) == CONTRACT


def test_adopt_refuses_a_contract_of_another_version(url: str) -> None:
    begun(url).close()
    execute(url, "update runs set contract = '{\"schema_version\": 2}'")
    with Ledger.open(url) as ledger, pytest.raises(RunError, match="contract that this edgeloop"):
        ledger.adopt(CONTRACT)


def test_everything_else_wants_a_contract_first(url: str) -> None:
    with Ledger.open(url) as ledger, pytest.raises(RuntimeError, match="adopt a contract first"):
        ledger.recall(0)


def test_uploads_are_recalled_in_the_order_of_names(url: str) -> None:
    with begun(url) as ledger:
        ledger.record(0, "b", "digest b", b"from b")
        ledger.record(0, "a", "digest a", b"from a")
        ledger.record(0, "B", "digest B", b"from B")
        assert list(ledger.recall(0).items()) == [
            ("B", b"from B"),
            ("a", b"from a"),
            ("b", b"from b"),
        ]
        assert ledger.recall(1) == {}


def test_the_same_upload_again_changes_nothing(url: str) -> None:
    ticks = iter(range(100))
    with begun(url, now=lambda: datetime.fromtimestamp(next(ticks), UTC)) as ledger:
        ledger.record(0, "a", "digest", b"payload")
        before = rows(url, "select * from uploads")
        ledger.record(0, "a", "digest", b"payload")
    assert rows(url, "select * from uploads") == before


def test_another_upload_of_the_same_round_is_refused_and_the_first_one_stays(url: str) -> None:
    with begun(url) as ledger:
        ledger.record(0, "a", "digest", b"payload")
        with pytest.raises(ValueError, match="round 0 holds another upload of a"):
            ledger.record(0, "a", "other digest", b"other payload")
        assert ledger.recall(0) == {"a": b"payload"}


def test_a_round_that_never_opened_takes_no_upload(url: str) -> None:
    with begun(url) as ledger, pytest.raises(RunError, match=r"(?i)foreign key"):
        ledger.record(7, "a", "digest", b"payload")


def test_standing_goes_on_where_the_last_round_ended(url: str) -> None:
    with Ledger.open(url) as ledger:
        ledger.adopt(CONTRACT)
        assert ledger.run_state() is None
        ledger.begin(b"state 0", b"broadcast 0")
        ledger.close_round(0, b"state 1", b"broadcast 1", COUNTS)
        ledger.begin(b"state X", b"broadcast X")
        assert ledger.run_state() == (1, b"state 1", b"broadcast 1")
    with begun(url) as ledger:
        assert ledger.run_state() == (1, b"state 1", b"broadcast 1")


@pytest.mark.parametrize("number", [0, 2])
def test_only_the_open_round_can_be_closed(url: str, number: int) -> None:
    with begun(url) as ledger:
        ledger.close_round(0, b"state 1", b"broadcast 1", COUNTS)
        with pytest.raises(ValueError, match=f"round {number} is not the open one"):
            ledger.close_round(number, b"state X", b"broadcast X", COUNTS)
        assert ledger.run_state() == (1, b"state 1", b"broadcast 1")
        assert len(ledger.history()) == 1


def breaking(url: str, event: str) -> list[str]:
    """Return what makes a database refuse an event."""
    if url.startswith("sqlite"):
        body = "begin select raise(abort, 'it broke'); end"
        return [f"create trigger broken before {event} {body}"]
    body = "language plpgsql as $$ begin raise exception 'it broke'; end $$"
    return [
        f"create function broken() returns trigger {body}",
        f"create trigger broken before {event} for each row execute function broken()",
    ]


@pytest.mark.parametrize(
    "event", ["insert on rounds", "update of closed on rounds", "update of payload on uploads"]
)
def test_a_failure_while_closing_leaves_the_round_open(url: str, event: str) -> None:
    with begun(url, keep_rounds=1) as ledger:
        ledger.record(0, "a", "digest", b"payload")
        ledger.close_round(0, b"state 1", b"broadcast 1", COUNTS)
    execute(url, *breaking(url, event))
    with begun(url, keep_rounds=1) as ledger:
        before = list(rows(url, "select * from rounds order by number"))
        with pytest.raises(RunError, match="it broke"):
            ledger.close_round(1, b"state 2", b"broadcast 2", COUNTS)
        assert ledger.run_state() == (1, b"state 1", b"broadcast 1")
        assert ledger.recall(0) == {"a": b"payload"}
        assert rows(url, "select * from rounds order by number") == before


def test_old_payloads_are_pruned_and_their_rows_stay(url: str) -> None:
    with begun(url, keep_rounds=2) as ledger:
        for number in range(4):
            ledger.record(number, "a", f"digest {number}", b"x" * number)
            ledger.close_round(number, b"state", b"broadcast", COUNTS)
        ledger.record(4, "a", "digest 4", b"xxxx")
        assert [ledger.recall(number) for number in range(5)] == [
            {},
            {},
            {"a": b"xx"},
            {"a": b"xxx"},
            {"a": b"xxxx"},
        ]
        ledger.record(0, "a", "digest 0", b"")  # late, and known
    assert rows(
        url, "select round, device, digest, size, payload is null from uploads order by 1"
    ) == [(number, "a", f"digest {number}", number, number < 2) for number in range(5)]
    assert rows(url, "select number, state is null, broadcast is null from rounds order by 1") == [
        (number, number < 2, number < 2) for number in range(5)
    ]


def test_history_tells_how_the_closed_rounds_went(url: str) -> None:
    clock = [datetime(2026, 1, 1, tzinfo=UTC)]
    with begun(url, now=lambda: clock[0]) as ledger:
        clock[0] += timedelta(seconds=90)
        measures = {"train_loss": 2.5, "margin": 1.0}
        ledger.close_round(0, b"state 1", b"broadcast 1", RoundCounts(2, 3, 4), measures)
        clock[0] -= timedelta(seconds=60)  # somebody sets the clock back
        ledger.close_round(1, b"state 2", b"broadcast 2", RoundCounts(1, 0, 0))
        expected = [PastRound(0, 2, 0.75, 90.0, measures=measures), PastRound(1, 1, None, 0.0)]
        assert ledger.history() == expected
    for damaged, left in (("no JSON", {}), ("[1]", {}), ('{"a": "b", "c": 1}', {"c": 1.0})):
        execute(url, f"update rounds set measures = '{damaged}' where number = 0")  # noqa: S608 - ours
        with begun(url) as ledger:
            assert ledger.history()[0].measures == left


def test_a_finished_run_stays_finished(url: str) -> None:
    with begun(url) as ledger:
        assert not ledger.finished()
        ledger.finish()
        assert ledger.finished()
    finished = rows(url, "select finished from runs")
    with begun(url) as ledger:
        assert ledger.finished()
        ledger.finish()
    assert rows(url, "select finished from runs") == finished


VICTIM = """
import sys
from cloud.aggregator.ledger import Ledger
from edgeloop.protocol.task import Contract

ledger = Ledger.open(sys.argv[1])
ledger.adopt(Contract.model_validate_json(sys.argv[2]))
ledger.begin(b"state 0", b"broadcast 0")
for number in range(10**9):
    ledger.record(0, f"device-{number:06}", f"digest {number}", b"%d" % number * 5000)
    print(number, flush=True)
"""


def test_a_killed_process_loses_nothing_that_record_had_returned_for(url: str) -> None:
    command = [sys.executable, "-c", VICTIM, url, CONTRACT.model_dump_json()]
    with forked.speaking(command) as (victim, said):
        told = [int(said.readline()) for _ in range(25)]
        victim.kill()
        told += [int(line) for line in said]
    assert victim.returncode == -signal.SIGKILL
    with reopened(url, CONTRACT) as ledger:
        kept = ledger.recall(0)
    expected = {f"device-{number:06}": b"%d" % number * 5000 for number in told}
    # One more may have been written whose line the kill cut off.
    unsaid = len(told)
    kept_besides = {name: kept[name] for name in kept.keys() - expected.keys()}
    assert {name: kept[name] for name in expected} == expected
    assert kept_besides in ({}, {f"device-{unsaid:06}": b"%d" % unsaid * 5000})


@SQLITE
def test_a_killed_process_leaves_no_lock(url: str) -> None:
    code = VICTIM.split("for number")[0] + "print(flush=True)\n__import__('time').sleep(600)"
    command = [sys.executable, "-c", code, url, CONTRACT.model_dump_json()]
    with forked.speaking(command) as (_, said):
        said.readline()
        with pytest.raises(TakenError, match="another aggregator is running on it"):
            Ledger.open(url)
    begun(url).close()


@SQLITE
def test_a_second_opener_is_refused_until_the_first_closes(url: str, tmp_path: Path) -> None:
    folder, file = tmp_path / "folder", tmp_path / "link.sqlite"
    folder.symlink_to(tmp_path)
    file.symlink_to(file_of(url))
    with begun(url):
        for same in (url, f"sqlite:///{folder / 'ledger.sqlite'}", f"sqlite:///{file}"):
            with pytest.raises(TakenError, match="another aggregator is running on it"):
                Ledger.open(same)
    Ledger.open(url).close()


@SQLITE
def test_a_failed_opening_leaves_no_lock(url: str) -> None:
    file_of(url).write_bytes(b"no database" * 100)
    for _ in range(2):
        with pytest.raises(RunError, match="is no ledger; restore a backup"):
            Ledger.open(url)


@SQLITE
def test_a_damaged_page_is_found_on_opening(url: str) -> None:
    begun(url).close()
    ((page,),) = rows(url, "select rootpage from sqlite_master where name = 'uploads'")
    ((size,),) = rows(url, "pragma page_size")
    assert isinstance(page, int)
    assert isinstance(size, int)
    content = bytearray(file_of(url).read_bytes())
    content[(page - 1) * size : page * size] = b"\xff" * size
    file_of(url).write_bytes(content)
    with pytest.raises(RunError, match="is damaged"):
        Ledger.open(url)


def test_a_newer_ledger_is_refused(url: str) -> None:
    begun(url).close()
    execute(url, "update alembic_version set version_num = '9999'")
    with pytest.raises(RunError, match="was written by a newer edgeloop; update edgeloop"):
        Ledger.open(url)


def test_another_programs_database_is_left_alone(url: str) -> None:
    execute(url, "create table recipes (name text)")
    with pytest.raises(RunError, match="is another program's database"):
        Ledger.open(url)
    with pytest.raises(ProgrammingError if "postgres" in url else OperationalError):
        rows(url, "select * from runs")
    assert rows(url, "select * from recipes") == []


@SQLITE
def test_a_run_waits_until_another_program_lets_go(url: str) -> None:
    with begun(url) as ledger:
        ledger.set_lock_timeout()
        other = sqlite3.connect(file_of(url), isolation_level=None, check_same_thread=False)
        other.execute("begin immediate")
        letting_go = threading.Timer(1.0, other.execute, ("rollback",))
        letting_go.start()
        ledger.record(0, "a", "digest", b"payload")
        letting_go.join()
        other.close()
        assert ledger.recall(0) == {"a": b"payload"}


@SQLITE
def test_a_database_locked_by_another_program_is_named(url: str) -> None:
    with begun(url) as ledger:
        other = sqlite3.connect(file_of(url), isolation_level=None)
        other.execute("begin immediate")
        with pytest.raises(TakenError, match="is locked by another program"):
            ledger.record(0, "a", "digest", b"payload")
        other.execute("rollback")
        other.close()
        ledger.record(0, "a", "digest", b"payload")
        assert ledger.recall(0) == {"a": b"payload"}


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="use a folder that exists"):
        Ledger.open(f"sqlite:///{tmp_path / 'nowhere' / 'ledger.sqlite'}")


def test_a_folder_is_no_database(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="cannot be opened"):
        Ledger.open(f"sqlite:///{tmp_path}")


@SQLITE
@pytest.mark.skipif(os.geteuid() == 0, reason="root may write what nobody may")
def test_an_unwritable_file_is_refused(url: str) -> None:
    begun(url).close()
    file_of(url).chmod(0o400)
    with pytest.raises(RunError, match="cannot be written"):
        Ledger.open(url)


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("no url", "is no database URL"),
        ("sqlite://", "names no file"),
        ("sqlite:///:memory:", "names no file"),
        ("oceanbase://user:secret@host/x", "there is no dialect for"),
    ],
)
def test_a_wrong_url_is_told_without_its_password(url: str, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem) as caught:
        Ledger.open(url)
    assert "secret" not in str(caught.value)


def test_a_closed_ledger_says_so(url: str) -> None:
    ledger = begun(url)
    assert ledger.is_open
    ledger.close()
    ledger.close()
    assert not ledger.is_open
    with pytest.raises(RunError, match="is closed"):
        ledger.history()
    with pytest.raises(RunError, match="is closed"):
        ledger.finish()


def test_at_least_one_round_is_kept(url: str) -> None:
    with pytest.raises(ConfigError, match="keep_rounds"):
        Ledger.open(url, keep_rounds=0)


def test_one_thread_writes_while_others_read(url: str) -> None:
    failures: list[BaseException] = []
    done = threading.Event()

    def read(ledger: Ledger) -> None:
        seen = 0
        try:
            while not done.is_set():
                run_state = ledger.run_state()
                assert run_state is not None
                assert run_state[0] >= seen
                seen = run_state[0]
                assert run_state[1] == b"state %d" % seen
                assert len(ledger.history()) >= seen
        except BaseException as error:  # told by the test's own thread
            failures.append(error)

    with begun(url) as ledger:
        readers = [threading.Thread(target=read, args=(ledger,)) for _ in range(2)]
        for reader in readers:
            reader.start()
        for number in range(60):
            ledger.record(number, "a", "digest", b"payload")
            ledger.close_round(number, b"state %d" % (number + 1), b"broadcast", COUNTS)
        done.set()
        for reader in readers:
            reader.join()
    assert failures == []


def test_an_upload_that_is_dropped_makes_room_for_another(url: str) -> None:
    with begun(url) as ledger:
        ledger.record(0, "a", "digest", b"payload")
        ledger.record(0, "b", "digest", b"payload")
        ledger.drop(0, "a")
        ledger.drop(0, "stranger")
        ledger.record(0, "a", "another", b"other")
        assert ledger.recall(0) == {"a": b"other", "b": b"payload"}


def test_where_a_run_stood_before_is_there_until_it_is_pruned(url: str) -> None:
    with begun(url, keep_rounds=1) as ledger:
        for number in range(3):
            state, broadcast = f"state {number + 1}".encode(), f"broadcast {number + 1}".encode()
            ledger.close_round(number, state, broadcast, COUNTS)
        assert ledger.run_state(3) == (2, b"state 2", b"broadcast 2")
        assert ledger.run_state(2) is None


@SQLITE
@pytest.mark.parametrize("size", [2000, 20_000])
def test_what_was_pruned_leaves_room_for_what_comes(url: str, size: int) -> None:
    """A row of an upload takes a few hundred bytes for ever, and not what its payload took."""
    rounds, devices, sizes = 30, 8, []
    with begun(url) as ledger:
        for number in range(rounds):
            for device in range(devices):
                ledger.record(number, f"device-{device}", f"{number} {device}", bytes(size))
            ledger.close_round(number, b"state", b"broadcast", COUNTS)
            with closing(sqlite3.connect(file_of(url))) as connection:
                (pages,) = connection.execute("pragma page_count").fetchone()
                (page,) = connection.execute("pragma page_size").fetchone()
            sizes.append(pages * page)
        assert ledger.recall(rounds - 1).keys() == {f"device-{n}" for n in range(devices)}
        assert ledger.recall(0) == {}
    assert execute(url, "select count(*), sum(size) from uploads") == [
        (rounds * devices, rounds * devices * size)
    ]
    grown = sizes[-1] - sizes[9]
    assert grown < 600 * devices * (rounds - 10)
