"""Tokens that devices enrol with: random, counted, with an end; the database has digests only."""

import hashlib
import json
import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from fnmatch import fnmatchcase
from typing import Any

from sqlalchemy import Connection, insert, select, update

from cloud.authority.database import as_utc
from cloud.authority.identity import check_name, check_task
from cloud.authority.migrations import tokens
from edgeloop.errors import ConfigError

LIFE = timedelta(days=1)
"""Of a token, unless somebody says how long."""

MOST_USES = 100_000
MOST_LABELS = 32

_START = "elt-"
"""So that a token is known for one, by people and by scanners for secrets."""

_PATTERN = re.compile("[A-Za-z0-9*?][A-Za-z0-9._*?-]{0,63}")
_LABEL = re.compile("[A-Za-z0-9][A-Za-z0-9._/-]{0,62}")


@dataclass(frozen=True)
class Admission:
    """What a token allows.

    Attributes:
        task: that its devices take part in.
        names: a device's name, or a pattern of names: `*` and `?`.
        uses: how many devices it admits.
        life: for how long it can be used.
        labels: that its devices get.
    """

    task: str
    names: str
    uses: int = 1
    life: timedelta = LIFE
    labels: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_for_one(self) -> bool:
        """Whether it names its device."""
        return not set(self.names) & set("*?")

    def check(self) -> None:
        """Refuse what admits nobody, or more than was meant.

        Raises:
            ConfigError: naming the part that is wrong.
        """
        check_task("task", self.task)
        if self.is_for_one:
            check_name("name", self.names)
        elif not _PATTERN.fullmatch(self.names):
            remedy = "write it like press-*"
            raise ConfigError("names", f"{self.names!r} is no pattern of names", remedy)
        if not 1 <= self.uses <= MOST_USES:
            raise ConfigError("uses", f"is {self.uses}", f"give a number from 1 to {MOST_USES}")
        if self.is_for_one and self.uses > 1:
            raise ConfigError("uses", "is more than one, of a name", "give a pattern, or one use")
        if not timedelta(0) < self.life <= timedelta(days=366):
            raise ConfigError("expires", "is no time within a year", "give hours, such as 24")
        if len(self.labels) > MOST_LABELS:
            raise ConfigError("labels", "are too many", f"give at most {MOST_LABELS}")
        for key, value in self.labels.items():
            if not _LABEL.fullmatch(key) or not (value == "" or _LABEL.fullmatch(value)):
                problem = f"{key}={value} is none"
                raise ConfigError("labels", problem, "write it like site=hall-3")


@dataclass(frozen=True)
class Token:
    """What is known of a token.

    Attributes:
        id: names it; no secret.
        admission: what it allows.
        used: how many devices it has admitted.
        created: when.
        expires: when it ends.
        revoked: when it was taken back, if it was.
    """

    id: str
    admission: Admission
    used: int
    created: datetime
    expires: datetime
    revoked: datetime | None

    def obstacle(self, now: datetime) -> str | None:
        """Return why it admits nobody now, but for its uses."""
        if self.revoked is not None:
            return "was taken back"
        return "has expired" if now >= self.expires else None

    def admits(self, name: str) -> bool:
        """Return whether a device of that name may use it."""
        return fnmatchcase(name, self.admission.names)


def make(connection: Connection, admission: Admission, now: datetime) -> tuple[str, str]:
    """Make a token within a transaction; return its id, and its text, which is kept nowhere.

    Raises:
        ConfigError: if it would admit nobody, or more than was meant.
    """
    admission.check()
    text, name = _START + secrets.token_urlsafe(32), secrets.token_hex(4)
    row = {
        "id": name,
        "digest": digest(text),
        "task": admission.task,
        "pattern": admission.names,
        "labels": json.dumps(dict(admission.labels), sort_keys=True),
        "uses": admission.uses,
        "used": 0,
        "created": now,
        "expires": now + admission.life,
    }
    connection.execute(insert(tokens).values(**row))
    return name, text


def digest(text: str) -> str:
    """Return what is kept of a token: it is random, so that a plain digest is enough."""
    return hashlib.sha256(text.encode()).hexdigest()


def find(connection: Connection, text: str) -> Token | None:
    """Return the token of a text; None if there is none."""
    found = connection.execute(select(tokens).filter_by(digest=digest(text))).first()
    return None if found is None else _token(found)


def use(connection: Connection, token: Token) -> bool:
    """Count one device more; tell whether there was one left, whoever asks at the same time."""
    left = tokens.c.used < tokens.c.uses
    counted = update(tokens).where(tokens.c.id == token.id, left)
    return connection.execute(counted.values(used=tokens.c.used + 1)).rowcount == 1


def revoke(connection: Connection, name: str, now: datetime) -> bool:
    """Take a token back; tell whether there is one of that id."""
    known = connection.scalar(select(tokens.c.id).filter_by(id=name)) is not None
    still = update(tokens).where(tokens.c.id == name, tokens.c.revoked.is_(None))
    connection.execute(still.values(revoked=now))
    return known


def listed(connection: Connection, now: datetime | None = None) -> Sequence[Token]:
    """Return all tokens, or those that can still be used."""
    query = select(tokens).order_by(tokens.c.created)
    if now is not None:
        alive = tokens.c.revoked.is_(None) & (tokens.c.expires > now)
        query = query.where(alive, tokens.c.used < tokens.c.uses)
    return [_token(row) for row in connection.execute(query)]


def _token(row: Any) -> Token:
    times = as_utc(row.created), as_utc(row.expires)
    life, labels = times[1] - times[0], json.loads(row.labels)
    admission = Admission(row.task, row.pattern, row.uses, life, labels)
    revoked = None if row.revoked is None else as_utc(row.revoked)
    return Token(row.id, admission, row.used, *times, revoked)
