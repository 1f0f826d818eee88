"""`edgeloop backup`: a whole copy of a stack whose files come and go."""

import itertools
import shutil
import sqlite3
import stat
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from cloud.stack import backup, control, reading
from edgeloop.cli.main import main
from edgeloop.runtime import atomic_files
from tests.cloud.stack import stacks
from tests.world import StartBroker


@pytest.fixture
def config(tmp_path: Path, start_broker: StartBroker) -> Path:
    """A stack's file; the folder has what two devices and an aggregator leave there."""
    folder = tmp_path / "stack"
    for name in stacks.DEVICES:
        own = folder / "agents" / stacks.TASK / name
        own.mkdir(parents=True)
        (own / "state.safetensors").write_bytes(name.encode())
        (own / ".state.safetensors.new").write_bytes(b"half")
    task = folder / "aggregators" / stacks.TASK
    task.mkdir(parents=True)
    (task / "run.json").write_text("{}")
    (folder / "authority").mkdir()
    control.ask(folder, stacks.TASK, "Paused")
    key = folder / "authority" / "root.key"
    key.write_text("secret")
    key.chmod(0o600)
    return stacks.write(tmp_path, stacks.table(tmp_path))


def backed_up(config: Path, target: Path) -> int:
    """Run the command; return its exit code."""
    return main(["backup", "--config", str(config), str(target)])


@contextmanager
def written(path: Path) -> Iterator[None]:
    """Have a file replaced all the time, as a device replaces its state."""
    ended = threading.Event()

    def write() -> None:
        for number in itertools.count():
            if ended.is_set():
                return
            atomic_files.write(path, str(number).encode())

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def test_devices_ledgers_authority_and_file_are_copied(config: Path, tmp_path: Path) -> None:
    ledger = tmp_path / "stack" / "aggregators" / stacks.TASK / "ledger.sqlite"
    with closing(sqlite3.connect(ledger)) as database:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("CREATE TABLE rounds (number)")
        database.execute("INSERT INTO rounds VALUES (7)")
        database.commit()
        ledger.with_name("ledger.sqlite.lock").write_text("prepared\n")
        assert backed_up(config, tmp_path / "copy") == 0  # while it is open: 7 is in the log alone
    files = {str(path.relative_to(tmp_path / "copy")) for path in (tmp_path / "copy").rglob("*.*")}
    assert files == {
        *(f"agents/{stacks.TASK}/{name}/state.safetensors" for name in stacks.DEVICES),
        f"aggregators/{stacks.TASK}/ledger.sqlite",
        f"aggregators/{stacks.TASK}/run.json",
        "authority/root.key",
        f"control/wanted/{stacks.TASK}.json",
        "stack.toml",
    }
    with closing(sqlite3.connect(tmp_path / "copy" / ledger.relative_to(tmp_path / "stack"))) as it:
        assert it.execute("SELECT number FROM rounds").fetchall() == [(7,)]
    assert stat.S_IMODE((tmp_path / "copy" / "authority" / "root.key").stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "copy").stat().st_mode) == 0o700


def test_a_device_that_writes_all_the_time_does_not_stop_it(config: Path, tmp_path: Path) -> None:
    state = tmp_path / "stack" / "agents" / stacks.TASK / "one" / "state.safetensors"
    with written(state):
        for number in range(5):
            assert backed_up(config, tmp_path / str(number)) == 0
    for number in range(5):
        copy = tmp_path / str(number) / state.relative_to(tmp_path / "stack")
        assert copy.read_bytes()
        assert [path.name for path in copy.parent.iterdir()] == [state.name]


