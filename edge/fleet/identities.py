"""The identities of a fleet's devices: a folder each, as `edgeloop enroll` writes it."""

from dataclasses import dataclass, field
from pathlib import Path

from edge.agent import enrolment
from edge.agent.authority_client import Place as Place
from edge.agent.authority_client import pinned as pinned
from edgeloop.errors import ConfigError
from edgeloop.runtime.config import BrokerSettings

REMEDY = "give --identities FOLDER, with --server, --ca-fingerprint and --token-file to enrol them"


@dataclass(frozen=True)
class Enrolling:
    """How devices that have no identity yet get one.

    Attributes:
        place: of the authority.
        authority: its certificate, PEM, which was checked.
        token: that admits them all.
    """

    place: Place
    authority: str
    token: str


@dataclass(frozen=True)
class Identities:
    """A folder of identities; a device's own is called like the device.

    Attributes:
        folder: of them.
        task: whose devices they are.
        enrolling: for those that are missing; None where none may be.
        given: keys of the `[broker]` table that count before what the authority says.
        new: devices that have enrolled since the broker was given time to hear of them.
    """

    folder: Path
    task: str
    enrolling: Enrolling | None
    given: BrokerSettings
    new: list[str] = field(default_factory=list)

    def first(self) -> BrokerSettings | None:
        """Return how some device that has an identity connects; None if there is none."""
        names = sorted(each.parent.name for each in self.folder.glob(f"*/{enrolment.FACTS}"))
        return self.broker(names[0]) if names else None

    def broker(self, device: str) -> BrokerSettings:
        """Return how a device connects, and signs; it enrols if it has not yet.

        Raises:
            ConfigError: if it has no identity, or one of another task.
            AuthorityError: if the token does not admit it.
            AuthorityAwayError: if the authority does not answer.
        """
        place = self.folder / device
        if not (place / enrolment.CERTIFICATE).exists():
            self._enrol(place, device)
        facts = enrolment.read(place)
        if (facts.task, facts.name) != (self.task, device):
            problem = f"is that of {facts.name} of {facts.task}"
            raise ConfigError(f"folder {place}", problem, "name a folder for this task's devices")
        return enrolment.connecting(facts, place, self.given)

    def _enrol(self, place: Path, device: str) -> None:
        if self.enrolling is None:
            raise ConfigError("--identities", f"has none of {device}", REMEDY)
        how = self.enrolling
        enrolment.enrol(place, how.place, how.authority, how.token, device)
        self.new.append(device)
