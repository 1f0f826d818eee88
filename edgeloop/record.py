"""What took part in a run over a network: with it the run is a function of its configuration."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from edgeloop.errors import ConfigError
from edgeloop.participation import Recorded
from edgeloop.protocol.robust_rules import RobustRule
from edgeloop.protocol.task import Name
from edgeloop.runtime import atomic_files, wording


class RecordedPart(BaseModel):
    """A part of a record; what a newer version has besides is left alone."""

    model_config = ConfigDict(frozen=True)


class RecordedRound(RecordedPart):
    """A closed round.

    Attributes:
        asked: who was asked, where a part of the devices was; None for everybody.
        answered: whose answers its result is made of, or would be if they were usable.
        late: who trained in it, too, and was too late.
        bases: of those whose answers are to an earlier round: which one.
    """

    asked: tuple[Name, ...] | None = None
    answered: tuple[Name, ...]
    late: tuple[Name, ...] = ()
    bases: Mapping[Name, Annotated[int, Field(ge=0)]] = {}


class RecordedMember(RecordedPart):
    """A device that was admitted while the run went on, or is out of it.

    Attributes:
        device: its name.
        since: the round that it joined with.
        until: the round from which on it was out; None to the end.
        reason: why.
    """

    device: Name
    since: Annotated[int, Field(ge=0)] = 0
    until: int | None = None
    reason: str | None = None


class Record(RecordedPart):
    """What took part in a run, round by round.

    Attributes:
        schema_version: of this record; 2 where answers count in later rounds.
        task: the task's name.
        run: the run's identity.
        algorithm: its name.
        rounds: the closed ones, from 0.
        members: who was not in it from its begin to its end.
        knowledge_sha256: of the last broadcast; empty where the run had not ended.
        refuse_outliers: whether uploads far from the cohort's were set aside.
        robust: the rule against forged uploads.
    """

    schema_version: Literal[1, 2] = 1
    task: Name
    run: Name
    algorithm: str
    rounds: tuple[RecordedRound, ...]
    members: tuple[RecordedMember, ...] = ()
    knowledge_sha256: str = ""
    refuse_outliers: bool = False
    robust: RobustRule = "none"

    def devices(self) -> frozenset[str]:
        """Return who took part in a round."""
        return frozenset(n for each in self.rounds for n in (*each.answered, *each.late))

    def policy(self) -> Recorded:
        """Return who takes part in which round."""
        return Recorded(
            tuple(frozenset(each.answered) for each in self.rounds),
            tuple(frozenset(each.late) for each in self.rounds),
            tuple(dict(each.bases) for each in self.rounds),
            self.refuse_outliers,
            self.robust,
        )


def read(path: Path) -> Record:
    """Return the record that a file holds.

    Raises:
        ConfigError: if it holds none.
    """
    remedy = "name the participation.json of a task's folder, or what --record has written"
    try:
        return Record.model_validate_json(json.dumps(atomic_files.read_json(path)))
    except OSError as error:
        raise ConfigError(f"replay {path}", f"cannot be read ({error})", remedy) from error
    except ValidationError as error:
        problem = f"is no record: {wording.first_problem(error.errors())}"
        raise ConfigError(f"replay {path}", problem, remedy) from error
    except ValueError as error:
        raise ConfigError(f"replay {path}", f"is no record, or damaged: {error}", remedy) from error
