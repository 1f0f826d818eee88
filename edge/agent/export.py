"""Writes a device's classifier as one ONNX file, and checks that it says what torch says.

Shape suffixes: B samples, C classes.
"""

import copy
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from edge.agent import onnx_form
from edge.agent.comparing import compare_scores
from edge.agent.predict import INPUT, OUTPUT
from edge.agent.task_client import NoKnowledgeError
from edgeloop.errors import ModelError
from edgeloop.mixing.experts import UNKNOWN, MixingWeights
from edgeloop.models.split import SplitModel, exportable
from edgeloop.models.tracing import trace_graph
from edgeloop.runtime import atomic_files

MIN_LOGIT = -3e38
"""What is less is minus infinity."""


class Classifier(nn.Module):
    """A trained model as one function of images: a copy, so that training may continue meanwhile.

    Args:
        model: the device's own.
        predict: a model and inputs to scores (B, C), such as an algorithm's `predict` with its
            targets on the CPU; tensors that it holds become constants of the graph.
        pixels: whether inputs are pixels, 0 to 255, that the model wants as x / 127.5 - 1.

    Raises:
        ModelError: a model that cannot be exported.
    """

    def __init__(
        self, model: SplitModel, predict: Callable[[Any, Tensor], Tensor], pixels: bool
    ) -> None:
        super().__init__()
        self.model = exportable(copy.deepcopy(model).cpu().eval())
        self.predict = predict
        self.pixels = pixels
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        """Return scores (B, C), the highest is the class; minus infinity for an unknown class."""
        return self.predict(self.model, images / 127.5 - 1 if self.pixels else images)


class MixedClassifier(nn.Module):
    """Two classifiers as one: log posteriors at temperatures of their own, and a weight.

    Args:
        alone: images to scores.
        together: images to scores; minus infinity for a class that it does not know.
        choice: how they are mixed.
    """

    def __init__(self, alone: nn.Module, together: nn.Module, choice: MixingWeights) -> None:
        super().__init__()
        self.alone, self.together, self.choice = alone, together, choice
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        """Return what `mixing.MixingWeights.scores` returns of both (B, C)."""
        own_BC = _log_posteriors(self.alone(images), self.choice.temperature_alone)
        all_BC = _log_posteriors(self.together(images), self.choice.temperature_together)
        return (1 - self.choice.weight) * own_BC + self.choice.weight * all_BC


class Pooled(nn.Module):
    """Several classifiers as one: what `mixing.pooled` returns of their scores.

    Args:
        networks: images to scores, each.
        temperature: at which their scores become log posteriors.
    """

    def __init__(self, networks: Sequence[nn.Module], temperature: float) -> None:
        super().__init__()
        self.networks, self.temperature = nn.ModuleList(networks), temperature
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        """Return scores (B, C)."""
        parts = [_log_posteriors(each(images), self.temperature) for each in self.networks]
        return self.temperature * torch.stack(parts).mean(0)


def _log_posteriors(scores_BC: Tensor, temperature: float) -> Tensor:
    """Return what `mixing.log_posteriors` returns, in operations that ONNX has."""
    known_BC = (scores_BC / temperature).log_softmax(1)
    return torch.where(scores_BC < MIN_LOGIT, torch.full_like(scores_BC, UNKNOWN), known_BC)


def export(
    scores: nn.Module,
    path: Path,
    *,
    shape: tuple[int, ...],
    class_names: Sequence[str],
    pixels: bool,
    facts: Mapping[str, str],
) -> None:
    """Write a classifier as ONNX: inputs `images` (B, *shape); see `onnx_form` for its outputs.

    The file appears whole or not at all. Its metadata, under keys that start with `edgeloop.`, are
    the class names, the shape and whether inputs are pixels, as JSON, and the facts.

    Args:
        scores: images to scores, such as a `Classifier`.
        path: of the file; its folder exists.
        shape: of one input.
        class_names: C of them.
        pixels: whether inputs are pixels, 0 to 255.
        facts: what else a reader may want to know: task, device, round, algorithm, accuracy.

    Raises:
        ModelError: if the number of classes is another, or no class can win.
        ValueError: if a fact has the name of other metadata.
    """
    example = torch.zeros(2, *shape)
    _check_scores(scores, example, len(class_names))
    model = trace_graph(scores, (example,), (INPUT,), OUTPUT)
    content = onnx_form.completed(
        model, class_names=class_names, shape=shape, pixels=pixels, facts=facts
    )
    del model
    atomic_files.write(path, content)


def check(path: Path, scores: nn.Module, inputs: Tensor) -> float:
    """Compare an exported classifier with the module it came from.

    Args:
        path: what `export` wrote.
        scores: the module, on the CPU; put into evaluation mode.
        inputs: (B, *shape), such as a device's test samples; pixels where the model takes pixels.

    Returns:
        The largest difference of a finite score.

    Raises:
        ModelError: as `compare_scores`.
    """
    with torch.no_grad():
        ours_BC = scores.eval()(inputs).numpy()
    return compare_scores(path, ours_BC, inputs.numpy(), "torch")


def _check_scores(scores: nn.Module, example: Tensor, classes: int) -> None:
    with torch.no_grad():
        found_BC = scores(example)
    if found_BC.shape[1] != classes:
        problem = f"{classes} for a model of {found_BC.shape[1]} classes"
        raise ModelError("class_names", problem, "name every class once")
    if found_BC.isneginf().all():
        problem = "no class has one: no image could be classified"
        raise NoKnowledgeError("prototypes", problem, "export after a round with uploads")
