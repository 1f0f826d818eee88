"""What a run came to: counts of a round, and the files that are left at the end."""

import logging
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from cloud.aggregator.ledger import PastRound, RoundCounts
from edgeloop.answers import Answer, mean_loss
from edgeloop.client import Report
from edgeloop.protocol import wire
from edgeloop.protocol.task import Contract
from edgeloop.runtime import atomic_files, checked_tensors
from edgeloop.server_loop import RunState

TRAIN_LOSS = "train_loss"
"""Among a round's measures: what the devices descended, weighted by training samples."""

log = logging.getLogger(__name__)


def counts_of(reports: Mapping[str, Report]) -> RoundCounts:
    """Add up what devices have measured."""
    return RoundCounts(
        participants=len(reports),
        test_correct=sum(report.test_correct for report in reports.values()),
        test_samples=sum(report.test_samples for report in reports.values()),
    )


def train_loss(answers: Mapping[str, Answer[Any]]) -> dict[str, float]:
    """Return the devices' mean training loss by its name; nothing where nobody tells one.

    Args:
        answers: of a round, by device.
    """
    reports = {name: each.report for name, each in answers.items() if each.upload is not None}
    found = mean_loss(reports, {name: each.train_loss for name, each in reports.items()})
    return {} if found is None else {TRAIN_LOSS: found}


def read_results(path: Path) -> tuple[float | None, float | None]:
    """Return the last accuracy and the epsilon of a summary; None for what it does not tell."""
    try:
        content = atomic_files.read_json(path)
        last, spent = content["accuracy_by_round"][-1], content.get("epsilon")
        return _number(last), _number(spent)
    except (AttributeError, LookupError, OSError, TypeError, ValueError) as error:
        log.warning("%s is damaged (%s); the ledger has the rounds", path, error)
        return None, None


def _number(value: Any) -> float | None:
    return value if value is None else float(value)


def rewrite(
    path: Path, contract: Contract, run_state: RunState[Any, Any], gone: Collection[str]
) -> None:
    """Write what a run came to again, without devices that were taken out since."""
    _final(path, contract, run_state)
    try:
        summary = dict(atomic_files.read_json(path))
        by_device = dict(summary["accuracy_by_device"])
    except (LookupError, OSError, TypeError, ValueError) as error:
        log.warning("%s is damaged (%s), and is removed; the ledger has the rounds", path, error)
        path.unlink(missing_ok=True)
        return
    summary["knowledge_sha256"] = wire.fingerprint(run_state.broadcast)
    summary["accuracy_by_device"] = {n: each for n, each in by_device.items() if n not in gone}
    with atomic_files.writing(path.parent):
        atomic_files.write_checked_json(path, summary)


def write(
    path: Path,
    contract: Contract,
    run_state: RunState[Any, Any],
    past: Sequence[PastRound],
    reports: Mapping[str, Report],
    epsilon: float | None = None,
) -> Path:
    """Write the final broadcast, and the summary to a path beside it; return the path."""
    facts = _final(path, contract, run_state)
    summary = {
        **facts,
        "algorithm": contract.algorithm,
        "rounds": run_state.rounds,
        "knowledge_sha256": wire.fingerprint(run_state.broadcast),
        "accuracy_by_round": [*(each.accuracy for each in past), counts_of(reports).accuracy],
        "seconds_by_round": [each.seconds for each in past],
        **_measured(past),
        **({} if contract.privacy is None else {"epsilon": epsilon}),
        "accuracy_by_device": {
            name: report.accuracy if report.test_samples else None
            for name, report in reports.items()
        },
    }
    with atomic_files.writing(path.parent):
        atomic_files.write_checked_json(path, summary)
    log.info("finished; see %s", path)
    return path


def _measured(past: Sequence[PastRound]) -> dict[str, Any]:
    """Return the losses of devices and server by round; None of rounds that tell none."""
    names = dict.fromkeys(name for each in past for name in each.measures)
    found = {name: [each.measures.get(name) for each in past] for name in names}
    losses = found.pop(TRAIN_LOSS, None)
    return {
        **({} if losses is None else {"train_loss_by_round": losses}),
        **({"measures_by_round": found} if found else {}),
    }


def _final(path: Path, contract: Contract, run_state: RunState[Any, Any]) -> dict[str, str]:
    """Write the final broadcast beside the summary; return whose it is."""
    facts = {"task": contract.task, "run": contract.run}
    arrays = wire.arrays(run_state.broadcast)
    with atomic_files.writing(path.parent):
        content = checked_tensors.content(arrays, facts)
        atomic_files.write(path.with_name("prototypes.safetensors"), content)
    return facts
