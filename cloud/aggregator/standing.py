"""Where a run stands, as its ledger holds it: two frames, read with care."""

import logging
from dataclasses import replace
from typing import Any

from cloud.aggregator.ledger import Ledger
from edgeloop import server_loop
from edgeloop.algorithm import Algorithm
from edgeloop.errors import RunError
from edgeloop.protocol import wire
from edgeloop.protocol.task import SERVER, Contract
from edgeloop.protocol.wire import (
    ContentError,
    DigestError,
    Envelope,
    NotFiniteError,
    RangeError,
    TruncatedError,
    WireError,
)
from edgeloop.server_loop import RunState

log = logging.getLogger(__name__)

Loaded = Algorithm[Any, Any, Any]


def frames(contract: Contract, run_state: RunState[Any, Any]) -> tuple[bytes, bytes]:
    """Return the state and the broadcast of where a run stands, as frames."""
    envelope = Envelope(contract.task, contract.run, run_state.rounds, SERVER)
    return wire.encode(envelope, run_state.state), wire.encode(envelope, run_state.broadcast)


def found(contract: Contract, algorithm: Loaded, ledger: Ledger) -> RunState[Any, Any]:
    """Return where the ledger says that a run stands; a new run stands at its beginning.

    Raises:
        RunError: if it is another edgeloop's.
    """
    kept = ledger.run_state()
    if kept is None:
        run_state = server_loop.initial_state(algorithm)
        ledger.begin(*frames(contract, run_state))
        return run_state
    number = kept[0]
    while kept is not None:
        whole = read(contract, algorithm, *kept)
        if whole is not None:
            if whole.rounds != number:
                text = "round %d: its result cannot be used; resuming with the state of round %d"
                log.warning(text, number - 1, whole.rounds)
            return replace(whole, rounds=number)
        kept = ledger.run_state(kept[0])
    log.warning("round %d: its result cannot be used; resuming with the initial state", number - 1)
    return replace(server_loop.initial_state(algorithm), rounds=number)


def read(
    contract: Contract, algorithm: Loaded, number: int, state: bytes, broadcast: bytes
) -> RunState[Any, Any] | None:
    """Return a stored run state; None if it is damaged, or has unusable numbers.

    Raises:
        RunError: if it is another edgeloop's.
    """
    try:
        kept, opened = (
            _message(contract, algorithm, payload, kind)
            for payload, kind in ((state, algorithm.state), (broadcast, algorithm.broadcast))
        )
        wire.check(kept)
        wire.check(opened)
    except (DigestError, NotFiniteError, RangeError, TruncatedError) as error:
        log.warning("the stored state after round %d cannot be used: %s", number, error)
        return None
    except WireError as error:
        problem = f"holds a state that this edgeloop cannot read ({error})"
        raise RunError("ledger", problem, "go on with the edgeloop that wrote it") from error
    return RunState(number, kept, opened)


def _message(contract: Contract, algorithm: Loaded, payload: bytes, kind: type) -> Any:
    """Return a stored message, however large: a state may have a share of each device in it.

    Raises:
        WireError: if it is none of this kind, of another size, or another run's.
    """
    frame = wire.decode(payload, kind, sizes=algorithm.sizes, limit=len(payload))
    if (frame.envelope.task, frame.envelope.run) != (contract.task, contract.run):
        raise ContentError(f"{frame.envelope} is another run's")
    return frame[kind]
