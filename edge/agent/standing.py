"""Where a device stands in its task: what the parts of its agent share."""

import logging
from dataclasses import dataclass, field
from typing import Any

from edge.agent.store import AgentState, AgentStore
from edge.agent.task_session import TaskSession
from edgeloop.protocol import wire
from edgeloop.protocol.task import SERVER, Opening
from edgeloop.runtime.pace import LogRateLimiter
from edgeloop.runtime.tracing import NONE, Notes

log = logging.getLogger(__name__)


@dataclass
class Standing:
    """Where a device stands.

    Attributes:
        store: its memory on the disk.
        session: its place in a run; None until a contract fits.
        state: what it remembers of that run.
        opening: the newest, until it is answered.
        notes: of the newest round's opening.
        trace_notes: of that round's trace.
        broadcast: the last one, and before it its digest.
        concluded: the run that came to its end here, and the digest of its last broadcast.
        ignored: what this side does not know of newer messages.
        limiter: of the lines about what was ignored.
    """

    store: AgentStore
    session: TaskSession | None = None
    state: AgentState | None = None
    opening: Opening | None = None
    notes: Notes = field(default_factory=lambda: NONE)
    trace_notes: Notes = field(default_factory=lambda: NONE)
    broadcast: tuple[str, Any] | None = None
    concluded: tuple[str, str] = ("", "")
    ignored: wire.IgnoredFields = field(default_factory=wire.IgnoredFields)
    limiter: LogRateLimiter = field(default_factory=LogRateLimiter)

    def log_ignored(self, what: str, why: str) -> None:
        """Log that something was ignored, and why; so many lines a minute."""
        if self.limiter.allowed(""):
            log.warning("ignored %s: %s", what, why)

    def decode_broadcast(self, session: TaskSession, payload: bytes) -> tuple[str, Any]:
        """Return a frame's broadcast, and before it its digest, of what this side ignores too.

        Raises:
            WireError: if it is none of this task's.
        """
        kind = session.task_client.broadcast
        frame = wire.decode(payload, kind, sizes=session.task_client.sizes)
        if (frame.envelope.task, frame.envelope.sender) != (session.contract.task, SERVER):
            raise wire.ContentError(f"{frame.envelope} came as a broadcast")
        self.ignored.add(frame.ignored, "a broadcast")
        return wire.fingerprint_of(payload), frame[kind]

    def has_broadcast(self, session: TaskSession, opening: Opening) -> bool:
        """Return whether a round's broadcast is here: the last one, or what every run begins with.

        The second is not kept: who is started again makes it again.
        """
        for known in (self.broadcast, session.task_client.first):
            if known is not None and known[0] == opening.digest:
                self.broadcast = known
                return True
        return False
