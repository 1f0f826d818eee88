"""Ports of this machine: free ones, and whether somebody listens on one."""

import errno
import socket
from contextlib import ExitStack

from edgeloop.errors import ConfigError, EdgeloopError, TakenError


def free_port() -> int:
    """Return a port of the loopback interface that nobody listens on."""
    return free_ports(1)[0]


def free_ports(count: int) -> list[int]:
    """Return so many different ports of the loopback interface that nobody listens on."""
    with ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]


def listens(port: int, host: str = "127.0.0.1") -> bool:
    """Return whether somebody accepts connections there now."""
    try:
        socket.create_connection((reachable(host), port), timeout=1.0).close()
    except OSError:
        return False
    return True


def reachable(host: str) -> str:
    """Return an address that this machine reaches what listens there by."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - looked up, not bound


def listen_error(field: str, problem: str, remedy: str, error: Exception) -> EdgeloopError:
    """Return what to say of an address that cannot be listened on: taken, or wrong."""
    taken = isinstance(error, OSError) and error.errno == errno.EADDRINUSE
    return (TakenError if taken else ConfigError)(field, problem, remedy)
