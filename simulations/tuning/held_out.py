"""A federation whose clients are tested on a part of their own training samples, held out of it.

Its source's test samples are never read, so that what was chosen can still be tested on them.
"""

import hashlib
from dataclasses import dataclass

import numpy as np

from edgeloop.data.dirichlet import Indices
from edgeloop.data.samples import ClientShards, Labels, Shard
from edgeloop.data.views import DerivedFederation
from edgeloop.errors import ConfigError
from edgeloop.seeds import derive


@dataclass(eq=False)
class HeldOut(DerivedFederation):
    """The clients of a source, each with some of its training samples as test samples.

    Attributes:
        source: whose clients these are.
        share: of a client's training samples, what is held out, at least one.
        kept: so many training samples a client keeps at least, or it gives none.
        seed: of the draw.

    Raises:
        ConfigError: if no client has a sample to spare.
    """

    share: float
    kept: int
    seed: int

    def __post_init__(self) -> None:
        super().__post_init__()
        if not any(test for _, test in self.sizes()):
            problem = f"no client has more than {self.kept} training samples, one batch"
            raise ConfigError(
                "held-out", problem, "give a smaller --batch-size, or fewer --clients"
            )

    def __len__(self) -> int:
        return len(self.source)

    def shards(self, client: int) -> ClientShards:
        """Return a client's samples as they are stored.

        Raises:
            DataError: there is no such client, or its share cannot be read.
        """
        train = self.source.shards(client).train
        kept, held = self._divided(client, len(train.labels))
        return ClientShards(
            Shard(train.inputs[kept], train.labels[kept]),
            Shard(train.inputs[held], train.labels[held]),
        )

    def labels(self, client: int) -> tuple[Labels, Labels]:
        """Return a client's train and held-out labels."""
        train, _ = self.source.labels(client)
        kept, held = self._divided(client, len(train))
        return train[kept], train[held]

    def fingerprint(self) -> str:
        """Return the SHA-256 of the source's, and of what is held out."""
        text = f"{self.source.fingerprint()} {self.share} {self.kept} {self.seed}"
        return hashlib.sha256(text.encode()).hexdigest()

    def _divided(self, client: int, samples: int) -> tuple[Indices, Indices]:
        """Return where the kept and the held-out samples are, in their order."""
        random = np.random.default_rng(derive(self.seed, "held out", client))
        spare = max(samples - self.kept, 0)
        count = min(max(round(self.share * samples), 1), spare)
        order = random.permutation(samples)
        return np.sort(order[count:]), np.sort(order[:count])
