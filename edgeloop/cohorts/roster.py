"""Who is there, and what each device is doing, as its presence tells; any thread may read it."""

import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from edgeloop.mqtt.connection import Arrival
from edgeloop.mqtt.rivals import NOTE as PROCESS
from edgeloop.protocol import wire
from edgeloop.protocol.presence import Presence, State, presence_of

SILENT_SECONDS = 750.0
"""Without a word from a device that repeats its presence every `REFRESH_SECONDS`: it is not there,
whatever the broker keeps of it."""

FIGHTS, FIGHT_SECONDS = 3, 300.0
"""How often, and within how long, a process is back in the place of another one, if both are there.
Once may be a message that is delivered twice."""

FOUGHT_OVER = "two processes have its name, and take the connection from one another"

ONLINE, OFFLINE, SILENT, OTHER = "online", "offline", "silent", "other"
KINDS = (*(state.value for state in State), ONLINE, OFFLINE, SILENT, OTHER)
"""What `Standing.kind` can be."""

_YEAR_2020 = 1_577_836_800.0


@dataclass(frozen=True)
class Standing:
    """What is known of a device.

    Attributes:
        name: of the device.
        online: what its presence says.
        silent: whether it has said nothing for so long that its presence cannot be true.
        speaks: the minor version that it speaks, see `wire.speaks`.
        grows: whether it ignores fields that it does not know.
        presence: what it says it is doing; None where it says nothing.
        heard: when there was a word of it, on the roster's clock; None if never.
        processes: the nonces of the last two processes that had its name, the newer one first.
        fought: when the older one was back, the last times, on the roster's clock.
        is_fought_over: whether that was so often of late that both must be there.
    """

    name: str
    online: bool = False
    silent: bool = False
    speaks: int = 0
    grows: bool = False
    presence: Presence | None = None
    heard: float | None = None
    processes: tuple[str, ...] = ()
    fought: tuple[float, ...] = ()
    is_fought_over: bool = False

    @property
    def is_there(self) -> bool:
        """Return whether it can hear what is said to it."""
        return self.online and not self.silent

    @property
    def can_answer(self) -> bool:
        """Return whether it is there, has not refused the contract, and is not put to sleep."""
        if self.kind == State.SLEEPING and self.presence is not None and self.presence.reason:
            return False  # its policy forbids it to train; at a run's end there is no reason
        return self.is_there and self.kind != State.REFUSED

    @property
    def kind(self) -> str:
        """Return one of `KINDS`: what it is doing."""
        if not self.online:
            return OFFLINE
        if self.silent:
            return SILENT
        if self.presence is None:
            return ONLINE
        return self.presence.state if self.presence.state in KINDS else OTHER


