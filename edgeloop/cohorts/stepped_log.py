"""Where the answers to the steps of a secure round are safe, and what the server has decided.

What was said to devices after a step is a function of what is written: a restart says it again to
the byte, and never another thing. Step 1 is a round's usual answer, and among its uploads.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from edgeloop.cohorts.uploads import Upload, UploadLog
from edgeloop.protocol import wire
from edgeloop.protocol.task import SERVER

LAST_STEP = 4


class StepLog(Protocol):
    """Where what devices answer to steps 2 to 4 is written; and the server's word on each step."""

    def record_step(self, round_number: int, step: int, uploads: Sequence[Upload]) -> None:
        """Write answers, or the server's word; the first of each sender counts."""
        ...

    def recall_step(self, round_number: int, step: int, names: Collection[str]) -> dict[str, bytes]:
        """Return what is written of some senders; of all but the server, where none is named."""
        ...

    def drop_step(self, round_number: int, step: int, client: str) -> None:
        """Forget an answer."""
        ...

    def clear_steps(self, round_number: int) -> None:
        """Forget all steps of a round, and of those before."""
        ...


@dataclass
class MemorySteps:
    """A step log that a crash empties: for tests, and for runs that need not outlive one."""

    steps: dict[tuple[int, int], dict[str, bytes]] = field(default_factory=dict)

    def record_step(self, round_number: int, step: int, uploads: Sequence[Upload]) -> None:
        """Keep answers."""
        held = self.steps.setdefault((round_number, step), {})
        for each in uploads:
            held.setdefault(each.client, each.payload)

    def recall_step(self, round_number: int, step: int, names: Collection[str]) -> dict[str, bytes]:
        """Return what is kept."""
        held = self.steps.get((round_number, step), {})
        wanted = set(names) or held.keys() - {SERVER}
        return {name: held[name] for name in sorted(held) if name in wanted}

    def drop_step(self, round_number: int, step: int, client: str) -> None:
        """Forget an answer."""
        self.steps.get((round_number, step), {}).pop(client, None)

    def clear_steps(self, round_number: int) -> None:
        """Forget the steps of a round, and of those before."""
        self.steps = {key: each for key, each in self.steps.items() if key[0] > round_number}


class Decision(NamedTuple):
    """What the server has decided of a step, and may not change any more.

    Attributes:
        names: whose answers count.
        keys: after step 1, the frame of `secure.messages.AllKeys` that all are told.
    """

    names: frozenset[str]
    keys: bytes = b""


@dataclass
class SteppedLog:
    """An upload log whose `step` says what is written and read.

    Attributes:
        uploads: of step 1.
        steps: of the others.
        step: that devices answer now.
    """

    uploads: UploadLog
    steps: StepLog
    step: int = 1
    _digests: dict[tuple[int, int], dict[str, str]] = field(default_factory=dict)

    def record_all(self, round_number: int, uploads: Sequence[Upload]) -> None:
        """Write answers to the step; see `UploadLog`."""
        if self.step == 1:
            self.uploads.record_all(round_number, uploads)
            return
        self.steps.record_step(round_number, self.step, uploads)
        known = self._digests.setdefault((round_number, self.step), {})
        known.update((each.client, each.digest) for each in uploads)

    def recall(self, round_number: int) -> Mapping[str, bytes]:
        """Return the answers to the step by client."""
        if self.step == 1:
            return self.uploads.recall(round_number)
        found = self.steps.recall_step(round_number, self.step, ())
        self._digests[round_number, self.step] = {n: wire.digest(p) for n, p in found.items()}
        return found

    def drop(self, round_number: int, client: str) -> None:
        """Forget an answer to the step."""
        if self.step == 1:
            self.uploads.drop(round_number, client)
        else:
            self.steps.drop_step(round_number, self.step, client)

    def held(self, round_number: int, client: str) -> str | None:
        """Return the SHA-256 of a client's answer to a round, its first step."""
        return self.uploads.held(round_number, client)

    def held_step(self, round_number: int, step: int, client: str) -> str | None:
        """Return the SHA-256 of a client's answer to a step of the open round."""
        if step == 1:
            return self.uploads.held(round_number, client)
        return self._digests.get((round_number, step), {}).get(client)

    def decide(self, round_number: int, step: int, decision: Decision) -> None:
        """Write what was decided of a step; what was written before stays."""
        payload = decision.keys or "\n".join(sorted(decision.names)).encode()
        word = Upload(SERVER, wire.digest(payload), payload)
        self.steps.record_step(round_number, step, [word])

    def decided(self, round_number: int, step: int) -> Decision | None:
        """Return what was decided of a step; None if nothing was."""
        payload = self.steps.recall_step(round_number, step, (SERVER,)).get(SERVER)
        if payload is None:
            return None
        return Decision(frozenset(payload.decode().split("\n")) - {""})

    def keys_said(self, round_number: int) -> bytes | None:
        """Return the frame that all were told after step 1; None before."""
        return self.steps.recall_step(round_number, 1, (SERVER,)).get(SERVER)

    def forget_round(self, round_number: int) -> None:
        """Forget the steps of a round that is closed, and of those before."""
        self.steps.clear_steps(round_number)
        self._digests = {key: each for key, each in self._digests.items() if key[0] > round_number}
