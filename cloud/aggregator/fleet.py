"""The devices of a task together, as Prometheus metrics: never one of them by its name.

What is known of each is kept as it comes, and counted when somebody asks: the work of a message
does not grow with the number of devices.
"""

from collections.abc import Callable, Iterable, Mapping
from functools import partial

from cloud.aggregator.series import Series
from edgeloop.answers import Report
from edgeloop.cohorts.roster import KINDS
from edgeloop.protocol.device_health import BOUNDS, Health

_WORK_SECONDS = (0.1, 0.5, 1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600)
_TEXTS = {
    "battery_ratio": "Charge of the devices' batteries.",
    "cpu_ratio": "Share of the devices' processors in use.",
    "temperature_celsius": "Hottest sensor of each device.",
}


class Fleet:
    """What is known of the devices; any thread may tell it.

    Args:
        series: where its metrics are.

    Attributes:
        spent_before: the most that a device had spent when the run ended, which is read back.
    """

    def __init__(self, series: Series) -> None:
        self._health: dict[str, Health] = {}
        self._online: set[str] = set()
        self._invited = series.gauge("devices_invited", "Devices in the task's contract.")
        self._present = series.gauge(
            "devices_online", "Invited devices that report that they are online."
        )
        self._states = series.gauge(
            "devices", "Invited devices, by the state that they report.", ("state",)
        )
        for kind in KINDS:
            self._states.labels(kind)
        self._accuracies = series.quantiles(
            "device_accuracy_ratio",
            "Accuracy of each device on its own test samples in the last round.",
        )
        self._readings = {name: series.quantiles(f"device_{name}", _TEXTS[name]) for name in BOUNDS}
        self._reporting = series.gauge(
            "devices_reporting", "Online devices for which a reading is known.", ("reading",)
        )
        self._training = series.histogram(
            "device_training_seconds", "A device's training in a round.", _WORK_SECONDS
        )
        self._evaluation = series.histogram(
            "device_evaluation_seconds", "A device's evaluation in a round.", _WORK_SECONDS
        )
        self.spent_before: float | None = None
        self._spent: dict[str, float] = {}
        self._epsilons = series.quantiles(
            "device_epsilon", "Epsilon that a device's answers have spent of its data."
        )
        self.count()

    def invited(self, devices: int) -> None:
        """So many devices are in the contract."""
        self._invited.set(devices)

    def watch(self, counts: Callable[[], Mapping[str, int]]) -> None:
        """Count the devices by state at each scrape.

        Args:
            counts: how many there are, by each of `roster.KINDS`.
        """

        def count(kind: str) -> float:
            return counts()[kind]

        for kind in KINDS:
            self._states.labels(kind).set_function(partial(count, kind))

    def presence(self, device: str, *, online: bool) -> None:
        """An invited device says that it is there, or the broker says that it is gone."""
        (self._online.add if online else self._online.discard)(device)

    def reported(self, device: str, report: Report) -> None:
        """Take from an invited device's report how the device is, and what it has spent."""
        self._health[device] = report.health  # which counts while the device is online
        if report.epsilon is not None:
            self._spent[device] = report.epsilon

    @property
    def epsilon(self) -> float | None:
        """The most that a device has spent, of those that say so; None while none does."""
        return max(list(self._spent.values()), default=self.spent_before)

    def count(self) -> None:
        """Bring what is made of all devices up to date."""
        online = self._online.copy()
        self._present.set(len(online))
        self._epsilons.set(list(self._spent.values()))
        there = [found for name, found in self._health.copy().items() if name in online]
        for name, quantiles in self._readings.items():
            values = [value for each in there if (value := getattr(each, name)) is not None]
            quantiles.set(values)
            self._reporting.labels(name).set(len(values))

    def evaluated(self, reports: Mapping[str, Report]) -> None:
        """Devices evaluated a broadcast."""
        found = [each for each in reports.values() if each.test_samples]
        self._accuracies.set(each.accuracy for each in found)
        for each in reports.values():
            self._evaluation.observe(each.seconds_evaluating)

    def trained(self, reports: Iterable[Report]) -> None:
        """Devices trained a round."""
        for each in reports:
            self._training.observe(each.seconds_training)
