"""What was done, by whom, and what became of it: rows that are only added."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from sqlalchemy import Connection, insert, select

from cloud.authority.database import as_utc
from cloud.authority.migrations import audit
from edgeloop.runtime.logs import one_line

Outcome = Literal["done", "refused"]

_SHORT, _LONG = 200, 1000


@dataclass(frozen=True)
class Entry:
    """One act.

    Attributes:
        at: when.
        actor: who: an operator's name, a token's id, a device, with its address.
        act: "enrol", "renew", "revoke", "make token" and the like.
        subject: whom or what it was about.
        outcome: whether it was done or refused.
        detail: why, or how.
    """

    at: datetime
    actor: str
    act: str
    subject: str
    outcome: str
    detail: str


def note(  # noqa: PLR0913 - an entry's fields
    connection: Connection,
    at: datetime,
    actor: str,
    act: str,
    subject: str,
    *,
    outcome: Outcome = "done",
    detail: str = "",
) -> None:
    """Write an act within a transaction; what strangers have sent is escaped, and cut."""
    row = {
        "at": at,
        "actor": one_line(actor)[:_SHORT],
        "act": act,
        "subject": one_line(subject)[:_SHORT],
        "outcome": outcome,
        "detail": one_line(detail)[:_LONG],
    }
    connection.execute(insert(audit).values(**row))


def newest(connection: Connection, most: int) -> Sequence[Entry]:
    """Return the newest acts, the last first."""
    query = select(audit).order_by(audit.c.number.desc()).limit(most)
    rows = connection.execute(query)
    return [Entry(as_utc(r.at), r.actor, r.act, r.subject, r.outcome, r.detail) for r in rows]
