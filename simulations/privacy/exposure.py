"""What a client's upload shows its server, and the same made of a guess, so that they compare.

The client is the real one: its algorithm trains on one batch and makes the upload. The attacker is
the server, honest but curious: it follows the protocol and keeps what it gets.

Shape suffixes: B images of a batch, C classes, K features.
"""

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from edgeloop import algorithms
from edgeloop.algorithm import Batches
from edgeloop.algorithm_info import UploadKind
from edgeloop.errors import ConfigError
from edgeloop.knowledge import heads, weights
from edgeloop.knowledge.weights import Weights
from edgeloop.models.split import SplitModel
from edgeloop.privacy import dp_sgd
from edgeloop.privacy.dp_sgd import NoiseSecret

Made = Callable[[Tensor, Tensor], Sequence[Tensor]]
"""Inputs (B, ...) and shares of their labels (B, C) to what they would have uploaded."""


UPLOAD_KINDS: Mapping[str, UploadKind] = {
    name: kind for name in algorithms.built_in() if (kind := algorithms.info(name).upload)
}
"""What can be attacked here, as each algorithm's INFO has it; docs/privacy.md says what the others
send."""


@dataclass(frozen=True, eq=False)
class ObservedUpload:
    """An upload, as its server sees it.

    Attributes:
        upload: what was uploaded: one gradient a layer, or one prototype.
        simulate: the same of a guess, differentiable.
        images: how many images to look for.
        labels_B: their labels, if the upload tells; None where they have to be searched.
    """

    upload: Sequence[Tensor]
    simulate: Made
    images: int
    labels_B: Tensor | None


def upload_kind(name: str) -> UploadKind:
    """Return what an algorithm uploads.

    Raises:
        ConfigError: if there is no such algorithm, or no attack on it here.
    """
    info = algorithms.info(name)
    if info.upload is None:
        remedy = f"choose of {', '.join(UPLOAD_KINDS)}"
        raise ConfigError("algorithm", f"there is no attack on {info.title} here", remedy)
    return info.upload


def observe_upload(
    name: str,
    model: SplitModel,
    untrained: SplitModel | None,
    batch: tuple[Tensor, Tensor],
    options: Mapping[str, Any],
    secret: NoiseSecret | None = None,
) -> ObservedUpload:
    """Let a client train one round on one batch, and return what its upload gives away.

    Args:
        name: of the algorithm.
        model: of the client, before the round; left as it is.
        untrained: what the attacker takes for those parts of the client's model that do not
            travel; None if it knows them.
        batch: inputs (B, ...) and labels (B,), one class of them where prototypes travel.
        options: the algorithm's Config.
        secret: has the client train with noise.

    Raises:
        ConfigError: if an algorithm is to be private that cannot be.
    """
    shared, config = upload_kind(name), algorithms.config(name, **options)
    algorithm = algorithms.load(name, None, **options)
    client = copy.deepcopy(model)
    algorithm.init_client_state(client)
    batches = Batches(*batch, len(batch[1]))
    broadcast = _broadcast(shared, model, algorithm)
    algorithm.load_broadcast(client, batches, broadcast)
    upload = _upload(name, algorithm, client, batches, broadcast, secret)
    if shared.of_weights:
        known = _known(model, untrained, shared)
        return _gradient(known, upload, shared, config.local_lr * config.local_epochs, batch[1])
    known = untrained or (client if shared.when == "after" else model)
    return _prototype(known, upload, shared)


def _upload(
    name: str,
    algorithm: Any,
    client: SplitModel,
    batches: Batches,
    broadcast: Any,
    secret: NoiseSecret | None,
) -> Any:
    if secret is None:
        return algorithm.train(client, batches, broadcast)
    check_private(name, algorithm)
    key = secret.derive_key("attacked")
    return dp_sgd.train_private(algorithm.recipe, client, batches, broadcast, secret.privacy, key)


def check_private(name: str, algorithm: Any) -> None:
    """Refuse an attack on a private upload that there is none of.

    Raises:
        ConfigError: if the algorithm cannot be private, or if prototypes travel: of so few images
            none is sent.
    """
    algorithms.check_private(name, algorithm)
    if not upload_kind(name).of_weights:
        problem = f"of few images {name} sends no prototype with noise: there is nothing to attack"
        raise ConfigError("privacy", problem, "choose an algorithm that sends weights")


