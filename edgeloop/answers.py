"""What a client says of a round: its upload and its report; it needs no torch."""

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Generic, TypeVar

from edgeloop.privacy import accounting
from edgeloop.privacy.accounting import MAX_EPSILON, Event
from edgeloop.protocol import device_health
from edgeloop.protocol.device_health import BOUNDS, Health
from edgeloop.protocol.wire import Between, MaybeNaN, Samples, Seconds, Since

U = TypeVar("U")

MAX_LOSS = 1e9
"""Of a report: no mean loss that is larger tells anything but that a model has diverged."""


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
        epsilon: what all answers of its device have spent; None without privacy.
        battery_ratio, cpu_ratio, temperature_celsius: the device's, as `Health` has them.
        train_loss: of a device, the mean of what it descended in this round, over all steps; None
            where it did not train, where its samples are not to be told of (with privacy, in secure
            sums), or of a client without such a loss. In a simulation it does not travel.
    """

    test_correct: Samples
    test_samples: Samples
    train_samples: Samples
    seconds_evaluating: Seconds
    seconds_training: Seconds
    test_auc: MaybeNaN = math.nan
    epsilon: Annotated[float | None, Between(0, MAX_EPSILON), Since(1)] = None
    battery_ratio: Annotated[float | None, Between(*BOUNDS["battery_ratio"]), Since(1)] = None
    cpu_ratio: Annotated[float | None, Between(*BOUNDS["cpu_ratio"]), Since(1)] = None
    temperature_celsius: Annotated[
        float | None, Between(*BOUNDS["temperature_celsius"]), Since(1)
    ] = None
    train_loss: Annotated[float | None, Between(-MAX_LOSS, MAX_LOSS), Since(2)] = None

    def __post_init__(self) -> None:
        if not 0 <= self.test_correct <= self.test_samples or self.train_samples < 0:
            raise ValueError("counts of samples that cannot be")
        if not (math.isnan(self.test_auc) or 0 <= self.test_auc <= 1):
            raise ValueError("an AUC that cannot be")

    @property
    def accuracy(self) -> float:
        """The share of test samples classified right; 0 where there are none."""
        return self.test_correct / self.test_samples if self.test_samples else 0.0

    @property
    def health(self) -> Health:
        """Return the device's readings."""
        return Health(self.battery_ratio, self.cpu_ratio, self.temperature_celsius)

    def with_health(self, health: Health) -> "Report":
        """Return the report with a device's readings."""
        return replace(self, **{name: getattr(health, name) for name in BOUNDS})

    def with_train_loss(self, loss: float | None) -> "Report":
        """Return the report with what the client has descended, as far as that can be told."""
        known = loss is not None and abs(loss) <= MAX_LOSS  # NaN is not
        return replace(self, train_loss=loss if known else None)

    def with_notes(self, notes: Mapping[str, str]) -> "Report":
        """Return the report with what a device of 0.1 tells beside it, in user properties."""
        if not notes:
            return self
        parsed = device_health.parse_health(notes)
        spent = accounting.parse_epsilon(notes)
        health = self.with_health(parsed) if self.health == Health() else self
        return health if spent is None else replace(health, epsilon=spent)


@dataclass(frozen=True)
class Answer(Generic[U]):
    """A client's answer to a round's broadcast; without an upload if it only evaluated.

    Attributes:
        upload: the algorithm's.
        report: what the client measured.
        staleness: how many rounds before this one it was trained in, in a run that takes such.
    """

    upload: U | None
    report: Report
    staleness: int = 0


def mean_loss(reports: Mapping[str, Report], losses: Mapping[str, float | None]) -> float | None:
    """Return the clients' mean training loss, weighted by training samples; None of nobody's.

    What is not finite, of a client that diverged, is left out.

    Args:
        reports: by client.
        losses: by client; None of who has none.
    """
    known = {
        name: each
        for name, each in losses.items()
        if each is not None and math.isfinite(each) and name in reports
    }
    samples = sum(reports[name].train_samples for name in known)
    if not samples:
        return None
    return math.fsum(each * reports[name].train_samples for name, each in known.items()) / samples


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
