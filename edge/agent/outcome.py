"""What a device ends with: its classifier as ONNX, checked against torch, and a summary."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from edge.agent.export import Classifier, UnlearnedError, check, export
from edgeloop import files
from edgeloop.algorithm import Algorithm
from edgeloop.member import Member
from edgeloop.task import Contract

log = logging.getLogger(__name__)

CHECKED = 64  # samples that torch and onnxruntime must agree on


def conclude(
    folder: Path,
    contract: Contract,
    algorithm: Algorithm[Any, Any, Any],
    member: Member[Any, Any],
    broadcast: Any,
    facts: Mapping[str, Any],
) -> Path:
    """Write `model.onnx` and `summary.json` to the device's folder; return the summary's path.

    Where the whole run brought no knowledge, as of devices whose privacy budgets were spent before
    it, there is no classifier to write, and the summary says so by null.

    Args:
        folder: the device's own.
        contract: the task's.
        algorithm: the contract's.
        member: the device's half of the run.
        broadcast: the last one; what it says becomes part of the classifier.
        facts: what else the summary tells: architecture, pixels, samples, accuracies, bytes.

    Raises:
        ModelError: if onnxruntime does not agree with torch.
    """
    path = folder / "model.onnx"
    targets = algorithm.targets(broadcast, torch.device("cpu"))
    pixels = bool(facts["pixels"])
    classifier = Classifier(
        member.model, lambda model, inputs: algorithm.predict(model, inputs, targets), pixels
    )
    told = _facts(contract, member.name, facts["accuracy_by_round"])
    made = _exported(classifier, path, contract, _inputs(member, pixels), told)
    summary = {
        "task": contract.task,
        "run": contract.run,
        "device": member.name,
        "algorithm": contract.algorithm,
        **facts,
        **made,
    }
    written = folder / "summary.json"
    with files.writing(folder):
        files.write_json(written, summary)
    return written


def _exported(
    classifier: Classifier,
    path: Path,
    contract: Contract,
    inputs: torch.Tensor,
    facts: Mapping[str, str],
) -> dict[str, Any]:
    """Write the classifier, if it has learned anything; return what the summary says of it."""
    names, pixels = contract.class_names, classifier.pixels
    try:
        with files.writing(path.parent):
            export(
                *(classifier, path),
                shape=contract.shape,
                class_names=names,
                pixels=pixels,
                facts=facts,
            )
    except UnlearnedError as error:
        log.warning("no model is written: %s", error)
        return {"onnx": None, "onnx_difference": None}
    return {"onnx": str(path), "onnx_difference": check(path, classifier, inputs)}


def _facts(
    contract: Contract, device: str, accuracies: Mapping[str, float | None]
) -> dict[str, str]:
    """Return what the model's file itself tells of where it comes from."""
    accuracy = accuracies[str(contract.rounds)]
    return {
        "task": contract.task,
        "run": contract.run,
        "device": device,
        "algorithm": contract.algorithm,
        "round": str(contract.rounds),
        **({} if accuracy is None else {"accuracy": f"{accuracy:.4f}"}),
    }


def _inputs(member: Member[Any, Any], pixels: bool) -> torch.Tensor:
    """Return some of the device's samples (N, ...) as the exported model reads them."""
    inputs = member.sample(CHECKED)
    return (inputs + 1) * 127.5 if pixels else inputs
