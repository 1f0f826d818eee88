"""Looks at torchvision's architectures where torchvision is: `test_vision.py` runs it there.

It writes one JSON object: what each architecture is, and how it behaves at 3 x 32 x 32.
"""

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
import torchvision
from torch import Tensor, nn

from edge.agent.export import Classifier, check, export
from edgeloop import models
from edgeloop.algorithm import Batches
from edgeloop.errors import ModelError
from edgeloop.models import GROUPS, SplitModel, pooling_matrix
from edgeloop.models.vision import VISION
from edgeloop.training.sgd import cross_entropy, train_sgd

CLASSES, WIDTH = 5, 512
SHAPE = (3, 32, 32)
EXPORTED = ("resnet18", "googlenet", "mobilenetv2", "vit-b-32+tanh-768")


def images(count: int, colours: int = 3, side: int = 32) -> Tensor:
    random = torch.Generator().manual_seed(1)
    return torch.randn(count, colours, side, side, generator=random)


def look(name: str) -> dict[str, Any]:
    """Build one, look at it, train it one step, and predict."""
    model = models.build(name, SHAPE, CLASSES, WIDTH)
    parameters = sum(parameter.numel() for parameter in model.base.parameters())
    model.eval()
    features_BD = model.base(images(2))
    pooled_BK = features_BD @ pooling_matrix(features_BD.shape[1], WIDTH)
    unified_BK = model(images(2))[0]
    before = [parameter.clone() for parameter in model.own()]
    batches = Batches(images(2), torch.tensor([0, 1]), 2)
    train_sgd(model, batches, cross_entropy, epochs=1, lr=0.01)
    return {
        "features": models.feature_width(name, SHAPE),
        "base_gives": features_BD.shape[1],
        "parameters": parameters,
        "pooled": torch.allclose(pooled_BK, unified_BK, atol=1e-5),
        "pools": not isinstance(model.unify, nn.Identity),
        "learned": sum(not torch.equal(a, b) for a, b in zip(before, model.own(), strict=True)),
        "logits": list(model.eval()(images(3))[1].shape),
        "dropout": [m.p for m in model.modules() if isinstance(m, nn.Dropout) and m.p > 0],
        "draws": model.draws,
    }


def difference_of_export(name: str) -> float:
    """Write a model as ONNX; return how far onnxruntime's scores are from torch's."""
    model: SplitModel = models.build(name, SHAPE, CLASSES, WIDTH)
    scores = Classifier(model, lambda model, inputs: model(inputs)[1], pixels=False)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.onnx")
        export(scores, path, shape=SHAPE, class_names=tuple("abcde"), pixels=False, facts={})
        return check(path, scores, images(3))


def has_the_references_weights(name: str, theirs: str, classifier: str, **options: Any) -> bool:
    """Return whether a seed's base and head are those of torchvision and a head after it."""
    model = models.build(name, SHAPE, CLASSES, WIDTH, seed=3)
    torch.manual_seed(3)
    reference = getattr(torchvision.models, theirs)(num_classes=CLASSES, **options)
    head = nn.Linear(WIDTH, CLASSES)
    ours = model.base.state_dict()
    kept = {k: v for k, v in reference.state_dict().items() if not k.startswith(classifier)}
    same = ours.keys() == kept.keys() and all(torch.equal(ours[k], kept[k]) for k in kept)
    return same and torch.equal(model.head.weight, head.weight)


def fits(name: str, *shape: int) -> bool:
    try:
        logits_BC = models.build(name, shape, CLASSES, WIDTH).eval()(torch.zeros(2, *shape))[1]
    except ModelError:
        return False
    return list(logits_BC.shape) == [2, CLASSES]


def widths_of_head(name: str) -> list[tuple[int, int]]:
    head = models.build(name, SHAPE, CLASSES, WIDTH).head
    return [(m.in_features, m.out_features) for m in head.modules() if isinstance(m, nn.Linear)]


def main() -> None:
    aux = {"aux_logits": False, "init_weights": True}
    found = {
        "architectures": {name: look(name) for name in VISION},
        "exported": {name: difference_of_export(name) for name in EXPORTED},
        "reference": {
            "resnet18": has_the_references_weights("resnet18", "resnet18", "fc."),
            "googlenet": has_the_references_weights("googlenet", "googlenet", "fc.", **aux),
            "mobilenetv2": has_the_references_weights("mobilenetv2", "mobilenet_v2", "classifier"),
            "vit-b-32": has_the_references_weights("vit-b-32", "vit_b_32", "heads", image_size=32),
        },
        "grey": {name: fits(name, 1, 32, 32) for name in VISION},
        "of_28_pixels": {name: fits(name, 1, 28, 28) for name in VISION},
        "of_64_pixels": {name: fits(name, 3, 64, 64) for name in ("resnet18", "vit-b-32")},
        "heads": {name: widths_of_head(name) for name in GROUPS["res34-htc-img-4"]},
    }
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main()
