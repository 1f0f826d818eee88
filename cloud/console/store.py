"""What the server knows, in its database: written by looks, read by whoever asks."""

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar

from pydantic import BaseModel
from sqlalchemy import URL, Column, Connection, Row, Select, Table, insert, select, tuple_

from cloud.authority.database import Database, as_utc
from cloud.console.migrations import (
    audit,
    devices,
    models,
    refusals,
    rounds,
    runs,
    tasks,
    upgrade,
)
from edgeloop.errors import ConfigError, EdgeloopError
from edgeloop.remote.models import (
    AuditEntry,
    Device,
    Model,
    Page,
    Refusal,
    Round,
    Run,
    Task,
)
from edgeloop.runtime.logs import one_line

M = TypeVar("M", bound=BaseModel)
_SHORT, _LONG = 200, 1000


class UnknownError(EdgeloopError):
    """The server knows no such thing."""


class Store:
    """The database of a server; any thread may ask.

    Args:
        url: as SQLAlchemy writes it.

    Raises:
        ConfigError: if it is no URL of a database that can be used.
        RunError: if the database cannot be used as it is.
        StorageError: if it cannot be reached now; so do all methods.
    """

    def __init__(self, url: str | URL) -> None:
        self.database = Database(url, upgrade)

    def close(self) -> None:
        """Part from the database."""
        self.database.close()

    def tasks(self, after: str | None = None, limit: int = 100) -> Page[Task]:
        """Return tasks by their names."""
        return self.page(Task, select(tasks), [tasks.c.name], after, limit)

    def task(self, name: str) -> Task:
        """Return a task.

        Raises:
            UnknownError: if there is none of that name.
        """
        return self.one(Task, select(tasks).where(tasks.c.name == name), name, "task")

    def runs(self, task: str, after: str | None = None, limit: int = 100) -> Page[Run]:
        """Return the runs of a task, by their identities."""
        query = select(runs).where(runs.c.task == task)
        return self.page(Run, query, [runs.c.run], after, limit)

    def rounds(self, run: str, after: str | None = None, limit: int = 100) -> Page[Round]:
        """Return the closed rounds of a run, from the first."""
        query = select(rounds).where(rounds.c.run == run)
        return self.page(Round, query, [rounds.c.number], after, limit)

    def devices(
        self,
        task: str | None = None,
        state: str | None = None,
        after: str | None = None,
        limit: int = 100,
    ) -> Page[Device]:
        """Return devices, of a task or of all, in a state or in any."""
        query = select(devices)
        if task is not None:
            query = query.where(devices.c.task == task)
        if state is not None:
            query = query.where(devices.c.state == state)
        return self.page(Device, query, [devices.c.task, devices.c.name], after, limit)

    def device(self, task: str, name: str) -> Device:
        """Return a device of a task.

        Raises:
            UnknownError: if there is none of that name in it.
        """
        query = select(devices).where(devices.c.task == task, devices.c.name == name)
        return self.one(Device, query, name, "device")

    def models(
        self, task: str | None = None, after: str | None = None, limit: int = 100
    ) -> Page[Model]:
        """Return the files that tasks have made."""
        query = select(models) if task is None else select(models).where(models.c.task == task)
        keys = [models.c.task, models.c.device, models.c.file]
        return self.page(Model, query, keys, after, limit)

    def refusals(
        self, task: str | None = None, after: str | None = None, limit: int = 100
    ) -> Page[Refusal]:
        """Return answers that were not taken, the newest first."""
        query = select(refusals)
        if task is not None:
            query = query.where(refusals.c.task == task)
        return self.page(Refusal, query, [refusals.c.number], after, limit, newest=True)

    def audit(self, after: str | None = None, limit: int = 100) -> Page[AuditEntry]:
        """Return what was done, the newest first."""
        return self.page(AuditEntry, select(audit), [audit.c.number], after, limit, newest=True)

    def note(self, actor: str, act: str, subject: str, outcome: str, detail: str = "") -> None:
        """Write down an act; see `note`."""
        with self.database.writing() as connection:
            note(connection, actor, act, subject, outcome, detail)

    def one(self, kind: type[M], query: Select[Any], name: str, what: str) -> M:
        """Return the one row of a query.

        Raises:
            UnknownError: if there is none.
        """
        with self.database.reading() as connection:
            row = connection.execute(query).one_or_none()
        if row is None:
            raise UnknownError(name[:80], f"is no {what} here", f"list the {what}s")
        return kind.model_validate(_facts(row))

    def page(
        self,
        kind: type[M],
        query: Select[Any],
        keys: Sequence[Column[Any]],
        after: str | None,
        limit: int,
        *,
        newest: bool = False,
    ) -> Page[M]:
        """Return a part of a query's rows, in the order of some of its columns.

        Raises:
            ConfigError: if `after` is nothing that such a part gave as `next`.
        """
        if after is not None:
            last = tuple_(*keys), tuple_(*_cursor(after, keys))
            query = query.where(last[0] < last[1] if newest else last[0] > last[1])
        order = [key.desc() if newest else key for key in keys]
        with self.database.reading() as connection:
            rows = connection.execute(query.order_by(*order).limit(limit + 1)).all()
        following = None
        if len(rows) > limit:
            following = _text([getattr(rows[limit - 1], key.name) for key in keys])
        found = tuple(kind.model_validate(_facts(row)) for row in rows[:limit])
        return Page[kind](items=found, next=following)  # type: ignore[valid-type]  # a variable


