"""FedKTL beside its formulas, written out once more in plain torch, as the released code runs them.

Only what is drawn is shared: first weights, orders, and the prior's samples.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from edgeloop import algorithms
from edgeloop.algorithm import Algorithm, Batches
from edgeloop.generator import as_inputs
from edgeloop.generators.onnx import OnnxGenerator
from edgeloop.models import SplitModel
from edgeloop.seeds import derive
from tests.generators.tiny import write_tiny

CLASSES, SHAPE, WIDTH, LATENT, SEED = 5, (1, 8, 8), 6, 8, 3
MARGIN, SCALE, MU, ETA, PAIRS, CLIP = 0.5, 64.0, 50.0, 0.01, 2, 100.0
EPOCHS, SERVER_LR, SERVER_BATCH, LAMBDA = 20, 0.01, 5, 1.0
ROUNDS, SIZE = 3, 4
HELD = ((0, 0, 1, 1, 2, 0, 1, 2), (3, 1, 3, 0, 3, 1, 1, 0, 3))
"""The classes of each client's samples; nobody has the last one."""


def samples(client: int) -> tuple[Tensor, Tensor]:
    labels = torch.tensor(HELD[client])
    random = torch.Generator().manual_seed(client)
    patterns = torch.randn(CLASSES, *SHAPE, generator=torch.Generator().manual_seed(9))
    return patterns[labels] + 0.5 * torch.randn(len(labels), *SHAPE, generator=random), labels


def network(client: int) -> SplitModel:
    """A model with batch normalisation."""
    torch.manual_seed(client)
    layers = [nn.Flatten(), nn.Linear(64, WIDTH), nn.BatchNorm1d(WIDTH), nn.ReLU()]
    return SplitModel(nn.Sequential(*layers), width=WIDTH, classes=CLASSES, features=WIDTH)