class Roster:
    """The devices of a task.

    Args:
        devices: their names.
        clock: seconds that never go back.
        wall: seconds since 1970.
    """

    def __init__(
        self,
        devices: Iterable[str],
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._clock, self._wall = clock, wall
        self._known = {name: Standing(name) for name in devices}
        self._counted: tuple[float, Mapping[str, int]] = float("-inf"), {}

    def keep(self, devices: Collection[str]) -> None:
        """Forget all but these."""
        self._known = {name: self._known.get(name) or Standing(name) for name in devices}

    def admit(self, devices: Iterable[str]) -> None:
        """Take in further devices, which know how messages grow: no other is admitted."""
        new = {name: Standing(name, grows=True) for name in devices if name not in self._known}
        if new:
            self._known = {**self._known, **new}

    def able(self) -> Iterator[str]:
        """Yield who can answer."""
        return (name for name in self._known if self[name].can_answer)

    def hear(self, device: str, arrival: Arrival) -> bool:
        """Take a device's presence; tell whether it understands more than before, or less.

        Nothing is kept of a stranger's.
        """
        before = self._known.get(device)
        if before is None:
            return False
        online, now, notes = arrival.payload == b"online", self._clock(), arrival.notes
        if not online:
            self._known[device] = replace(before, online=False, heard=now)
            return False
        processes, is_back = _with_process(before.processes, notes.get(PROCESS, ""))
        grows = wire.grows(notes)
        self._known[device] = Standing(
            name=device,
            online=True,
            processes=processes,
            fought=(*before.fought, now)[-FIGHTS:] if is_back else before.fought,
            speaks=wire.speaks(notes),
            grows=grows,
            presence=presence_of(notes),
            heard=now,
        )
        return grows != before.grows

    def heard_of(self, device: str) -> None:
        """A device has sent something."""
        if device in self._known:
            self._known[device] = replace(self._known[device], heard=self._clock())

    def __getitem__(self, device: str) -> Standing:
        return self._now(self._known[device])

    def is_fought_over(self, device: str) -> bool:
        """Return whether two processes have had a device's name a short while ago."""
        return device in self._known and self[device].is_fought_over

    def all(self) -> list[Standing]:
        """Return what is known of all, in the order of their names."""
        return [self._now(each) for _, each in sorted(self._known.items())]

    def online(self) -> set[str]:
        """Return who is there."""
        return {each.name for each in self.all() if each.is_there}

    def all_grow(self) -> bool:
        """Return whether every device ignores fields that it does not know; those of 0.1 do not."""
        return all(each.grows for each in self._known.values())

    def counts(self) -> Mapping[str, int]:
        """Return how many devices there are of each kind; a second old at most."""
        now = self._clock()
        if now - self._counted[0] >= 1.0:
            found = Counter(each.kind for each in self.all())
            self._counted = now, {kind: found[kind] for kind in KINDS}
        return self._counted[1]

    def unsettled(self, devices: Iterable[str], run: str, number: int) -> list[str]:
        """Return who of some is there and has yet to say that it has a round's receipt."""
        return [
            name
            for name in devices
            if name in self._known
            and self[name].is_there
            and self._known[name].speaks >= 1
            and not _has_receipt(self._known[name].presence, run, number)
        ]

    def seconds_since(self, standing: Standing) -> float | None:
        """Return for how long a device has done what it does; None where nobody can tell."""
        said = standing.presence
        if standing.is_there and said is not None and said.since > _YEAR_2020:
            elapsed = self._wall() - said.since
            if elapsed >= 0:
                return elapsed
        return None if standing.heard is None else self._clock() - standing.heard

    def describe(self, device: str) -> str:
        """Say what a device is doing, for a person."""
        standing = self[device]
        said, kind = standing.presence, standing.kind
        if standing.is_fought_over:
            return FOUGHT_OVER
        if kind == SILENT and standing.heard is not None:
            silence = self._clock() - standing.heard
            return f"silent for {silence:.0f} s, though its presence says online"
        if said is None or kind in (ONLINE, OFFLINE):
            return kind
        if kind == State.REFUSED:
            return f"refused the contract: {said.reason}" if said.reason else "refused the contract"
        place = "" if said.round is None else f" round {said.round}"
        since = self.seconds_since(standing)
        doing = f"{said.state}{place}" + ("" if since is None else f" for {since:.0f} s")
        return f"{doing}: {said.reason}" if said.reason else doing

    def _now(self, standing: Standing) -> Standing:
        heard = standing.heard
        silent = (
            standing.online
            and standing.speaks >= 1
            and heard is not None
            and self._clock() - heard > SILENT_SECONDS
        )
        fought = standing.fought
        lately = len(fought) == FIGHTS and self._clock() - fought[0] < FIGHT_SECONDS
        if not silent and not lately:
            return standing
        return replace(standing, silent=silent, is_fought_over=lately)


def _with_process(before: tuple[str, ...], nonce: str) -> tuple[tuple[str, ...], bool]:
    """Return the last two processes once one has spoken, and whether it is the older one again."""
    if not nonce or before[:1] == (nonce,):
        return before, False
    return (nonce, *before[:1]), before[1:] == (nonce,)


def _has_receipt(said: Presence | None, run: str, number: int) -> bool:
    if said is None or said.run != run:
        return False
    return said.settled is not None and said.settled >= number