def note(
    connection: Connection, actor: str, act: str, subject: str, outcome: str, detail: str
) -> None:
    """Write down an act in a transaction; what strangers have sent is escaped, and cut."""
    row = {
        "at": datetime.now(UTC),
        "actor": one_line(actor)[:_SHORT],
        "act": one_line(act)[:32],
        "subject": one_line(subject)[:_SHORT],
        "outcome": outcome,
        "detail": one_line(detail)[:_LONG],
    }
    connection.execute(insert(audit).values(**row))


def _facts(row: Row[Any]) -> Mapping[str, Any]:
    """Return a row's columns; SQLite keeps no time zones."""
    return {
        key: as_utc(value) if isinstance(value, datetime) else value
        for key, value in row._mapping.items()
    }


def _text(keys: Sequence[Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(keys).encode()).decode().rstrip("=")


def _cursor(text: str, keys: Sequence[Column[Any]]) -> list[Any]:
    """Read what a list gave as `next`.

    Raises:
        ConfigError: if it gave no such thing.
    """
    try:
        padded = text.encode("ascii") + b"=" * (-len(text) % 4)
        found = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
    except (binascii.Error, ValueError, RecursionError):
        found = None
    if not isinstance(found, list) or len(found) != len(keys) or not _fits(found, keys):
        raise ConfigError("after", "is nothing that this list gave as next", "begin without it")
    return found


def _fits(found: Sequence[Any], keys: Sequence[Column[Any]]) -> bool:
    for value, key in zip(found, keys, strict=True):
        if type(value) is not key.type.python_type:
            return False
        if isinstance(value, int) and abs(value) >= 1 << 31:
            return False
        if isinstance(value, str) and ("\0" in value or not value.isprintable()):
            return False
    return True


def table_row(table: Table, told: BaseModel, **more: Any) -> dict[str, Any]:
    """Return what a table has columns for of something that was said, and more."""
    facts = told.model_dump()
    named = {column.name: column for column in table.columns if column.name in facts}
    return {name: _fitting(column, facts[name]) for name, column in named.items()} | more


def _fitting(column: Column[Any], value: Any) -> Any:
    """Return a value as each database takes it: PostgreSQL has lengths, and no text with a NUL."""
    if not isinstance(value, str):
        return value
    return value.replace("\0", "\N{REPLACEMENT CHARACTER}")[: getattr(column.type, "length", None)]