def test_files_that_come_and_go_are_looked_at_again(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A listed file is gone when it is its turn; its successor is copied."""
    own = tmp_path / "stack" / "agents" / stacks.TASK / "one"
    copy2, moved = shutil.copy2, list[Path]()

    def copy_late(source: Path, target: Path) -> object:
        if Path(source).name == "state.safetensors" and not moved:
            moved.append((own / "state.safetensors").rename(own / "later.safetensors"))
        return copy2(source, target)

    monkeypatch.setattr(shutil, "copy2", copy_late)
    assert backed_up(config, tmp_path / "copy") == 0
    copies = (tmp_path / "copy" / own.relative_to(tmp_path / "stack")).iterdir()
    assert [path.name for path in copies] == ["later.safetensors"]


def test_what_a_killed_backup_left_is_no_backup(config: Path, tmp_path: Path) -> None:
    half = tmp_path / ".copy.new"
    half.mkdir()
    (half / "old").write_text("half")
    assert backed_up(config, tmp_path / "copy") == 0
    assert not half.exists()
    assert not (tmp_path / "copy" / "old").exists()


def test_what_is_elsewhere_is_copied_and_said(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    away, ledger = tmp_path / "away", tmp_path / "ledgers" / "floor.sqlite"
    away.mkdir()
    (away / "state.safetensors").write_bytes(b"away")
    ledger.parent.mkdir()
    with closing(sqlite3.connect(ledger)) as database:
        database.execute("CREATE TABLE rounds (number)")
        database.commit()
    agents = [stacks.device(0, folder=str(away)), stacks.device(1)]
    aggregators = [stacks.task(store=f"sqlite:///{ledger}")]
    table = stacks.table(tmp_path, agents=agents, aggregators=aggregators)
    assert backed_up(stacks.write(tmp_path, table), tmp_path / "copy") == 0
    said = capsys.readouterr().err
    kept = tmp_path / "copy" / "elsewhere"
    assert f"elsewhere/agents/one@{stacks.TASK} was at {away}: put it back there by hand" in said
    assert (kept / "agents" / f"one@{stacks.TASK}" / "state.safetensors").read_bytes() == b"away"
    assert (kept / "aggregators" / stacks.TASK / "floor.sqlite").stat().st_size
    assert f"{stacks.TASK}/floor.sqlite was at {ledger}" in said


def test_a_ledger_of_a_server_is_to_be_dumped(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    aggregators = [stacks.task(store="postgresql://nobody@127.0.0.1:1/nothing")]
    stacks.write(tmp_path, stacks.table(tmp_path, aggregators=aggregators))
    assert backed_up(config, tmp_path / "copy") == 0
    said = f"the ledger of {stacks.TASK} is in a server's database: dump it now, after this"
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("target", "code", "words"),
    [
        ("full", 73, "is not empty; name another one, or remove it"),
        ("stack/agents/shop-floor/one/copy", 2, "which is to be copied; name another one"),
        ("stack.toml", 73, "is not empty; name another one, or remove it"),
        ("stack.toml/copy", 2, "cannot be written"),
    ],
)
def test_a_folder_that_cannot_take_it_is_refused(
    config: Path,
    tmp_path: Path,
    target: str,
    code: int,
    words: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_text("mine")
    before = config.read_bytes()
    assert backed_up(config, tmp_path / target) == code
    assert words in capsys.readouterr().err
    assert config.read_bytes() == before


def test_a_stack_that_never_ran_has_nothing_to_back_up(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(tmp_path / "stack")
    assert backed_up(config, tmp_path / "copy") == 2
    assert "has nothing to back up yet; start it: edgeloop up" in capsys.readouterr().err
    assert not (tmp_path / "copy").exists()


def test_a_damaged_database_is_named(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ledger = tmp_path / "stack" / "aggregators" / stacks.TASK / "ledger.sqlite"
    ledger.write_bytes(b"SQLite format 3\x00" + b"x" * 5000)
    assert backed_up(config, tmp_path / "copy") == 2
    assert f"{ledger}: cannot be copied" in capsys.readouterr().err
    assert not (tmp_path / "copy").exists()


def test_every_source_of_a_stack_is_known(config: Path) -> None:
    places = [str(each.place) for each in backup.sources(reading.read(config))]
    agents = [f"agents/{stacks.TASK}/{name}" for name in stacks.DEVICES]
    assert places == [
        *agents,
        f"aggregators/{stacks.TASK}",
        "authority",
        "identities",
        "control/tasks",
        "control/wanted",
    ]
