"""What a client says of a round: its upload and its report; it needs no torch."""

import hashlib
import math
from dataclasses import dataclass
from typing import Generic, TypeVar

from edgeloop.privacy.accounting import Event
from edgeloop.protocol.wire import MaybeNaN, Samples, Seconds

U = TypeVar("U")


@dataclass(frozen=True)
class Report:
    """What a client measured in a round; evaluation comes before training, as in HtFLlib.

    Attributes:
        test_correct: test samples classified right with the round's broadcast.
        test_samples: test samples.
        train_samples: training samples.
        seconds_evaluating: wall time of the evaluation.
        seconds_training: wall time of the training and the prototypes.
        test_auc: `training.evaluation.micro_auc` of the test samples; NaN where it has no value.
    """

    test_correct: Samples
    test_samples: Samples
    train_samples: Samples
    seconds_evaluating: Seconds
    seconds_training: Seconds
    test_auc: MaybeNaN = math.nan

    def __post_init__(self) -> None:
        if not 0 <= self.test_correct <= self.test_samples or self.train_samples < 0:
            raise ValueError("counts of samples that cannot be")
        if not (math.isnan(self.test_auc) or 0 <= self.test_auc <= 1):
            raise ValueError("an AUC that cannot be")

    @property
    def accuracy(self) -> float:
        """The share of test samples classified right; 0 where there are none."""
        return self.test_correct / self.test_samples if self.test_samples else 0.0


@dataclass(frozen=True)
class Answer(Generic[U]):
    """A client's answer to a round's broadcast; without an upload if it only evaluated."""

    upload: U | None
    report: Report


@dataclass(frozen=True)
class Release:
    """What a private round would let out.

    Attributes:
        key: of its noise; the same only for the same round of the same model with the same
            broadcast, so that noise is never used for two different answers.
        cost: what it spends.
    """

    key: bytes
    cost: tuple[Event, ...]

    @property
    def name(self) -> str:
        """Return what tells one release from all others, and nothing of its noise."""
        return hashlib.sha256(self.key).hexdigest()
