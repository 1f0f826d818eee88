"""What a device ends with: its classifier as ONNX, checked, and a summary."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edge.agent.deployment_gate import ModelGate
from edge.agent.settings import NOT_STATED
from edge.agent.store import MODEL, SUMMARY
from edge.agent.task_client import FinalModel, NoKnowledgeError
from edgeloop.protocol.task import Contract
from edgeloop.runtime import atomic_files

log = logging.getLogger(__name__)


def write_results(
    folder: Path,
    device: str,
    contract: Contract,
    final: FinalModel,
    broadcast: Any,
    facts: Mapping[str, Any],
) -> Path:
    """Write `model.onnx` and `summary.json` to the device's folder; return the summary's path.

    The model before stays in use if the new one is worse: see `edge.agent.deployment_gate`.

    Where the whole run brought no knowledge, as of devices whose privacy budgets were spent before
    it, there is no classifier to write, and the summary says so by null.

    Args:
        folder: the device's own.
        device: its name.
        contract: of the task.
        final: what the device's client of the run has led to.
        broadcast: the last one; what it says becomes part of the classifier.
        facts: what else the summary tells: architecture, pixels, samples, accuracies, bytes.

    Raises:
        ModelError: if onnxruntime does not agree with the client.
    """
    entry = ModelGate(folder, contract.run, bool(facts["pixels"]), final.held_out)
    summary_facts = file_facts(contract, device, facts)
    made = _exported(final, entry, broadcast, summary_facts)
    summary = {
        "task": contract.task,
        "run": contract.run,
        "device": device,
        "algorithm": contract.algorithm,
        **facts,
        **({} if final.mix is None else {"mix": dict(final.mix)}),
        **made,
    }
    written = folder / SUMMARY
    with atomic_files.writing(folder):
        atomic_files.write_checked_json(written, summary)
    return written


def _exported(
    final: FinalModel, entry: ModelGate, broadcast: Any, facts: Mapping[str, str]
) -> dict[str, Any]:
    """Write the classifier, if it has learned anything; return what the summary says of it."""
    try:
        difference = final.export(entry.new, broadcast, facts)
    except NoKnowledgeError as error:
        log.warning("no model is written: %s", error)
        return {"onnx": None, "onnx_difference": None}
    gate = entry.accept()
    in_use = entry.folder / MODEL
    return {
        "onnx": str(in_use),
        "onnx_sha256": atomic_files.digest(in_use),
        "onnx_difference": difference,
        **gate,
    }


def file_facts(
    contract: Contract, device: str, facts: Mapping[str, Any], number: int | None = None
) -> dict[str, str]:
    """Return what the model's file itself tells of where it comes from.

    Args:
        contract: of the task.
        device: its name.
        facts: of the device in the run; see `write_results`.
        number: of the round that the model was made after; None for the run's end.
    """
    number = contract.rounds if number is None else number
    accuracy = facts["accuracy_by_round"].get(str(number))
    return {
        "task": contract.task,
        "run": contract.run,
        "device": device,
        "algorithm": contract.algorithm,
        "round": str(number),
        "architecture": str(facts["architecture"]),
        "licence": str(facts.get("licence", NOT_STATED)),
        **({} if accuracy is None else {"accuracy": f"{accuracy:.4f}"}),
    }