def _broadcast(shared: UploadKind, model: SplitModel, algorithm: Any) -> Any:
    """Return the broadcast that leads to the client's model, as if it had been in use."""
    if shared.part == "head":
        return heads.Head(*heads.arrays(model))
    if shared.of_weights:
        return Weights(weights.flat(shared_parameters(model, shared)))
    first = algorithm.start()[1]
    return heads.Head(*heads.arrays(model)) if isinstance(first, heads.Head) else first


def shared_parameters(model: SplitModel, shared: UploadKind) -> list[torch.nn.Parameter]:
    """Return those parameters that an upload of weights has."""
    if shared.part == "whole":
        return model.own()
    return list((model.base if shared.part == "base" else model.head).parameters())


def _known(model: SplitModel, stranger: SplitModel | None, shared: UploadKind) -> SplitModel:
    """Return the model that the attacker works with: what the server sent is in it."""
    if stranger is None:
        return copy.deepcopy(model)
    known = copy.deepcopy(stranger)
    weights.assign(shared_parameters(known, shared), weights.flat(shared_parameters(model, shared)))
    return known


def _gradient(
    known: SplitModel, upload: Any, shared: UploadKind, lr: float, labels_B: Tensor
) -> ObservedUpload:
    """Read the mean gradient from what was sent and what came back.

    Args:
        known: the attacker's model, before the round.
        upload: WeightsUpload or HeadUpload.
        shared: which parameters it has.
        lr: the sum of the steps' learning rates.
        labels_B: their number alone is used: an upload of weights says it.
    """
    parameters, images = shared_parameters(known, shared), len(labels_B)
    seen = [
        (before.detach() - after) / lr
        for before, after in zip(parameters, _uploaded(upload, parameters), strict=True)
    ]
    labels = None if shared.part == "base" else infer_labels(seen[-1], images)
    known.train()

    def made(inputs: Tensor, shares_BC: Tensor) -> Sequence[Tensor]:
        loss = F.cross_entropy(known(inputs)[1], shares_BC)
        return torch.autograd.grad(loss, parameters, create_graph=True)

    return ObservedUpload(seen, made, images, labels)


def _uploaded(upload: Any, parameters: Sequence[Tensor]) -> list[Tensor]:
    if isinstance(upload, heads.HeadUpload):
        return [torch.from_numpy(upload.head_CK), torch.from_numpy(upload.bias_C)]
    sizes = [parameter.numel() for parameter in parameters]
    parts = torch.from_numpy(upload.weights_P).split(sizes)
    return [part.view_as(like) for part, like in zip(parts, parameters, strict=True)]


def infer_labels(gradient_C: Tensor, images: int) -> Tensor:
    """Return a batch's labels (B,), ascending, from the gradient of the head's bias.

    That gradient is the mean of probability minus label: with one image only its own class's entry
    is negative, which is exact (iDLG). With several, the lowest entry is one image's, whose share
    is then added back, and so on: exact as long as the model is not sure of anything.

    Source: Zhao, Mopuri and Bilen 2020, arXiv:2001.02610; for batches, after Wainakh et al. 2022,
    arXiv:2105.09369.
    """
    left_C, labels = gradient_C.detach().clone(), []
    for _ in range(images):
        labels.append(int(left_C.argmin()))
        left_C[labels[-1]] += 1 / images
    return torch.tensor(sorted(labels))


def _prototype(known: SplitModel, upload: Any, shared: UploadKind) -> ObservedUpload:
    """Take the only prototype of an upload; its label is beside it."""
    known = copy.deepcopy(known).train(shared.when == "during")

    def made(inputs: Tensor, shares_BC: Tensor) -> Sequence[Tensor]:
        features_BK, logits_BC = known(inputs)
        if shared.part == "features":
            return [features_BK.mean(0)]
        if shared.part == "logits":
            return [logits_BC.mean(0)]
        return [F.normalize(F.normalize(logits_BC, dim=1).mean(0), dim=0)]

    seen = [torch.from_numpy(upload.prototypes_ND[0])]
    return ObservedUpload(seen, made, 1, torch.from_numpy(upload.labels_N))
