"""Does a fault to a deployment, and undoes it when its time is over."""

import heapq
import random
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count

import psutil

from tests.chaos import machine
from tests.chaos.deployment import AGGREGATOR, BROKER, DATABASE, Deployment
from tests.chaos.plan import Fault
from tests.chaos.recorder import Recorder

DAYS = 3
"""At most, that a clock jumps."""


@dataclass
class Striker:
    """Does faults, and undoes them.

    Args:
        deployment: what is struck.
        recorder: what devices have sent, to be sent again.

    Attributes:
        struck: how many faults met what they were for, by kind.
    """

    deployment: Deployment
    recorder: Recorder
    struck: dict[str, int] = field(default_factory=dict)
    _later: list[tuple[float, int, Callable[[], object]]] = field(default_factory=list)
    _numbers: "count[int]" = field(default_factory=count)

    def strike(self, fault: Fault) -> bool:
        """Do a fault; tell whether it met something: what is dead cannot be killed."""
        met = bool(getattr(self, f"_{fault.kind}")(fault))
        if met:
            self.struck[fault.kind] = self.struck.get(fault.kind, 0) + 1
        return met

    def poll(self) -> bool:
        """Undo what is over; tell whether nothing is left to undo."""
        while self._later and self._later[0][0] <= time.monotonic():
            heapq.heappop(self._later)[2]()
        return not self._later

    def heal(self) -> None:
        """Undo everything now."""
        while self._later:
            heapq.heappop(self._later)[2]()

    def _after(self, seconds: float, what: Callable[[], object]) -> None:
        heapq.heappush(self._later, (time.monotonic() + seconds, next(self._numbers), what))

    # ---- processes

    def _kill(self, fault: Fault) -> bool:
        if fault.target == DATABASE:
            return self._kill_database(fault)
        met = self.deployment.parts[fault.target].kill(fault.seconds)
        if met and fault.target == BROKER and not self.deployment.setting.persistent:
            self._start_aggregator_again()
        return met

    def _start_aggregator_again(self) -> None:
        """Start it again if it has ended: the broker has lost that the run is over."""
        part = self.deployment.parts[AGGREGATOR]
        if part.done:
            part.done = False
            part.start()

    def _kill_database(self, fault: Fault) -> bool:
        server = self.deployment.database
        assert server is not None
        found = self._database_processes()
        if not found:
            return False
        for each in found:
            with suppress(psutil.NoSuchProcess):
                each.kill()
        psutil.wait_procs(found, 10)
        self._after(fault.seconds, server.start)
        return True

    def _database_processes(self) -> list[psutil.Process]:
        server = self.deployment.database
        assert server is not None
        with suppress(OSError, psutil.NoSuchProcess):
            first = (server.data / "postmaster.pid").read_text().split()[0]
            parent = psutil.Process(int(first))
            return [parent, *parent.children(recursive=True)]
        return []

    def _stop(self, fault: Fault) -> bool:
        if fault.target == DATABASE:
            found = self._database_processes()
            for each in found:
                with suppress(psutil.NoSuchProcess):
                    each.suspend()
                    self._after(fault.seconds, lambda each=each: _resume(each))  # type: ignore[misc]
            return bool(found)
        part = self.deployment.parts[fault.target]
        if not part.signal(signal.SIGSTOP):
            return False
        process = part.process
        assert process is not None
        self._after(fault.seconds, lambda: process.send_signal(signal.SIGCONT))
        return True

    def _forget(self, fault: Fault) -> bool:
        met = self.deployment.parts[BROKER].kill(fault.seconds)
        for path in self.deployment.place(BROKER).glob("mosquitto.db*"):
            path.unlink()
        self._start_aggregator_again()
        return met

    # ---- links

    def _cut(self, fault: Fault) -> bool:
        gate = self.deployment.ways[fault.target]
        gate.shut = True
        gate.cut()
        self._after(fault.seconds, lambda: setattr(gate, "shut", False))
        return True

    def _hole(self, fault: Fault) -> bool:
        gate = self.deployment.ways[fault.target]
        ways = (("up",), ("down",), ("up", "down"))[int(3 * fault.draw)]
        gate.hole = frozenset(ways)
        self._after(fault.seconds, lambda: setattr(gate, "hole", frozenset()))
        return True

    def _slow(self, fault: Fault) -> bool:
        gate = self.deployment.ways[fault.target]
        gate.rate = 2_000.0 * 10**fault.draw
        self._after(fault.seconds, lambda: setattr(gate, "rate", None))
        return True

    def _damage(self, fault: Fault) -> bool:
        drawn = random.Random(fault.draw)  # noqa: S311 - no secret
        way = drawn.choice(("up", "down"))
        spoil = self.deployment.ways[fault.target].spoil[way]
        spoil.damage += [drawn.random() for _ in range(drawn.randint(1, 3))]
        self._after(fault.seconds, spoil.damage.clear)
        return True

    def _twice(self, fault: Fault) -> bool:
        spoil = self.deployment.ways[fault.target].spoil[_way(fault)]
        spoil.twice = 10
        self._after(fault.seconds, lambda: setattr(spoil, "twice", 0))
        return True

    def _late(self, fault: Fault) -> bool:
        spoil = self.deployment.ways[fault.target].spoil[_way(fault)]
        spoil.late = 10
        self._after(fault.seconds, lambda: setattr(spoil, "late", 0))
        return True

    def _replay(self, fault: Fault) -> bool:
        return self.recorder.replay(random.Random(fault.draw)) > 0  # noqa: S311 - no secret

    # ---- machines

    def _full(self, fault: Fault) -> bool:
        place = self.deployment.place(fault.target)
        machine.fill(place)
        self._after(fault.seconds, lambda: machine.free(place))
        return True

    def _clock(self, fault: Fault) -> bool:
        seconds = int((2 * fault.draw - 1) * DAYS * 86_400)
        machine.set_clock(self.deployment.clock(fault.target), seconds)
        return True


def _way(fault: Fault) -> str:
    return "up" if fault.draw < 0.5 else "down"


def _resume(process: psutil.Process) -> None:
    with suppress(psutil.NoSuchProcess):
        process.resume()
