"""The record of a run: who took part in which round, from its ledger."""

from collections import defaultdict
from pathlib import Path

from sqlalchemy import Table, select

from cloud.aggregator import standing
from cloud.aggregator.ledger import Ledger
from cloud.aggregator.membership import LedgerMembers, check_begun, held_run
from cloud.aggregator.migrations import asked, late, uploads
from cloud.aggregator.settings import TaskSettings
from cloud.aggregator.stored_uploads import answered_round
from edgeloop import algorithms
from edgeloop.participation import EVERYBODY
from edgeloop.protocol import wire
from edgeloop.protocol.task import Contract
from edgeloop.record import Record, RecordedMember, RecordedRound
from edgeloop.runtime import atomic_files

FILE = "participation.json"
"""In the task's folder, once the run has ended."""


def record_of(
    contract: Contract, ledger: Ledger, knowledge: str = "", refuse_outliers: bool = False
) -> Record:
    """Return who took part in which round of the run that a ledger has adopted."""
    trained, drawn = (_by_round(ledger, table) for table in (late, asked))
    bases = _bases(ledger)
    counted = {(base, name) for each in bases.values() for name, base in each.items()}
    rounds = [
        RecordedRound(
            asked=None if EVERYBODY in drawn[n] or not drawn[n] else tuple(sorted(drawn[n])),
            answered=tuple(sorted(bases[n])),
            late=tuple(sorted(name for name in trained[n] if (n, name) not in counted)),
            bases={name: base for name, base in sorted(bases[n].items()) if base != n},
        )
        for n in (each.number for each in ledger.history())
    ]
    return Record(
        task=contract.task,
        run=contract.run,
        algorithm=contract.algorithm,
        schema_version=2 if any(each.bases for each in rounds) else 1,
        rounds=tuple(rounds),
        members=tuple(RecordedMember(**vars(each)) for each in LedgerMembers(ledger).all()),
        knowledge_sha256=knowledge,
        refuse_outliers=refuse_outliers,
        robust=contract.robust,
    )


def _bases(ledger: Ledger) -> dict[int, dict[str, int]]:
    """Return by round whose answers count in it, and the round that each answers."""
    found: dict[int, dict[str, int]] = defaultdict(dict)
    columns = uploads.c.round, uploads.c.device, answered_round().label("base")
    query = select(*columns).where(uploads.c.run == ledger.run)
    with ledger.reading() as connection:
        for row in connection.execute(query):
            found[row.round][row.device] = row.base
    return found


def _by_round(ledger: Ledger, table: Table) -> dict[int, set[str]]:
    found: dict[int, set[str]] = defaultdict(set)
    query = select(table.c.round, table.c.device).where(table.c.run == ledger.run)
    with ledger.reading() as connection:
        for row in connection.execute(query):
            found[row.round].add(row.device)
    return found


def write(path: Path, record: Record) -> None:
    """Write a record to a file."""
    with atomic_files.writing(path.parent):
        atomic_files.write_checked_json(path, record.model_dump(mode="json", exclude_none=True))


def export(settings: TaskSettings, path: Path) -> Record:
    """Write the record of a stopped or finished task's run to a file.

    Raises:
        RunError: if the ledger holds no run of the task, or cannot be used.
        TakenError: if the task's aggregator is running.
    """
    check_begun(settings, "start its aggregator first")
    with Ledger.open(settings.ledger()) as ledger:
        contract = held_run(settings.name, ledger)
        knowledge = ""
        if ledger.finished():
            stands = standing.found(contract, algorithms.load_for_contract(contract), ledger)
            knowledge = wire.fingerprint(stands.broadcast)
        found = record_of(contract, ledger, knowledge, settings.cohort.refuses_outliers)
    write(path, found)
    return found
