"""Makes metrics in one registry, with the project's prefix."""

from collections.abc import Iterable, Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

QUANTILES = {"0": 0.0, "0.5": 0.5, "1": 1.0}


class Series:
    """Metrics whose names begin with `edgeloop_`.

    Attributes:
        registry: that they are in.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()

    def gauge(self, name: str, text: str, labels: Sequence[str] = ()) -> Gauge:
        """Return a number that goes up and down."""
        return Gauge(f"edgeloop_{name}", text, labels, registry=self.registry)

    def counter(self, name: str, text: str, labels: Sequence[str] = ()) -> Counter:
        """Return a number that only grows; its name ends with `_total`."""
        return Counter(f"edgeloop_{name}", text, labels, registry=self.registry)

    def histogram(
        self, name: str, text: str, buckets: Sequence[float], labels: Sequence[str] = ()
    ) -> Histogram:
        """Return counts of durations, in seconds."""
        return Histogram(f"edgeloop_{name}", text, labels, buckets=buckets, registry=self.registry)

    def quantiles(self, name: str, text: str) -> "Quantiles":
        """Return the smallest, the middle and the largest value of the devices."""
        return Quantiles(self.gauge(name, text, ("quantile",)))


class Quantiles:
    """The smallest, the middle and the largest of some values; NaN of none."""

    def __init__(self, gauge: Gauge) -> None:
        self._gauges = {share: gauge.labels(name) for name, share in QUANTILES.items()}
        self.set([])

    def set(self, values: Iterable[float]) -> None:
        """Take the values of all devices; the middle one of an even number is the lower one."""
        ordered = sorted(values)
        for share, gauge in self._gauges.items():
            last = len(ordered) - 1
            gauge.set(ordered[int(share * last)] if ordered else float("nan"))
