"""A base on its way to a device: one message, held by the broker where broadcasts are."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgeloop.bases.manifest import digest
from edgeloop.protocol import wire
from edgeloop.protocol.task import SERVER, Contract
from edgeloop.protocol.wire import ContentError, Envelope

SLOT = "base"
"""Its place among a task's broadcasts."""


LARGEST = wire.MAX_FRAME - 2**16
"""Bytes of a base: the frame that brings it has a header besides."""


@dataclass(frozen=True)
class BaseGraph:
    """A base.

    Attributes:
        graph_B: its ONNX file's bytes.
    """

    graph_B: NDArray[np.uint8]


def encode(contract: Contract, graph: bytes) -> bytes:
    """Return the frame that brings a task's base to its devices."""
    envelope = Envelope(contract.task, contract.run, 0, SERVER)
    return wire.encode(envelope, BaseGraph(np.frombuffer(graph, np.uint8)))


def decode(contract: Contract, payload: bytes) -> bytes:
    """Return the base that a contract names, from the frame that brings it.

    Raises:
        WireError: if it is none, or another one.
    """
    frame = wire.decode(payload, BaseGraph)
    graph = frame[BaseGraph].graph_B.tobytes()
    if frame.envelope.task != contract.task or frame.envelope.sender != SERVER:
        raise ContentError(f"{frame.envelope} came as the base of {contract.task}")
    if digest(graph) != base_identity(contract):
        raise ContentError("another base than the contract's came")
    return graph


def base_identity(contract: Contract) -> str | None:
    """Return the identity of the base that a contract names; None for a task without one."""
    found = contract.options.get("base_sha256")
    return found if isinstance(found, str) and found else None
