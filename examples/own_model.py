"""FedAvg over ten clients, with a network and a data set of one's own: python own_model.py DATA."""

import sys

import numpy as np
from torch import nn

import edgeloop


class Net(nn.Module):
    def __init__(self, classes: int) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 32, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten())
        self.logits = nn.Linear(32 * 14 * 14, classes)

    def forward(self, images):
        return self.logits(self.features(images))


cifar = np.load(sys.argv[1])  # x: (N, 32, 32, 3) bytes; y: (N,) labels
run = edgeloop.simulate(
    "fedavg",
    (cifar["x"], cifar["y"]),
    Net,
    partition="dirichlet",
    clients=10,
    rounds=5,
    local_lr=0.05,
    augment="flip",
    out=sys.argv[2],
)
print(run.history, run.report(), run.accuracy)
