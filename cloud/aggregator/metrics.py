"""What happens in a run, as Prometheus metrics; no label ever holds a device's name."""

import math

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from cloud.aggregator.ledger import RoundCounts
from edgeloop.gathering import Verdict
from edgeloop.task import Contract

_ROUND_SECONDS = (0.1, 0.5, 1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 14_400, 86_400)
_AGGREGATE_SECONDS = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 2, 5, 10, 30, 60)
_FACTS = ("task", "run", "algorithm")


class Metrics:
    """The metrics of one aggregator, in a registry of its own; tell it what happens.

    Any thread may call any method.
    """

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._task = Gauge(
            "edgeloop_task_info", "What this aggregator runs.", _FACTS, registry=self._registry
        )
        self._make_progress()
        self._make_durations()
        self._make_traffic()

    def _make_progress(self) -> None:
        self._round = self._gauge("round", "The open round, counted from 0.")
        self._rounds = self._gauge("rounds_planned", "How many rounds the run has.")
        self._participants = self._gauge("participants", "Devices that answered the last round.")
        self._accuracy = self._gauge(
            "accuracy_ratio",
            "Test samples of all devices classified right in the last round, before its training.",
        )
        self._accuracy.set(math.nan)  # unknown; 0 would look like a bad model

    def _make_durations(self) -> None:
        self._round_seconds = Histogram(
            "edgeloop_round_seconds",
            "From a round's opening to its closing.",
            registry=self._registry,
            buckets=_ROUND_SECONDS,
        )
        self._aggregate_seconds = Histogram(
            "edgeloop_aggregate_seconds",
            "The algorithm's server half of a round.",
            registry=self._registry,
            buckets=_AGGREGATE_SECONDS,
        )

    def _make_traffic(self) -> None:
        self._connected = self._gauge("broker_connected", "1 while connected to the MQTT broker.")
        self._online = self._gauge("devices_online", "Invited devices that say they are there.")
        self._upload_bytes = self._counter("upload_bytes_total", "Bytes that devices sent.")
        self._broadcast_bytes = self._counter(
            "broadcast_bytes_total", "Bytes of broadcasts given to the broker, once a round."
        )
        self._generator = self._gauge(
            "generator_ready", "1 unless the round waits for a generator that does not answer."
        )
        self._generator.set(1)
        uploads = Counter(
            "edgeloop_uploads_total",
            "What devices sent, by what became of it.",
            ["verdict"],
            registry=self._registry,
        )
        self._uploads = {  # made here, so that a verdict that never fell is 0 and not missing
            verdict: uploads.labels(verdict.name.lower()) for verdict in Verdict
        }

    def _gauge(self, name: str, text: str) -> Gauge:
        return Gauge(f"edgeloop_{name}", text, registry=self._registry)

    def _counter(self, name: str, text: str) -> Counter:
        return Counter(f"edgeloop_{name}", text, registry=self._registry)

    def began(self, contract: Contract) -> None:
        """A run began or goes on."""
        self._task.labels(*(getattr(contract, fact) for fact in _FACTS)).set(1)
        self._rounds.set(contract.rounds)

    def connected(self, yes: bool) -> None:
        """The broker was reached, or lost."""
        self._connected.set(yes)

    def generator(self, ready: bool) -> None:
        """The generator answers, or does not."""
        self._generator.set(ready)

    def online(self, devices: int) -> None:
        """So many invited devices are there now."""
        self._online.set(devices)

    def opened(self, round_number: int, size: int) -> None:
        """A round opened with a broadcast of so many bytes."""
        self._round.set(round_number)
        self._broadcast_bytes.inc(size)

    def heard(self, verdict: Verdict, size: int) -> None:
        """A device sent so many bytes, and this became of them."""
        self._uploads[verdict].inc()
        self._upload_bytes.inc(size)

    def aggregated(self, seconds: float) -> None:
        """The algorithm made a new broadcast of a round's uploads."""
        self._aggregate_seconds.observe(seconds)

    def closed(self, round_number: int, counts: RoundCounts, seconds: float) -> None:
        """A round closed; the next one is open."""
        self._round.set(round_number + 1)
        self._round_seconds.observe(seconds)
        self.evaluated(counts)

    def evaluated(self, counts: RoundCounts) -> None:
        """Devices evaluated a broadcast."""
        self._participants.set(counts.participants)
        self._accuracy.set(math.nan if counts.accuracy is None else counts.accuracy)

    def exposition(self) -> bytes:
        """Return all of it in Prometheus' text format."""
        return generate_latest(self._registry)
