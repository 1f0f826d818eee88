"""Copies what a stack must not lose, while it runs: devices, then ledgers, then its authority."""

import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from cloud.stack.layout import Layout
from cloud.stack.services import Service
from edgeloop.errors import ConfigError, RunError, TakenError
from edgeloop.runtime import atomic_files

PASSES = 20
"""Looks at a folder whose files come and go, before it is given up."""

_DATABASE = b"SQLite format 3\x00"
_OF_A_PROCESS = (".lock", "-wal", "-shm", "-journal")
"""Ends of the names of files that mean nothing without the process that has them open."""


@dataclass(frozen=True)
class Source:
    """Something to copy.

    Attributes:
        path: where it is, a file or a folder.
        place: where it goes in the backup.
    """

    path: Path
    place: Path


def sources(layout: Layout) -> Iterator[Source]:
    """Yield what a stack must not lose, in the order in which it is to be copied.

    Devices come first: restored, a device must not be ahead of its aggregator's ledger.
    """
    for kind, services in (("agents", layout.agents), ("aggregators", layout.aggregators)):
        for service in services:
            yield from _of_service(service, kind, layout.settings.folder)
    for name in ("authority", "identities", "control/tasks", "control/wanted"):
        yield Source(layout.settings.folder / name, Path(name))


def _of_service(service: Service, kind: str, folder: Path) -> Iterator[Source]:
    own = Path(service.checked.folder).absolute()
    if service.door == "aggregator":
        file = service.checked.ledger_file()
        if file is not None and not file.is_relative_to(own):
            yield Source(file, Path("elsewhere", kind, service.name, file.name))
    inside = own.is_relative_to(folder.absolute())
    place = own.relative_to(folder.absolute()) if inside else Path("elsewhere", kind, service.name)
    yield Source(own, place)


def make(layout: Layout, config: Path, target: Path, say: Callable[[str], None]) -> None:
    """Back a stack up into a new folder, which is there when all of it is.

    Args:
        layout: of the stack.
        config: its file, which is copied, too.
        target: the folder.
        say: is given a line about everything that somebody has to do by hand.

    Raises:
        ConfigError: if there is nothing to back up, or the folder is in what is to be copied.
        TakenError: if there is something in the folder.
        RunError: if it cannot be written, or what is copied cannot be read.
    """
    target, found = target.absolute(), [each for each in sources(layout) if each.path.exists()]
    _check(found, layout, target)
    building = target.with_name(f".{target.name}.new")
    with atomic_files.writing(target):
        if building.exists():  # of a backup that was killed
            shutil.rmtree(building)
        building.mkdir(parents=True, mode=0o700)
        for source in found:
            _copy(source.path, building / source.place)
        shutil.copy2(config, building / config.name)
        building.replace(target)
        atomic_files.sync(target.parent)
    _say_what_is_left(layout, found, say)


def _check(found: list[Source], layout: Layout, target: Path) -> None:
    if not found:
        folder = str(layout.settings.folder)
        raise ConfigError(folder, "has nothing to back up yet", "start it: edgeloop up")
    for source in found:
        if target.is_relative_to(source.path.absolute()):
            problem = f"is in {source.path}, which is to be copied"
            raise ConfigError(f"folder {target}", problem, "name another one")
    if target.exists() and not (target.is_dir() and atomic_files.is_empty(target)):
        raise TakenError(f"folder {target}", "is not empty", "name another one, or remove it")


def _say_what_is_left(layout: Layout, found: list[Source], say: Callable[[str], None]) -> None:
    for source in found:
        if source.place.parts[0] == "elsewhere":
            say(f"{source.place} was at {source.path}: put it back there by hand")
    for service in layout.aggregators:
        if service.checked.ledger_file() is None:
            say(f"the ledger of {service.name} is in a server's database: dump it now, after this")


def _copy(source: Path, target: Path) -> None:
    """Copy a file or a folder whose files may come and go meanwhile."""
    target.parent.mkdir(parents=True, exist_ok=True)
    for _ in range(PASSES):
        try:
            return _copy_once(source, target)
        except FileNotFoundError:  # replaced or removed since it was listed: look again
            if target.is_dir():
                shutil.rmtree(target)
    raise RunError(str(source), "changes faster than it can be copied", "stop its process first")


def _copy_once(source: Path, target: Path) -> None:
    if source.is_symlink():
        target.symlink_to(source.readlink())
    elif source.is_dir():
        target.mkdir()
        # A database first: files of later rounds are made again, those of earlier ones never.
        for path in sorted(source.iterdir(), key=lambda each: (each.suffix != ".sqlite", each)):
            if not (atomic_files.is_unfinished(path) or path.name.endswith(_OF_A_PROCESS)):
                _copy_once(path, target / path.name)
        shutil.copystat(source, target)
        atomic_files.sync(target)
    elif source.is_file():
        if _is_database(source):
            _copy_database(source, target)
        else:
            shutil.copy2(source, target)
        atomic_files.sync(target)
    elif not source.exists():
        raise FileNotFoundError(source)


def _is_database(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(_DATABASE)) == _DATABASE


def _copy_database(source: Path, target: Path) -> None:
    """Copy one moment of a database that somebody writes."""
    shutil.copy2(source, target)  # its owner's rights; the content is replaced
    target.write_bytes(b"")
    try:
        opened = sqlite3.connect(f"file:{quote(str(source))}?mode=ro", uri=True)
        with closing(opened) as database, closing(sqlite3.connect(target)) as copy:
            database.backup(copy)
    except sqlite3.Error as error:
        remedy = "see whether its process runs, and try again"
        raise RunError(str(source), f"cannot be copied ({error})", remedy) from error
