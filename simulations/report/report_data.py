"""What a report tells of a run."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from edgeloop.showing.rounds import Array as Array
from edgeloop.showing.rounds import Round as Round
from edgeloop.statistics.paired import Side, paired
from edgeloop.statistics.verdict import sentence


class Traffic(NamedTuple):
    """Bytes of one device in one round."""

    up: int
    down: int


@dataclass(frozen=True)
class Device:
    """One device's row; None for what is not known.

    Attributes:
        name: of the device.
        architecture: of its model.
        train_samples: that it has.
        test_samples: that it has.
        alone: the accuracy after the last round, without the others.
        federated: the same with them: of what the device puts into use.
        network: of the run's model, where what is in use is a mixture with it.
    """

    name: str
    architecture: str | None = None
    train_samples: int | None = None
    test_samples: int | None = None
    alone: float | None = None
    federated: float | None = None
    network: float | None = None

    @property
    def measured(self) -> bool:
        """Whether both of its accuracies, and what they are of, are known and can be."""
        shares = [each for each in (self.alone, self.federated) if each is not None]
        if self.test_samples is None or self.test_samples < 0 or len(shares) < 2:
            return False
        return all(0 <= each <= 1 for each in shares)


@dataclass(frozen=True)
class Timing:
    """How long something took, in seconds.

    Attributes:
        name: what it was.
        by_round: its parts, where they are known.
        total: all of it; the parts' sum if not given.
    """

    name: str
    by_round: Mapping[int, float] = field(default_factory=dict)
    total: float = math.nan

    @property
    def seconds(self) -> float:
        """The total."""
        return math.fsum(self.by_round.values()) if math.isnan(self.total) else self.total


def _side(title: str, accuracies: Mapping[str, float], samples: Mapping[str, int]) -> Side:
    """Return the devices' last accuracies as right answers; the rounds before are not known."""
    right = {name: round(value * samples[name]) for name, value in accuracies.items()}
    return Side(title, samples, {1: right})


@dataclass(frozen=True, eq=False)
class ReportData:
    """A run as a report shows it; an empty piece leaves its section out.

    Attributes:
        title: of the page.
        class_names: one a class, in the order of their numbers.
        shape: of one input, channels first; empty if not known.
        alone: accuracy by round when every device learns by itself.
        federated: accuracy by round when they learn together; round r's comes before its training.
        devices: one a row.
        history: closed rounds, ascending.
        traffic: bytes by device and round.
        timings: what took how long.
        losses: by round, each by its name: the devices' training loss, and the server's numbers.
        more_facts: what else there is to say of whether taking part paid, a sentence each.
        facts: by name, in the order of the report.
    """

    title: str
    class_names: tuple[str, ...] = ()
    shape: tuple[int, ...] = ()
    alone: Mapping[int, float] = field(default_factory=dict)
    federated: Mapping[int, float] = field(default_factory=dict)
    devices: tuple[Device, ...] = ()
    history: tuple[Round, ...] = ()
    traffic: Mapping[str, Mapping[int, Traffic]] = field(default_factory=dict)
    timings: tuple[Timing, ...] = ()
    losses: Mapping[str, Mapping[int, float]] = field(default_factory=dict)
    facts: Mapping[str, str] = field(default_factory=dict)
    more_facts: tuple[str, ...] = ()

    @property
    def verdict(self) -> str | None:
        """Whether taking part paid, in a sentence; None where nobody knows both sides."""
        known = [device for device in self.devices if device.measured]
        if not known:
            return None
        samples = {device.name: device.test_samples or 0 for device in known}
        federated, alone = (
            _side(title, {device.name: getattr(device, title) for device in known}, samples)
            for title in ("federated", "alone")
        )
        return sentence(paired(federated, alone), federated, alone, alone=True)

    @property
    def in_use(self) -> tuple[float, float] | None:
        """The devices' accuracies, federated and alone, where what they use is a mixture.

        Weighted by their test samples; None without a mixture, or where a device's are not known.
        """
        mixed = any(device.network is not None for device in self.devices)
        if not mixed or not all(device.measured for device in self.devices):
            return None
        counts = [device.test_samples or 0 for device in self.devices]
        if not any(counts):
            return None
        means = [
            sum(n * (value or 0.0) for n, value in zip(counts, values, strict=True)) / sum(counts)
            for values in zip(*((each.federated, each.alone) for each in self.devices), strict=True)
        ]
        return means[0], means[1]

    def class_name(self, label: int) -> str:
        """Return a class's name, or its number where it has none."""
        return self.class_names[label] if label < len(self.class_names) else f"class {label}"
