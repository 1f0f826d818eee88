"""Which fault comes next, by the seed: the same seed gives the same faults in the same order."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

PAUSE = (0.05, 0.8)
"""Seconds between two faults, from and to."""

LASTS: Mapping[str, tuple[float, float]] = {
    "kill": (0.0, 1.0),
    "stop": (0.1, 3.0),
    "forget": (0.0, 1.0),
    "cut": (0.0, 1.0),
    "hole": (0.3, 3.0),
    "slow": (0.5, 3.0),
    "damage": (0.5, 2.0),
    "twice": (0.5, 2.0),
    "late": (0.5, 2.0),
    "replay": (0.0, 0.0),
    "full": (0.3, 2.0),
    "clock": (0.0, 0.0),
}
"""The kinds of faults, and how many seconds each lasts, from and to.

    kill     SIGKILL; what is killed is started again after this time
    stop     SIGSTOP, and SIGCONT after this time
    forget   a broker's SIGKILL, with all that it had stored
    cut      a link's connections are reset, and new ones refused for this time
    hole     a link carries nothing, in one direction or both, and stays open
    slow     a link carries few bytes a second
    damage   of a link's next messages, a bit of each is changed
    twice    a link's next messages arrive twice
    late     a link's next messages are overtaken
    replay   what devices have sent before is sent again, some of it damaged
    full     a folder's disk is full
    clock    the wall clock jumps, forward or back
"""

SHARES: Mapping[str, int] = {"kill": 4, "stop": 2, "cut": 2, "hole": 2}
"""How often a kind is drawn, where it is not once."""

TARGETS: Mapping[str, tuple[str, ...]] = {
    "kill": ("aggregator", "device", "broker", "database"),
    "stop": ("aggregator", "device", "broker", "database"),
    "forget": ("broker",),
    "replay": ("broker",),
    "full": ("aggregator", "device", "broker"),
    "clock": ("aggregator", "device"),
}
"""What a kind can strike, where it is not a link: the aggregator's, or a device's."""

LINKS = ("aggregator", "device")


@dataclass(frozen=True)
class Fault:
    """One fault.

    Attributes:
        number: from 0.
        kind: one of `LASTS`.
        target: what it strikes; of links, whose it is.
        pause: seconds since the fault before.
        seconds: that it lasts.
        draw: 0 to 1, for what else a kind leaves open.
    """

    number: int
    kind: str
    target: str
    pause: float
    seconds: float
    draw: float

    def __str__(self) -> str:
        lasts = f" for {self.seconds:.1f} s" if self.seconds else ""
        return f"{self.number}: {self.kind} {self.target}{lasts}"


@dataclass(frozen=True)
class Plan:
    """Draws faults.

    Attributes:
        seed: of all.
        kinds: that can be done here.
        targets: the names of what there is: "aggregator", "broker", "database" and devices.
    """

    seed: int
    kinds: Sequence[str]
    targets: Sequence[str]

    def fault(self, number: int) -> Fault:
        """Return a fault; it depends on the plan and its number alone."""
        # A string, whose hash is the same in each process.
        drawn = random.Random(f"{self.seed} {number}")  # noqa: S311 - no secret
        shares = [SHARES.get(kind, 1) for kind in self.kinds]
        kind = drawn.choices(self.kinds, shares)[0]
        return Fault(
            number,
            kind,
            drawn.choice(drawn.choice(self._struck_by(kind))),
            drawn.uniform(*PAUSE),
            round(drawn.uniform(*LASTS[kind]), 3),
            drawn.random(),
        )

    def _struck_by(self, kind: str) -> list[list[str]]:
        """Return what a kind can strike; devices together are one of them."""
        services = ("aggregator", "broker", "database")
        found = {each: [each] for each in services if each in self.targets}
        found["device"] = [each for each in self.targets if each not in services]
        return [found[each] for each in TARGETS.get(kind, LINKS) if each in found]
