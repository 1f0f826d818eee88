"""What an operator tells of itself over HTTP: its metrics, and whether it is alive."""

import threading
import time
from collections import Counter as Tally
from collections.abc import Callable, Iterable
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

from prometheus_client import CollectorRegistry, Counter, Gauge, make_wsgi_app

from edgeloop.runtime.ports import listen_error

STILL_SECONDS = 60.0
"""After which a leader whose event loop has not beaten is dead."""

_PHASES = {
    "FederatedTask": ("Pending", "Running", "Paused", "Succeeded", "Failed", "Cancelled"),
    "Base": ("Pending", "Ready", "Stopped", "Failed"),
    "Device": ("Known", "Invited", "Admitted", "Suspended"),
    "Generator": ("Pending", "Loading", "Ready", "Unloaded", "Failed"),
}
_RESULTS = ("done", "refused")


class Monitor:
    """Counts what an operator does; any thread may tell it.

    Args:
        clock: seconds that only grow.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._beaten: float | None = None
        self._phases: dict[tuple[str, str, str], str] = {}
        self.registry = CollectorRegistry()
        self._leads = self._gauge("leader", "1 while this operator holds the lease.")
        self._objects = self._gauge("objects", "Resources, by phase.", ("kind", "phase"))
        self._looks = Counter(
            "edgeloop_operator_looks_total",
            "Reconciliations of resources, by result.",
            ("kind", "result"),
            registry=self.registry,
        )
        self._left = Counter(
            "edgeloop_operator_left_behind_total",
            "Deleted tasks whose messages or rows could not be removed.",
            registry=self.registry,
        )
        for kind in _PHASES:  # made here, so that what never was is 0 and not missing
            self._count(kind)
            for result in _RESULTS:
                self._looks.labels(kind, result)

    def _gauge(self, name: str, text: str, labels: tuple[str, ...] = ()) -> Gauge:
        return Gauge(f"edgeloop_operator_{name}", text, labels, registry=self.registry)

    def leads(self) -> None:
        """This operator holds the lease."""
        self._leads.set(1)
        self.beat()

    def beat(self) -> None:
        """The leader's event loop turns."""
        self._beaten = self._clock()

    def reconciled(self, kind: str, *, done: bool) -> None:
        """A resource was looked at."""
        self._looks.labels(kind, _RESULTS[0] if done else _RESULTS[1]).inc()

    def found(self, kind: str, namespace: str, name: str, phase: str) -> None:
        """A resource is in a phase."""
        self._phases[kind, namespace, name] = phase
        self._count(kind)

    def left_behind(self) -> None:
        """What a deleted task has left could not be taken back."""
        self._left.inc()

    def gone(self, kind: str, namespace: str, name: str) -> None:
        """A resource is no more."""
        self._phases.pop((kind, namespace, name), None)
        self._count(kind)

    def _count(self, kind: str) -> None:
        tally = Tally(phase for (of, *_), phase in list(self._phases.items()) if of == kind)
        for phase in _PHASES[kind]:
            self._objects.labels(kind, phase).set(tally[phase])

    def alive(self) -> bool:
        """Return whether the leader's event loop turns; one that waits for the lease is alive."""
        return self._beaten is None or self._clock() - self._beaten < STILL_SECONDS

    def app(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        """Answer /metrics and /healthz, as WSGI has it."""
        if environ.get("PATH_INFO") == "/metrics":
            answer: Iterable[bytes] = make_wsgi_app(self.registry)(environ, start)
            return answer
        found = environ.get("PATH_INFO") == "/healthz"
        code = "404 Not Found" if not found else "200 OK" if self.alive() else "503 Dead"
        start(code, [("Content-Type", "application/json")])
        return [b'{"alive": true}' if code == "200 OK" else b"{}"]

    def serve(self, host: str, port: int) -> int:
        """Answer from a thread of its own, until the process ends; return the port.

        Raises:
            ConfigError: if it cannot listen there.
            TakenError: if another process does.
        """
        try:
            server = make_server(host, port, self.app, handler_class=_Quiet)
        except OSError as error:
            problem = f"cannot listen on {host}:{port} ({error.strerror})"
            raise listen_error("port", problem, "choose another one", error) from error
        threading.Thread(target=server.serve_forever, name="operator-http", daemon=True).start()
        return server.server_port


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: probes come every few seconds."""
