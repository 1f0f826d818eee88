"""A client's round with differential privacy: nothing that it leads to tells of one sample alone.

Training is DP-SGD: each step draws every sample with one chance, clips each sample's gradient,
and adds noise to their sum. Prototypes are a mechanism of their own on top: features are clipped,
and all classes' sums and counts get noise together, so that classes, counts and means are made of
noisy numbers only. `edgeloop.privacy.accounting` counts what that spends.

Differences from DP-SGD as published: none in the step; the number of steps is that of the batches
that plain training takes. All of a client's samples take part, the last incomplete batch's too:
which are left out would depend on how many there are.

Shape suffixes: N samples, B of them drawn for a step, K features, C classes.

Source: Abadi et al., CCS 2016, arXiv:1607.00133 (DP-SGD); Dwork and Roth 2014 (Gaussian mechanism).
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.nn.modules.batchnorm import _BatchNorm

from edgeloop.algorithm import Batches, Recipe
from edgeloop.algorithm import private_recipe as private_recipe
from edgeloop.errors import ModelError
from edgeloop.knowledge.prototypes import PrototypeUpload, class_means
from edgeloop.models.split import SplitModel
from edgeloop.privacy import noise
from edgeloop.privacy.secret import NoiseSecret as NoiseSecret
from edgeloop.runtime.config import PrivacySettings
from edgeloop.training.sgd import collect_outputs, with_fields

U = TypeVar("U")
B = TypeVar("B")

Tensors = dict[str, Tensor]

BATCH_SIZE = 32
"""Samples whose gradients are in memory together."""

SPREADS = 3.0
"""Standard deviations of its noise that a class's count must reach, or the class is not sent."""


def check_model(model: nn.Module, name: str) -> None:
    """Refuse a model in which samples of a batch are not apart.

    Raises:
        ModelError: if it has batch normalisation.
    """
    if any(isinstance(module, _BatchNorm) for module in model.modules()):
        problem = "has batch normalisation, which mixes the samples of a batch"
        raise ModelError(f"model of {name}", problem, "use one without it, such as cnn")


def train_private(
    recipe: Recipe[U, B],
    model: SplitModel,
    batches: Batches,
    broadcast: B,
    asked: PrivacySettings,
    key: bytes,
) -> U:
    """Train one model in place as a recipe says, with noise; return the client's message.

    What a recipe sees is seen once, before training where it says so, else after it: what is seen
    "during" training would be of other weights at each sample.

    Args:
        recipe: its own `clip` is not asked: each sample's gradient is clipped.
        model: without batch normalisation.
        batches: all samples; its batches only say how many steps there are.
        broadcast: of the round.
        asked: how much noise.
        key: of this round's noise alone.

    Raises:
        ModelError: if torch.func cannot tell the samples' gradients apart.
    """
    before = recipe.collect_at == "before"
    seen = noisy_class_means(recipe, model, batches, asked, key) if before else NOTHING
    train_dp_sgd(recipe, model, batches, broadcast, asked, key)
    if not before and recipe.collect is not None:
        seen = noisy_class_means(recipe, model, batches, asked, key)
    upload = recipe.upload(model, batches, [(seen.means_NK, seen.labels_N)] * recipe.epochs)
    if isinstance(upload, PrototypeUpload):
        return replace(upload, counts_N=seen.counts_N.cpu().numpy())
    return upload


# ---- training


def train_dp_sgd(
    recipe: Recipe[Any, B],
    model: SplitModel,
    batches: Batches,
    broadcast: B,
    asked: PrivacySettings,
    key: bytes,
) -> None:
    """Take all steps of DP-SGD, in place; what a recipe's goal learns has noise too.

    Raises:
        ModelError: as `train_private`.
    """
    steps = recipe.epochs * len(batches)
    if not steps:
        return
    descent = _PerSampleGradients(recipe, model, recipe.targets(broadcast, batches.inputs.device))
    fields = recipe.step_inputs(descent.goal, batches.seed)
    rate = batches.size / len(batches.labels)
    model.train()
    for number in range(steps):
        drawn_B = sample_step(key, number, len(batches.labels), rate).to(batches.labels.device)
        sums = descent.sums(batches, drawn_B, next(fields), asked.clip)
        add_noise(sums, asked.noise * asked.clip, key, f"step {number}")
        with torch.no_grad():
            for name, tensor in descent.learning.items():
                tensor.sub_(sums[name], alpha=recipe.lr / batches.size)


def sample_step(key: bytes, step: int, samples: int, rate: float) -> Tensor:
    """Draw a step's samples, each with one chance; return their numbers (B,), maybe none."""
    return (noise.uniform(key, f"sample {step}", samples) < rate).nonzero().squeeze(1)


