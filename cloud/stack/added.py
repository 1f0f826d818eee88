"""Tasks that were added to a stack from outside its file: `control/tasks/NAME.toml` in its folder.

Each is an `[[aggregators]]` table. A stack that runs takes it up within a second, and each start
reads it with the file's own. Where the file has a task of that name, the file counts.
"""

import tomllib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import tomli_w

from cloud.stack.layout import Layout
from cloud.stack.own_authority import OwnAuthority
from cloud.stack.part import Part
from cloud.stack.services import Service, aggregator_service, check_algorithm
from cloud.stack.settings import Table
from edgeloop.errors import ConfigError, EdgeloopError, TakenError
from edgeloop.runtime import atomic_files
from edgeloop.runtime.ports import free_ports, listens

OF_THE_MACHINE = ("folder", "store", "store_file", "broker", "trace", "authority", "ingest")
"""Tables and keys that are the stack's own business: its file has them."""

_TRIES = 20  # free ports that are looked at


def place(folder: Path) -> Path:
    """Return where the files of added tasks are."""
    return folder / "control" / "tasks"


def files(folder: Path) -> list[Path]:
    """Return the files of added tasks, by their names."""
    return sorted(place(folder).glob("*.toml"))


def service(layout: Layout, table: Table, where: str) -> Service:
    """Return an added task's aggregator.

    Raises:
        ConfigError: naming a key that is wrong, or not to be given from outside.
    """
    if own := sorted(key for key in OF_THE_MACHINE if key in table):
        remedy = "leave it out, or add the task to the stack's file by hand"
        raise ConfigError(f"{where}: {own[0]}", "is the stack's own business", remedy)
    if set(table.get("http", {})) - {"port"}:
        raise ConfigError(f"{where}: http", "has more than port", "give port, or nothing")
    stack = layout.settings.folder
    found = aggregator_service(
        table, where, stack, layout.broker, layout.generator, layout.authority
    )
    check_algorithm(found.checked)
    return replace(found, is_added=True)


def add(layout: Layout, table: Table, before: Callable[[str], None]) -> Service:
    """Add a task to a stack; one that runs takes it up within a second.

    Args:
        layout: of the stack.
        table: as `[[aggregators]]` has it; a free port is chosen where it has none.
        before: called with the task's name when all is right, before it is there.

    Raises:
        ConfigError: if a key or a value is wrong.
        TakenError: if there is a task of that name, or the port is taken.
        RunError: if the folder cannot be written.
    """
    chosen = {**table, "http": table.get("http") or {"port": _free_port(layout)}}
    found = service(layout, chosen, "task")
    folder, name = layout.settings.folder, found.checked.name
    path = place(folder) / f"{name}.toml"
    if path.exists() or name in {each.checked.name for each in layout.aggregators}:
        raise TakenError(name, "is a task of this stack already", "give another name")
    _check_port(layout, found.checked.http.port)
    before(name)
    with atomic_files.writing(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic_files.write(path, tomli_w.dumps(chosen).encode(), 0o600)
    return found


def read(layout: Layout) -> Iterator[Service]:
    """Yield the aggregators of added tasks that the stack's file has not.

    Raises:
        ConfigError: naming a file that is damaged, or not right any more.
    """
    known = {each.checked.name for each in layout.aggregators}
    for path in files(layout.settings.folder):
        if path.stem not in known:
            yield service(layout, _table(path), str(path))


def _table(path: Path) -> Table:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(str(path), f"cannot be read ({error})", "remove it") from error


class Newcomers:
    """The tasks that are added while a stack runs.

    Args:
        layout: of the stack, as it was started.
        own: the stack's own authority, if it has one.
        say: called with a line on what cannot be taken up.
    """

    def __init__(
        self, layout: Layout, own: OwnAuthority | None, say: Callable[[str], None]
    ) -> None:
        self._layout, self._own, self._say = layout, own, say
        self._seen = {each.checked.name for each in layout.aggregators}

    def parts(self) -> list[Part]:
        """Return the parts of tasks that have been added since the last time."""
        folder = self._layout.settings.folder.absolute()
        found = []
        for path in files(folder):
            if path.stem in self._seen:
                continue
            self._seen.add(path.stem)
            try:
                new = service(self._layout, _table(path), str(path))
                if self._own is not None:
                    self._own.take(new.checked.name)
                found.append(new.part(folder / "config"))
            except EdgeloopError as error:
                self._say(f"does not take up {path.stem}: {error}")
        return found


def _free_port(layout: Layout) -> int:
    taken = {port for _, _, port in layout.ports()}
    return next(port for port in free_ports(_TRIES) if port not in taken)


def _check_port(layout: Layout, port: int) -> None:
    taken = {number: key for key, _, number in layout.ports()}
    if not port:
        raise ConfigError("task: http.port", "is 0, and the stack must know it", "give another")
    if port in taken or listens(port, "127.0.0.1"):
        raise TakenError("task: http.port", f"{port} is in use", "give another, or none")
