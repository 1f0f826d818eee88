"""Ports for tests: no two processes of this machine are given the same.

A port that the kernel picked is free again as soon as it is known, and seconds later another
process's, or an outgoing connection's. These lie below the range that the kernel picks from, and
each process takes them from a slice of its own: it holds the slice's first port as long as it
lives, so that workers of one session, and sessions in two clones, never share one.
"""

import atexit
import random
import re
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from edgeloop.runtime import ports

if TYPE_CHECKING:
    from tests.forked import Forked

SLICE, SPAN = 400, 20_000
"""Ports of a process, and of all together."""

kernels_free_ports = ports.free_ports
"""What `edgeloop.runtime.ports` has where the tests do not give it theirs."""


class PortSlice:
    """Ports that are given out in turn, so that one comes again after all others.

    Args:
        places: all of them.
    """

    def __init__(self, places: Sequence[int]) -> None:
        self.places = places
        self._next = 0

    def take(self, count: int) -> list[int]:
        """Return so many that nobody has bound.

        Raises:
            RuntimeError: if there are not so many.
        """
        found: list[int] = []
        for _ in self.places:
            if len(found) == count:
                break
            port = self.places[self._next % len(self.places)]
            self._next += 1
            if (probe := bind(port)) is not None:
                probe.close()
                found.append(port)
        if len(found) < count:
            raise RuntimeError(f"fewer than {count} of {self.places} are free")
        return found


def bind(port: int) -> socket.socket | None:
    """Return a socket that holds a port of all addresses, or None if somebody else has it."""
    probe = socket.socket()
    try:
        probe.bind(("0.0.0.0", port))  # noqa: S104 - it does not listen
    except OSError:
        probe.close()
        return None
    return probe


def claim_slice(slices: Sequence[range]) -> tuple[PortSlice, socket.socket]:
    """Return the ports of the first slice that no process holds, and what holds it.

    A stack's broker listens on the port behind its own, too: every other one is given out.

    Raises:
        RuntimeError: if all are held.
    """
    for each in slices:
        if (held := bind(each[0])) is not None:
            return PortSlice(each[2::2]), held
    raise RuntimeError("another process holds each slice of the ports for tests")


def slices() -> list[range]:
    """Return the slices below the range that the kernel picks from."""
    try:
        first = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    except OSError:
        first = 32768
    starts = range(max(1024, first - SPAN), first - SLICE + 1, SLICE)
    return [range(start, start + SLICE) for start in starts]


@cache
def _own_slice() -> PortSlice:
    found = slices()
    own, held = claim_slice(random.SystemRandom().sample(found, len(found)))
    atexit.register(held.close)
    return own


def lasting_ports(count: int) -> list[int]:
    """Return so many free ports that stay this process's while nothing listens on them."""
    if not slices():  # the kernel picks from all ports here
        return kernels_free_ports(count)
    return _own_slice().take(count)


def give_everybody_lasting_ports() -> None:
    """Have `free_port` and `free_ports` of this process give lasting ones.

    It comes before the modules that import `free_ports` by its name.
    """
    ports.free_ports = lasting_ports


def with_ports(text: str, chosen: Mapping[str, int]) -> str:
    """Return a text with other ports in the place of those it has, all at once.

    One after another, a port that was put in could be what the next one is put in the place of.
    """
    known = "|".join(map(re.escape, chosen))
    return re.sub(rf"\b({known})\b", lambda found: str(chosen[found[0]]), text)


def wait_for_listener(
    process: "subprocess.Popen[Any] | Forked", port: int, seconds: float = 60.0
) -> None:
    """Return as soon as a process listens on a port.

    Raises:
        RuntimeError: if the process ends before it does, as where somebody else has the port.
        TimeoutError: if it does not listen in time.
    """
    deadline = time.monotonic() + seconds
    while port not in listening(process.pid):
        if process.poll() is not None:
            raise RuntimeError(f"ended with {process.returncode} before it listened on {port}")
        if time.monotonic() > deadline:
            raise TimeoutError(f"does not listen on port {port}")
        time.sleep(0.02)  # between looks


def listening(process: int) -> Iterator[int]:
    """Yield the ports that a process listens on."""
    with suppress(psutil.NoSuchProcess):
        for each in psutil.Process(process).net_connections("tcp"):
            if each.status == psutil.CONN_LISTEN:
                yield each.laddr.port