class _PerSampleGradients:
    """A model whose samples' gradients are taken apart.

    Attributes:
        goal: of the round.
        learning: all that learns: the model's parameters, and what the goal has; in their memory.
    """

    def __init__(self, recipe: Recipe[Any, Any], model: SplitModel, goal: Any) -> None:
        self._recipe = recipe
        self._model = model
        self.goal = goal
        mine = {id(parameter) for parameter in model.own()}
        named = dict(model.named_parameters())
        self._own = {name: each.detach() for name, each in named.items() if id(each) in mine}
        self._extra_params = {
            name: getattr(goal, name).detach() for name in recipe.extra_params(goal)
        }
        self.learning: Tensors = {**self._own, **self._extra_params}

    def sums(
        self, batches: Batches, drawn_B: Tensor, fields: Mapping[str, Tensor], clip: float
    ) -> Tensors:
        """Return the sums of the clipped gradients of the samples that are drawn."""
        sums = {
            name: torch.zeros(tensor.shape, device=tensor.device)
            for name, tensor in self.learning.items()
        }
        for part in drawn_B.split(BATCH_SIZE) if len(drawn_B) else ():
            gradients = self._gradients(batches.inputs[part], batches.labels[part], fields)
            factor_B = clip_factors(list(gradients.values()), clip)
            known_B = factor_B > 0
            for name, gradient in gradients.items():
                kept = gradient if known_B.all() else gradient[known_B]
                sums[name].view(-1).add_(factor_B[known_B] @ kept.reshape(len(kept), -1))
        return sums

    def _gradients(self, inputs: Tensor, labels_B: Tensor, fields: Mapping[str, Tensor]) -> Tensors:
        """Return each sample's gradient (B, ...), by name."""

        def loss(learning: Tensors, one: Tensor, label: Tensor) -> Tensor:
            own = {name: learning[name] for name in self._own}
            guesses = {name: learning[name] for name in self._extra_params}

            def forward(inputs: Tensor) -> tuple[Tensor, Tensor]:
                outputs: tuple[Tensor, Tensor] = functional_call(self._model, own, (inputs,))
                return outputs

            batch = one.unsqueeze(0), label.unsqueeze(0)
            return self._recipe.loss(forward, batch, with_fields(self.goal, {**guesses, **fields}))

        each: Callable[..., Tensors] = vmap(grad(loss), (None, 0, 0), randomness="different")
        try:
            return each(self.learning, inputs, labels_B)
        except RuntimeError as error:  # what torch.func cannot map says so in many ways
            reason = str(error).strip().partition("\n")[0][:200]
            problem = f"gives no gradient of a single sample ({reason})"
            raise ModelError("privacy: the model", problem, "use another architecture") from error


def clip_factors(gradients: Sequence[Tensor], clip: float) -> Tensor:
    """Return factors (B,) that leave each sample's gradient a norm of at most `clip`.

    Args:
        gradients: of all that learns, (B, ...) each.
        clip: C. A gradient that is not finite is left out, factor 0.
    """
    norms = [
        torch.linalg.vector_norm(gradient.reshape(len(gradient), -1), dim=1)
        for gradient in gradients
    ]
    norm_B: Tensor = torch.linalg.vector_norm(torch.stack(norms), dim=0)
    factor_B = (clip / norm_B).clamp(max=1.0)  # infinite for a gradient of 0, then 1
    return torch.where(norm_B.isfinite(), factor_B, 0.0)


def add_noise(tensors: Mapping[str, Tensor], deviation: float, key: bytes, purpose: str) -> None:
    """Add independent normal noise to every entry of tensors, in place."""
    sizes = [tensor.numel() for tensor in tensors.values()]
    drawn_P = noise.normal(key, purpose, sum(sizes)) * deviation
    for tensor, part in zip(tensors.values(), drawn_P.split(sizes), strict=True):
        tensor.add_(part.view(tensor.shape).to(tensor.device))


# ---- prototypes


@dataclass(frozen=True)
class NoisyClassMeans:
    """What the mechanism lets out: means of those classes that it lets out, ascending.

    Attributes:
        labels_N: their numbers.
        counts_N: how many samples each has, with noise, rounded, at least 1.
        means_NK: of clipped features, of norm at most S.
    """

    labels_N: Tensor
    counts_N: Tensor
    means_NK: Tensor


NOTHING = NoisyClassMeans(torch.zeros(0, dtype=torch.int64), torch.zeros(0), torch.zeros(0, 0))
"""Of a recipe that sees nothing."""


def noisy_class_means(
    recipe: Recipe[Any, Any],
    model: SplitModel,
    batches: Batches,
    asked: PrivacySettings,
    key: bytes,
) -> NoisyClassMeans:
    """Return the noisy means of what a recipe sees of all samples; its model is not changed."""
    everything = replace(batches, size=1)
    ((values_NK, labels_N),) = collect_outputs(recipe, model, everything)
    sums_CK, counts_C = totals(values_NK, labels_N, model.classes, asked.prototype_clip)
    # One sample moves its class's sum, over S, by at most 1, and its count by 1: by the root of 2.
    deviation = asked.prototype_noise * math.sqrt(2)
    add_noise({"sums": sums_CK, "counts": counts_C}, deviation, key, "prototypes")
    sent_C = counts_C >= max(SPREADS * deviation, 1.0)
    means_NK = sums_CK[sent_C] / counts_C[sent_C].unsqueeze(1)
    means_NK = asked.prototype_clip * clip_rows(means_NK, 1.0)
    labels_N = sent_C.nonzero().squeeze(1)
    return NoisyClassMeans(labels_N, counts_C[sent_C].round().long(), means_NK)


def totals(values_NK: Tensor, labels_N: Tensor, classes: int, clip: float) -> tuple[Tensor, Tensor]:
    """Return each class's sum (C, K) of values, clipped and divided by the clip, and count (C,)."""
    unit_NK = clip_rows(values_NK.nan_to_num(0.0, 0.0, 0.0) / clip, 1.0)
    means_CK, counts_C = class_means(unit_NK, labels_N, classes)
    counts_C = counts_C.to(means_CK.dtype)
    return means_CK * counts_C.unsqueeze(1), counts_C


def clip_rows(values_NK: Tensor, largest: float) -> Tensor:
    """Return rows, those longer than `largest` shortened to that."""
    norms_N1 = torch.linalg.vector_norm(values_NK, dim=1, keepdim=True)
    shortened_NK: Tensor = values_NK * (largest / norms_N1).clamp(max=1.0)
    return shortened_NK
