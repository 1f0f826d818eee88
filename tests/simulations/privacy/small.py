"""Small images and a small smooth model, so that an attack takes a second."""

from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

from edgeloop import algorithms, models
from edgeloop.data.sample import fashion_sample
from edgeloop.data.samples import Samples, to_float
from edgeloop.models.split import SplitModel
from simulations.privacy.victims import Victims, draw, smooth_model

CLASSES, WIDTH, SHAPE = 10, 512, (1, 16, 16)


@cache
def pictures() -> Samples:
    """The first 600 images of the sample, in 16 x 16 pixels."""
    whole = fashion_sample()
    inputs = torch.tensor(to_float(whole.inputs[:600]))
    return Samples(F.interpolate(inputs, size=16, mode="area").numpy(), whole.labels[:600])


def client(count: int, one_class: bool = False, seed: int = 0) -> Victims:
    return draw(pictures(), count, one_class, seed)


def model(seed: int = 0, architecture: str = "cnn") -> SplitModel:
    return smooth_model(models.build(architecture, SHAPE, CLASSES, WIDTH, seed))


def facts(seed: int = 0, algorithm: str = "") -> dict[str, object]:
    given = {"classes": CLASSES, "width": WIDTH, "shape": SHAPE, "seed": seed}
    return algorithms.supported_options(algorithm, **given, architecture="cnn")


def shares(labels_B: Tensor) -> Tensor:
    return F.one_hot(labels_B, CLASSES).float()