class Client:
    """A client of the released code."""

    def __init__(self, number: int, frame: Tensor, guess: tuple[Tensor, Tensor]) -> None:
        self.model, self.frame, self.guess, self.number = network(number), frame, guess, number

    def train(self, images: Tensor, latents: Tensor, seed: int) -> tuple[Tensor, Tensor]:
        """Run one epoch; return the classes and their unit prototypes."""
        inputs, labels = samples(self.number)
        guess = nn.Linear(WIDTH, LATENT)
        guess.load_state_dict(dict(zip(("weight", "bias"), self.guess, strict=True)))
        steps = [torch.optim.SGD(each.parameters(), lr=ETA) for each in (self.model, guess)]
        order = orders(len(images), seed)
        self.model.train()
        for start in range(0, len(labels) // SIZE * SIZE, SIZE):
            rows = slice(start, start + SIZE)
            loss = self.own(inputs[rows], labels[rows])
            if len(images):
                picked = next(order)
                told = guess(self.model(images[picked])[0])
                loss = loss + MU * ((told - latents[picked]) ** 2).mean()
            for step in steps:
                step.zero_grad()
            loss.backward()
            for each in (self.model, guess):
                nn.utils.clip_grad_norm_(each.parameters(), CLIP)
            for step in steps:
                step.step()
        return self.prototypes(inputs, labels)

    def own(self, inputs: Tensor, labels: Tensor) -> Tensor:
        logits = self.model(inputs)[1]
        cosines = logits / logits.norm(dim=1, keepdim=True) @ self.frame
        scores = []
        for row, label in zip(cosines, labels, strict=True):
            turned = torch.cos(torch.acos(row[label]) + MARGIN)
            scores.append(torch.stack([turned if c == label else row[c] for c in range(CLASSES)]))
        return nn.functional.cross_entropy(SCALE * torch.stack(scores), labels)

    @torch.no_grad()
    def prototypes(self, inputs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        self.model.eval()
        used = len(labels) // SIZE * SIZE
        logits = self.model(inputs[:used])[1]
        units = logits / logits.norm(dim=1, keepdim=True)
        classes = labels[:used].unique()
        means = torch.stack([units[labels[:used] == label].mean(0) for label in classes])
        return classes, means / means.norm(dim=1, keepdim=True)


def orders(count: int, seed: int) -> Iterator[Tensor]:
    """Which pairs come in which step; five of them, two at a time: the last three together."""
    random = torch.Generator().manual_seed(derive(seed, "pairs"))
    while count:
        order = torch.randperm(count, generator=random)
        yield from (order[:2], order[2:])


class Server:
    """The released server: centroids are an embedding that only Adam moves."""

    def __init__(self, generator: OnnxGenerator) -> None:
        state, _ = loaded(generator).start()
        self.generator = generator
        self.transformer = nn.Sequential(
            nn.Linear(CLASSES, CLASSES), nn.BatchNorm1d(CLASSES), nn.ReLU(),
            nn.Linear(CLASSES, LATENT),
        )  # fmt: skip
        arrays = {
            "0.weight": state.inner_CC, "0.bias": state.inner_C, "1.weight": state.scale_C,
            "1.bias": state.shift_C, "3.weight": state.outer_HC, "3.bias": state.outer_H,
        }  # fmt: skip
        tensors = {name: torch.tensor(array) for name, array in arrays.items()}
        self.transformer.load_state_dict(tensors, strict=False)
        self.embedding = nn.Embedding(CLASSES, LATENT)
        self.embedding.weight.data = torch.tensor(state.centroids_CH)

    def learn(self, labels: Tensor, prototypes: Tensor, number: int) -> None:
        both = (self.transformer, self.embedding)
        adams = [torch.optim.Adam(each.parameters(), lr=SERVER_LR) for each in both]
        for epoch in range(EPOCHS):
            seed = derive(SEED, "server", number, epoch)
            order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
            prior = torch.tensor(self.generator.sample_latents(len(labels), seed))
            for start in range(0, len(labels), SERVER_BATCH):
                rows, sampled = order[start:][:SERVER_BATCH], prior[start:][:SERVER_BATCH]
                if len(rows) > 1:
                    self.step(adams, labels[rows], prototypes[rows], sampled)

    def step(
        self, adams: list[torch.optim.Adam], labels: Tensor, prototypes: Tensor, prior: Tensor
    ) -> None:
        told = self.transformer(prototypes)
        loss = mmd(told, prior) + LAMBDA * nn.functional.mse_loss(told, self.embedding(labels))
        for adam in adams:
            adam.zero_grad()
        loss.backward()
        for each in (self.transformer, self.embedding):
            nn.utils.clip_grad_norm_(each.parameters(), CLIP)
        for adam in adams:
            adam.step()

    def pairs(self) -> tuple[NDArray[np.uint8], NDArray[np.float16]]:
        centroids = self.embedding.weight.detach().numpy().astype(np.float16)
        images = self.generator.synthesize(centroids.astype(np.float32))
        return as_inputs(images, SHAPE).reshape(CLASSES, -1), centroids


def mmd(ours: Tensor, theirs: Tensor) -> Tensor:
    def kernels(one: Tensor, other: Tensor) -> Tensor:
        squares = ((one[:, None] - other[None]) ** 2).sum(-1)
        return sum((torch.exp(-squares / (2 * a)) for a in (10, 15, 20, 50)), torch.zeros(()))

    return (kernels(ours, ours) + kernels(theirs, theirs) - 2 * kernels(ours, theirs)).mean()


def loaded(generator: OnnxGenerator) -> Algorithm[Any, Any, Any]:
    return algorithms.load(
        "fedktl", generator, classes=CLASSES, width=WIDTH, shape=SHAPE, seed=SEED,
        pair_batch=PAIRS, server_epochs=EPOCHS, server_batch=SERVER_BATCH,
        **algorithms.generator_options("fedktl", generator),
    )  # fmt: skip


@pytest.fixture
def generator(tmp_path: Path) -> OnnxGenerator:
    return OnnxGenerator(write_tiny(tmp_path / "tiny", latent_dim=LATENT))


CLOSE = 4e-6
"""How far rounding takes the two apart in three rounds, at most."""


def test_round_for_round_it_is_the_released_code(generator: OnnxGenerator) -> None:
    algorithm = loaded(generator)
    state, broadcast = algorithm.start()
    goal = algorithm.targets(broadcast, torch.device("cpu"))
    server = Server(generator)
    theirs = [Client(number, goal.frame_CC, (goal.guess_HK, goal.guess_H)) for number in (0, 1)]
    ours = [network(number) for number in (0, 1)]
    images, latents = torch.zeros(0, *SHAPE), torch.zeros(0, LATENT)
    for number in range(ROUNDS):
        uploads, sent = [], []
        for client, model in enumerate(ours):
            seed = derive(SEED, "client", client, number)
            batches = Batches(*samples(client), SIZE, seed)
            uploads.append(algorithm.train(model, batches, broadcast))
            sent.append(theirs[client].train(images, latents, seed))
        for upload, (labels, prototypes) in zip(uploads, sent, strict=True):
            assert upload.labels_N.tolist() == labels.tolist()
            assert np.abs(upload.prototypes_ND - prototypes.numpy()).max() < CLOSE
        state, broadcast = algorithm.aggregate(state, uploads)
        labels, prototypes = (torch.cat(each) for each in zip(*sent, strict=True))
        server.learn(labels, prototypes, number)
        centroids = server.embedding.weight.detach().numpy()
        assert np.abs(state.centroids_CH - centroids).max() < CLOSE
        pixels, halves = server.pairs()
        assert np.abs(broadcast.images_NP.astype(int) - pixels).max() <= 1
        np.testing.assert_allclose(broadcast.latents_NH, halves, atol=2e-3)
        images = torch.tensor(pixels).view(-1, *SHAPE).float() / 127.5 - 1
        latents = torch.tensor(halves).float()
    for model, their in zip(ours, theirs, strict=True):
        for name, value in model.state_dict().items():
            torch.testing.assert_close(value, their.model.state_dict()[name], atol=CLOSE, rtol=0)
