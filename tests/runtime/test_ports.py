"""Ports for tests, and the product's own: free, and nobody else's."""

import socket
import subprocess
import sys
from contextlib import ExitStack

import pytest

from benchmarks import brokers
from cloud.generator_service import server
from edgeloop.runtime import ports
from simulations.demo import broker, processes
from tests.ports import (
    PortSlice,
    bind,
    claim_slice,
    kernels_free_ports,
    lasting_ports,
    listening,
    slices,
    wait_for_listener,
    with_ports,
)
from tests.processes import running

PROGRAM = """
import sys
from tests.ports import lasting_ports
print(*lasting_ports(150), flush=True)
sys.stdin.read()
"""
LISTENER = """
import socket, sys
with socket.create_server(("127.0.0.1", int(sys.argv[1]))):
    sys.stdin.read()
"""


def test_the_kernels_are_different_and_free() -> None:
    found = kernels_free_ports(3)
    assert len(set(found)) == 3
    with ExitStack() as stack:
        for port in found:
            stack.enter_context(socket.create_server(("127.0.0.1", port)))


def test_no_two_processes_are_given_the_same() -> None:
    """Three at once, as the workers of a session, beside this one."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with ExitStack() as stack:
        others = [
            stack.enter_context(running([sys.executable, "-c", PROGRAM], **pipes)) for _ in range(3)
        ]
        said = [each.stdout.readline() for each in others if each.stdout]
        found = [port for line in said for port in map(int, line.split())] + lasting_ports(150)
        assert len(set(found)) == 4 * 150
    assert all(any(port in each for each in slices()) for port in found)
    (own,) = (each for each in slices() if found[-1] in each)
    assert bind(own[0]) is None  # held, so that no other process takes this slice
    assert own[0] not in found
    assert not {port + 1 for port in found} & set(found)  # a stack's broker takes that, too


def test_a_port_that_somebody_has_is_passed_over() -> None:
    held, *free = lasting_ports(4)
    own = PortSlice([held, *free])
    with socket.create_server(("127.0.0.1", held)):
        assert own.take(2) + own.take(2) == [free[0], free[1], free[2], free[0]]
        with pytest.raises(RuntimeError, match="fewer than 4"):
            own.take(4)


def test_a_slice_that_somebody_holds_is_passed_over() -> None:
    one, two = (range(port, port + 3) for port in lasting_ports(2))
    first, held = claim_slice([one, two])
    second, other = claim_slice([one, two])
    with held, other:
        assert (list(first.places), list(second.places)) == ([one[2]], [two[2]])
        with pytest.raises(RuntimeError, match="another process holds each slice"):
            claim_slice([one, two])


def test_ports_of_a_text_are_replaced_at_once() -> None:
    text = with_ports("8443, 8883 and 18883", {"8443": 8883, "8883": 8443})
    assert text == "8883, 8443 and 18883"


@pytest.mark.parametrize("module", [broker, brokers, ports, processes, server])
def test_all_of_this_process_are_given_lasting_ones(module: object) -> None:
    """Also those that imported the function by its name."""
    assert kernels_free_ports not in vars(module).values()
    chosen = [server.free_ports().http, ports.free_port(), ports.free_ports(1)[0]]
    assert all(any(port in each for each in slices()) for port in chosen)


def test_another_ones_listener_does_not_pass_for_a_process() -> None:
    """A broker that found its port taken: what answers there is another test's."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with (
            subprocess.Popen(
                [sys.executable, "-c", LISTENER, str(port)], stderr=subprocess.DEVNULL
            ) as process,
            pytest.raises(RuntimeError, match=f"ended with 1 before it listened on {port}"),
        ):
            wait_for_listener(process, port)


def test_a_process_that_listens_is_waited_for() -> None:
    (port,) = lasting_ports(1)
    with subprocess.Popen(
        [sys.executable, "-c", LISTENER, str(port)], stdin=subprocess.PIPE
    ) as process:
        wait_for_listener(process, port)
        assert list(listening(process.pid)) == [port]
        process.communicate()
    assert not list(listening(process.pid))


def test_a_process_that_never_listens_is_not_waited_for() -> None:
    with (
        running(["sleep", "60"]) as process,
        pytest.raises(TimeoutError, match="does not listen on port 1"),
    ):
        wait_for_listener(process, 1, seconds=0.1)
