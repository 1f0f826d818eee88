"""What a server of classifications counts, as Prometheus reads it (text format 0.0.4)."""

import threading
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping

BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
"""Upper ends of the histogram's buckets, in seconds."""

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

Row = tuple[str, str, str, Mapping[str, str], float]
"""Of what is counted: name, kind, help, labels and value."""


class Measured:
    """Counts requests; any thread may."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._requests: Counter[tuple[str, int]] = Counter()
        self._buckets = [0] * (len(BUCKETS) + 1)
        self._inputs, self._seconds = 0, 0.0
        self._is_connected: bool | None = None  # by MQTT; None where that is not asked for
        self._taken_over = 0

    def request(self, by: str, status: int, inputs: int, seconds: float) -> None:
        """A request was answered.

        Args:
            by: its protocol.
            status: of the answer, as HTTP has it.
            inputs: that were classified.
            seconds: that this took, without the network.
        """
        place = bisect_left(BUCKETS, seconds)
        with self._lock:
            self._requests[by, status] += 1
            self._buckets[place] += 1
            self._inputs += inputs
            self._seconds += seconds

    def say_connected(self, is_connected: bool) -> None:
        """The connection by which requests come over MQTT is up from now on, or is not."""
        self._is_connected = is_connected

    def taken_over(self, times: int) -> None:
        """Another server of this device has taken the requests by MQTT so many times more."""
        self._taken_over += times

    def text(self, more: Iterable[Row] = ()) -> str:
        """Return all of it.

        Args:
            more: what others count: name, kind, help, labels and value.
        """
        with self._lock:
            requests, buckets = dict(self._requests), list(self._buckets)
            inputs, seconds = self._inputs, self._seconds
        name = "edgeloop_serve_requests_total"
        lines = [f"# HELP {name} Requests that were answered.", f"# TYPE {name} counter"]
        for (by, status), count in sorted(requests.items()):
            lines.append(_line(name, {"by": by, "status": str(status)}, count))
        lines += _histogram(buckets, seconds)
        inputs_name = "edgeloop_serve_inputs_total"
        own: Row = (inputs_name, "counter", "Inputs that were classified.", {}, float(inputs))
        for name, kind, about, labels, value in (own, *self._by_mqtt(), *more):
            lines += [f"# HELP {name} {about}", f"# TYPE {name} {kind}", _line(name, labels, value)]
        return "\n".join([*lines, ""])

    def _by_mqtt(self) -> list[Row]:
        if self._is_connected is None:
            return []
        text = "Whether the broker has requests by MQTT sent here now."
        another = "Times that another server of this device took them."
        return [
            ("edgeloop_serve_mqtt_connected", "gauge", text, {}, float(self._is_connected)),
            ("edgeloop_serve_mqtt_taken_over_total", "counter", another, {}, self._taken_over),
        ]


def _histogram(buckets: list[int], seconds: float) -> list[str]:
    name = "edgeloop_serve_request_seconds"
    lines = [f"# HELP {name} Time of an answer.", f"# TYPE {name} histogram"]
    below = 0
    for end, count in zip([*map(str, BUCKETS), "+Inf"], buckets, strict=True):
        below += count
        lines.append(_line(f"{name}_bucket", {"le": end}, below))
    return [*lines, _line(f"{name}_sum", {}, seconds), _line(f"{name}_count", {}, below)]


def _line(name: str, labels: Mapping[str, str], value: float) -> str:
    inside = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels.items())
    return f"{name}{{{inside}}} {value:g}" if inside else f"{name} {value:g}"


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
