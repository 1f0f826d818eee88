"""The architectures of this package that share files with others, by name.

Shape suffixes: B samples, D features.
"""

from collections.abc import Callable, Mapping
from functools import partial

from torch import nn

from edgeloop.models.cnn import cnn
from edgeloop.models.mlp import mlp
from edgeloop.models.resnet import resnet
from edgeloop.models.sensors import sensor_cnn
from edgeloop.models.small import SMALL, small
from edgeloop.models.text import text
from edgeloop.models.transformer import transformer
from edgeloop.models.vision import VISION, vision

Shape = tuple[int, ...]
Base = Callable[[Shape, int], nn.Module]
"""The shape of an input and C to a network: (B, *shape) to features, (B, D) or (B, D, ...)."""
Text = Callable[[Shape, int, int], nn.Module]

IMAGES: Mapping[str, Base] = {
    "cnn": cnn,
    **{f"resnet{2 * n + 2}": partial(resnet, stages=n) for n in (1, 2, 3, 4)},
    **{name: partial(small, build=build) for name, build in SMALL.items()},
    "hcnn1": partial(cnn, convolutions=1),
    "hcnn1-512": partial(cnn, convolutions=1, hidden=(512,)),
    "hcnn2-512": partial(cnn, hidden=(512,)),
    "hcnn1-1024": partial(cnn, convolutions=1, hidden=(1024,)),
    "hcnn2-1024": partial(cnn, hidden=(1024,)),
    "hcnn1-1024-512": partial(cnn, convolutions=1, hidden=(1024, 512)),
    "hcnn2-1024-512": partial(cnn, hidden=(1024, 512)),
    **{
        name: partial(vision, name=theirs, family=family)
        for name, (theirs, family) in VISION.items()
    },
}
SIGNALS: Mapping[str, Base] = {
    **{f"harcnn-s{s}": partial(sensor_cnn, blocks=2, kernel=9, stride=s) for s in (1, 2, 3)},
    **{f"harcnn1-s{s}": partial(sensor_cnn, blocks=1, kernel=9, stride=s) for s in (1, 2, 3)},
    **{f"harcnn3-s{s}": partial(sensor_cnn, blocks=3, kernel=5, stride=s) for s in (1, 2)},
    "harcnn-s1-1024-512": partial(sensor_cnn, blocks=2, kernel=9, stride=1, hidden=(1024, 512)),
}
# The width of these follows K.
TEXTS: Mapping[str, Text] = {
    **{kind: partial(text, kind=kind) for kind in ("fasttext", "textlr", "lstm", "bilstm", "gru")},
    **{
        f"transformer-l{layers}-h{heads}": partial(transformer, layers=layers, heads=heads)
        for layers, heads in (
            *((1, 8), (2, 8), (4, 8), (8, 8), (16, 8)),
            *((4, 1), (4, 2), (4, 4), (4, 16)),
            *((1, 1), (2, 2), (16, 16)),
        )
    },
}
VECTORS: Mapping[str, Base] = {
    "mlp": mlp,
    "mlp-200": partial(mlp, hidden=(200,)),
    "mlp-500": partial(mlp, hidden=(500,)),
    "mlp-1000-500": partial(mlp, hidden=(1000, 500)),
    "mlp-1000-500-200": partial(mlp, hidden=(1000, 500, 200)),
}
BASES: Mapping[str, Base] = {**IMAGES, **SIGNALS, **VECTORS}
