"""The contract of a run as its ledger holds it, and whether the run can go on with another one."""

import hashlib
import json
from collections.abc import Collection
from typing import Any

from pydantic import ValidationError

from edgeloop.errors import RunError
from edgeloop.protocol.task import Contract


def row_of(contract: Contract) -> dict[str, str]:
    """Return a contract's columns of the table `runs`."""
    fields = json.dumps(_without_run(contract), sort_keys=True)
    return {
        "run": contract.run,
        "task": contract.task,
        "contract": contract.text(),
        "digest": hashlib.sha256(fields.encode()).hexdigest(),
    }


def _without_run(contract: Contract) -> dict[str, Any]:
    return contract.model_dump(mode="json", exclude={"run"})


def continued(
    name: str, held: Contract, wanted: Contract, done: int, unchosen: Collection[str] = ()
) -> Contract:
    """Return the contract that a run goes on with: the one held, with more devices, or more rounds.

    Args:
        name: of the ledger.
        held: its contract.
        wanted: a new one, whose run does not count.
        done: rounds that are closed.
        unchosen: fields that nobody has asked for: they stay as they are held.

    Raises:
        RunError: if they differ in anything else, or there were to be fewer rounds.
    """
    wanted = wanted.model_copy(update={field: getattr(held, field) for field in unchosen})
    changes: dict[str, Any] = {}
    if set(wanted.devices) > set(held.devices):
        changes["devices"] = wanted.devices
    if wanted.rounds > held.rounds:
        changes["rounds"] = wanted.rounds
    new = held.model_copy(update=changes)
    differing = _differing(_without_run(new), _without_run(wanted))
    if differing == ["rounds"]:
        problem = f"is {wanted.rounds}, and the run has {held.rounds}, of which {done} are done"
        remedy = f"rounds can be added and not taken away: give {held.rounds}, or more"
        raise RunError("rounds", problem, remedy)
    if differing:
        problem = f"holds another run (task {held.task}, other {', '.join(differing)})"
        raise RunError(name, problem, "use another folder")
    return new


def stored(name: str, text: str) -> Contract:
    """Return a contract as the table `runs` holds it.

    Raises:
        RunError: if this edgeloop cannot read it.
    """
    try:
        return Contract.model_validate_json(text)
    except ValidationError as error:
        problem = "holds a contract that this edgeloop cannot read"
        raise RunError(name, problem, "use another folder") from error


def _differing(held: dict[str, Any], wanted: dict[str, Any]) -> list[str]:
    """Return the keys of which the values differ; of the options, their own keys."""
    keys = [key for key in wanted if held[key] != wanted[key] and key != "options"]
    there, here = held["options"], wanted["options"]
    return keys + [name for name in {**there, **here} if there.get(name) != here.get(name)]
