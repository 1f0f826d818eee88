"""What a run came to, without what no two runs share; and in what two differ."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import safe_open
from sqlalchemy import URL

from cloud.aggregator.ledger import Ledger
from edgeloop import algorithms
from edgeloop.client import Report
from edgeloop.protocol import wire
from edgeloop.runtime import atomic_files

KEPT_ROUNDS = 2

Outcome = Mapping[str, Any]
"""By what it is: digests, counts and accuracies."""


def outcome(store: str | URL, task: str, folder: Path) -> Outcome:
    """Return what a run came to, by its ledger and by the files in its folder."""
    with Ledger.open(store) as ledger:
        facts = _ledger(ledger, task)
    return {**facts, **_history(folder / "history"), **_files(folder)}


def differences(expected: Outcome, found: Outcome) -> list[str]:
    """Return what differs, a sentence each."""
    names = sorted(expected.keys() | found.keys())
    return [
        f"{name}: {found.get(name)} instead of {expected.get(name)}"
        for name in names
        if found.get(name) != expected.get(name)
    ]


def _ledger(ledger: Ledger, task: str) -> dict[str, Any]:
    contract = ledger.hold(task)
    assert contract is not None, f"the ledger holds no task {task}"
    upload = algorithms.load_for_contract(contract).upload
    facts: dict[str, Any] = {"ledger: finished": ledger.finished()}
    for each in ledger.history():
        told = f"{each.participants} participants, accuracy {each.accuracy}"
        facts[f"ledger: round {each.number}"] = told
    state = ledger.run_state()
    assert state is not None
    facts["ledger: rounds"] = state[0]
    facts["ledger: state"], facts["ledger: broadcast"] = map(wire.fingerprint_of, state[1:])
    for number in range(max(0, state[0] - KEPT_ROUNDS), contract.rounds + 1):
        for device, payload in ledger.recall(number).items():
            facts[f"ledger: upload {number} {device}"] = _answer(payload, upload)
    return facts


def _answer(payload: bytes, upload: type) -> str:
    """Return what an answer says, but for what was measured with a clock."""
    kinds = (upload, Report) if upload.__name__.encode() in payload[:1024] else (Report,)
    frame = wire.decode(payload, *kinds)
    report = frame[Report]
    counts = report.train_samples, report.test_correct, report.test_samples
    digest = wire.fingerprint(frame[upload]) if upload in kinds else "evaluation"
    return f"{digest} {counts}"


def _history(folder: Path) -> dict[str, Any]:
    """Return what each round was made of, and what it led to."""
    return {f"history: {path.stem}": _digest(path) for path in sorted(folder.glob("round-*"))}


def _files(folder: Path) -> dict[str, Any]:
    summary = atomic_files.read_json(folder / "summary.json")
    timed = ("run", "seconds_by_round")
    told = {f"summary: {key}": each for key, each in summary.items() if key not in timed}
    return {**told, "final broadcast": _digest(folder / "prototypes.safetensors")}


def _digest(path: Path) -> str:
    """Return the SHA-256 of a file's arrays."""
    digest = hashlib.sha256()
    with safe_open(path, framework="np") as file:
        for name in sorted(file.keys()):
            array = file.get_tensor(name)
            digest.update(f"{name} {array.dtype} {array.shape}\n".encode() + array.tobytes())
    return digest.hexdigest()
