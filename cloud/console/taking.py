"""Takes what a look has found into the server's database."""

from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, Table, and_, bindparam, delete, insert, select, update

from cloud.console.migrations import devices, models, refusals, rounds, runs, tasks
from cloud.console.reported import Reported, ReportedDevice, ReportedRefusal, ReportedRound
from cloud.console.sources import Sighting
from cloud.console.store import Store, table_row
from edgeloop.remote.models import Model

GONE = "it is there no more"
"""Why a task waits that was deleted where it was run."""


def take(store: Store, source: str, seen: Sequence[Sighting]) -> list[str]:
    """Write what was found; return the names of the tasks that have changed since."""
    changed = []
    for each in seen:
        with store.database.writing() as connection:
            if _take_task(connection, source, each):
                changed.append(each.name)
            if each.reported is not None:
                _take_report(connection, each.name, each.reported)
    return changed


def take_gone(
    store: Store, source: str, has_gone: Callable[[str], bool], seen: Collection[str]
) -> list[str]:
    """Write of which tasks nothing is left where they were run; return their names.

    Args:
        store: takes it.
        source: where they were run.
        has_gone: whether one that was not seen is there no more.
        seen: that are still there.
    """
    lasting = ("Finished", "Cancelled")
    of_source = select(tasks.c.name).where(
        tasks.c.source == source, tasks.c.state.not_in(lasting), tasks.c.waits != GONE
    )
    with store.database.reading() as connection:
        held = list(connection.scalars(of_source))
    gone = [each for each in held if each not in seen and has_gone(each)]
    if gone:
        which = and_(tasks.c.source == source, tasks.c.name.in_(gone))
        with store.database.writing() as connection:
            connection.execute(
                update(tasks).where(which).values(state="Away", waits=GONE, online=0)
            )
    return gone


def take_models(store: Store, task: str, found: Iterable[Model]) -> None:
    """Write which files a task has made; those that are gone are forgotten."""
    rows = [each.model_dump() for each in found]
    with store.database.writing() as connection:
        connection.execute(delete(models).where(models.c.task == task))
        if rows:
            connection.execute(insert(models), rows)


def evicted(store: Store, task: str, device: str) -> None:
    """Write that a device was sent away."""
    row = and_(devices.c.task == task, devices.c.name == device)
    with store.database.writing() as connection:
        connection.execute(update(devices).where(row).values(evicted=True))


def _take_task(connection: Connection, source: str, seen: Sighting) -> bool:
    held = connection.execute(select(tasks).where(tasks.c.name == seen.name)).one_or_none()
    row: dict[str, Any] = {
        "source": source,
        "state": seen.state,
        "algorithm": seen.algorithm,
        "rounds": seen.rounds,
        "waits": seen.waits,
    }
    if seen.reported is not None:
        row |= _progress(seen.reported)
    now = datetime.now(UTC)
    if held is None:
        empty = {"run": "", "phase": "", "round": 0, "devices": 0, "online": 0, "accuracy": None}
        connection.execute(insert(tasks).values(name=seen.name, seen=now, **(empty | row)))
        return True
    different = any(held._mapping[key] != value for key, value in row.items())
    connection.execute(update(tasks).where(tasks.c.name == seen.name).values(seen=now, **row))
    return different


def _progress(reported: Reported) -> dict[str, Any]:
    present = sum(each.state not in ("offline", "away", "unknown") for each in reported.devices)
    return {
        "run": reported.run,
        "phase": reported.phase,
        "round": reported.round,
        "accuracy": reported.accuracy,
        "devices": len(reported.devices) + reported.devices_left_out,
        "online": present,
    }


def _take_report(connection: Connection, task: str, reported: Reported) -> None:
    _take_run(connection, task, reported)
    _take_rounds(connection, reported.run, _with_spread(reported))
    _take_devices(connection, task, reported.devices)
    _take_refusals(connection, task, reported.refusals)
    if reported.evicted:
        gone = and_(devices.c.task == task, devices.c.name.in_(reported.evicted))
        connection.execute(update(devices).where(gone).values(evicted=True))


def _with_spread(reported: Reported) -> Sequence[ReportedRound]:
    """Return the closed rounds, the last one with the spread of the devices' accuracies."""
    found = sorted(each.accuracy for each in reported.devices if each.accuracy is not None)
    history = reported.history
    if not history or not found or history[-1].median is not None:
        return history
    low, median, high = (found[round(share * (len(found) - 1))] for share in (0.1, 0.5, 0.9))
    last = history[-1].model_copy(update={"low": low, "median": median, "high": high})
    return (*history[:-1], last)


def _take_run(connection: Connection, task: str, reported: Reported) -> None:
    now = datetime.now(UTC)
    held = connection.execute(select(runs).where(runs.c.run == reported.run)).one_or_none()
    if held is None:
        row = {"run": reported.run, "task": task, "algorithm": reported.algorithm}
        connection.execute(insert(runs).values(**row, rounds=reported.rounds, begun=now))
    ended = reported.phase == "finished"
    finished = (held.finished if held is not None and held.finished else now) if ended else None
    row_of = update(runs).where(runs.c.run == reported.run)
    connection.execute(row_of.values(rounds=reported.rounds, finished=finished))


def _take_rounds(connection: Connection, run: str, history: Sequence[ReportedRound]) -> None:
    """Write rounds; what an aggregator has forgotten of one since is kept."""
    held = {row.number: row for row in connection.execute(select(rounds).filter_by(run=run))}
    new, old = [], []
    for each in history:
        row = table_row(rounds, each, run=run) | {"measures": dict(each.measures or {}) or None}
        before = held.get(each.number)
        if before is None:
            new.append(row)
            continue
        merged = {k: before._mapping[k] if value is None else value for k, value in row.items()}
        if merged != dict(before._mapping):
            old.append(merged)
    _write(connection, rounds, ("run", "number"), new, old)


def _take_devices(connection: Connection, task: str, said: Sequence[ReportedDevice]) -> None:
    names = select(devices.c.name).where(devices.c.task == task)
    held = set(connection.scalars(names))
    now = datetime.now(UTC)
    every = [table_row(devices, each, task=task, seen=now) for each in said]
    new = [{**row, "evicted": False} for row in every if row["name"] not in held]
    _write(
        connection, devices, ("task", "name"), new, [row for row in every if row["name"] in held]
    )


def _take_refusals(connection: Connection, task: str, said: Sequence[ReportedRefusal]) -> None:
    known = select(refusals.c.serial).where(refusals.c.serial.in_([each.serial for each in said]))
    held = set(connection.scalars(known))
    new = [table_row(refusals, each, task=task) for each in said if each.serial not in held]
    _write(connection, refusals, (), new, [])


def _write(
    connection: Connection,
    table: Table,
    keys: Sequence[str],
    new: Sequence[dict[str, Any]],
    old: Sequence[dict[str, Any]],
) -> None:
    if new:
        connection.execute(insert(table), new)
    if old:
        found = and_(*(table.c[key] == bindparam(f"_{key}") for key in keys))
        rows = [{f"_{k}" if k in keys else k: v for k, v in row.items()} for row in old]
        others: dict[str, Any] = {k: bindparam(k) for k in old[0] if k not in keys}
        connection.execute(update(table).where(found).values(**others), rows)
