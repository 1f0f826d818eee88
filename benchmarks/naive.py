"""What a person would write first: each client's model trained on its own data, batch by batch."""

import torch
import torch.nn.functional as F
from torch import Tensor

from edgeloop.data import Federation
from simulations.engine.run_plan import Plan


class Naive:
    """One process, one thread, torch's default layout, no evaluation, nothing shared.

    Args:
        plan: which client has which architecture.
        federation: the clients' data.
    """

    def __init__(self, plan: Plan, federation: Federation) -> None:
        clients = plan.clients
        self._size = clients.training.batch_size
        self._models = [clients.build_model(each) for each in clients.models.values()]
        self._data = [_tensors(federation, client) for client in range(len(federation))]

    def epoch(self) -> None:
        """Train every model on all whole batches of its client's samples, once."""
        for model, (inputs, labels) in zip(self._models, self._data, strict=True):
            model.train()
            optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
            for start in range(0, len(labels) - self._size + 1, self._size):
                batch = slice(start, start + self._size)
                optimizer.zero_grad()
                _, logits = model(inputs[batch])
                loss = F.cross_entropy(logits, labels[batch])
                loss.backward()
                optimizer.step()

    def samples(self) -> int:
        """Return how many samples an epoch trains on."""
        return sum(len(labels) // self._size * self._size for _, labels in self._data)


def _tensors(federation: Federation, client: int) -> tuple[Tensor, Tensor]:
    train = federation.client(client).train
    return torch.tensor(train.inputs), torch.tensor(train.labels)
