"""A stack's own authority: certificates for its broker, its aggregators and its agents."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import tomli_w

from cloud.authority import keys, mosquitto, publishing, service
from cloud.authority.authority import Authority, utc
from cloud.authority.identity import Identity
from cloud.authority.local_devices import AUTHORITY, CERTIFICATE, KEY, admit_if_due
from cloud.authority.mosquitto import CONFIG, PID, Listening
from cloud.authority.settings import FILE, AuthoritySettings
from cloud.stack.settings import ServedAuthority, StackBroker, Table
from edgeloop.errors import TakenError
from edgeloop.protocol.task import SERVER
from edgeloop.runtime import atomic_files
from edgeloop.runtime.ports import reachable
from edgeloop.runtime.repeating import Repeated

LOOK_SECONDS = 10.0
"""Between two looks at what is to be renewed, and at whom the broker lets in."""

BROKER = Identity("", "broker")

INNER = "127.0.0.1"
"""Where the stack's own aggregators find its broker."""


def device_files(folder: Path, identity: Identity) -> Table:
    """Return the keys of an agent's `[broker]` table that name its certificates."""
    place = _place(folder, identity)
    names = {"ca_file": AUTHORITY, "certificate_file": CERTIFICATE, "key_file": KEY}
    revoked = str(folder.absolute() / "broker" / "services.crl")
    files = {key: str(place / name) for key, name in names.items()}
    return {**files, "signatures": "required", "revoked_files": [revoked]}


def aggregator_files(folder: Path, identity: Identity, broker: StackBroker) -> Table:
    """Return the keys of an aggregator's `[broker]` table: its certificates, and where to ask."""
    place = _place(folder, identity)
    names = {"certificate_file": f"{SERVER}.crt", "key_file": f"{SERVER}.key"}
    files = {key: str(place / name) for key, name in names.items()}
    trusted = str(folder.absolute() / "authority" / "services.crt")
    checks = {
        "devices_file": str(folder.absolute() / "authority" / "devices.crt"),
        "revoked_files": [str(folder.absolute() / "broker" / "devices.crl")],
    }
    way = {"host": INNER, "port": broker.inner_port, "transport": "tcp"}
    return {**way, "ca_file": trusted, **files, **checks}


def _place(folder: Path, identity: Identity) -> Path:
    return folder.absolute() / "identities" / f"{identity.name}@{identity.task}"


class OwnAuthority:
    """A stack's own authority, in its folder.

    Args:
        folder: the stack's.
        broker: the stack's.
        served: where it is served, if it is.
        tasks: of the stack's aggregators.
        devices: the stack's agents.
    """

    def __init__(
        self,
        folder: Path,
        broker: StackBroker,
        served: ServedAuthority | None,
        tasks: Sequence[str],
        devices: Sequence[Identity],
    ) -> None:
        self._folder, self._broker, self._served = folder.absolute(), broker, served
        self._tasks, self._devices = list(tasks), devices
        self._place = self._folder / "broker"

    @property
    def folder(self) -> Path:
        """Where its keys and its database are."""
        return self._folder / "authority"

    def prepare(self) -> Path:
        """Make what is not there yet; return Mosquitto's configuration.

        Raises:
            ConfigError: if a name is one that no device may have, or a file cannot be read.
            RunError: if the folder cannot be written.
        """
        with suppress(TakenError):  # it is there
            keys.make(self.folder, None, utc())
        table = self._settings().model_dump(mode="json", exclude_none=True)
        with atomic_files.writing(self.folder):
            atomic_files.write(self.folder / FILE, tomli_w.dumps(table).encode(), 0o600)
        with service.opened(self.folder) as (authority, settings):
            self._renew(authority, settings)
            publishing.write_authorities(authority, self._place)
        with atomic_files.writing(self._place):
            (self._place / "data").mkdir(exist_ok=True, mode=0o700)
            atomic_files.write(self._place / CONFIG, self._config().encode())
        return self._place / CONFIG

    def take(self, task: str) -> None:
        """Have a certificate for the aggregator of one more task, of a stack that runs."""
        self._tasks.append(task)
        with service.opened(self.folder) as (authority, settings):
            if self._renew(authority, settings):
                publishing.reload_broker(self._place / PID)

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Renew certificates, and have the broker hear of who was revoked, while a block runs."""
        with service.opened(self.folder) as (authority, settings):

            def keep() -> None:
                if self._renew(authority, settings):
                    publishing.reload_broker(self._place / PID)

            with Repeated(LOOK_SECONDS, keep):
                yield

    def _renew(self, authority: Authority, settings: AuthoritySettings) -> bool:
        """Sign what is due; tell whether the broker has something to read again."""
        changed = service.issue_if_due(authority, BROKER, self._hosts(), settings, self._place)
        for task in self._tasks:
            identity = Identity(task, SERVER)
            service.issue_if_due(authority, identity, (), settings, _place(self._folder, identity))
        for identity in self._devices:
            admit_if_due(authority, identity, _place(self._folder, identity))
        return publishing.write(authority, self._place, settings.prefix) or changed

    def _hosts(self) -> tuple[str, ...]:
        """Return what clients may call the broker and the authority."""
        listens = [self._broker.listen, (self._served or ServedAuthority()).listen or INNER]
        named = [*self._broker.hosts, self._broker.host, "localhost", INNER, *listens]
        return tuple(dict.fromkeys(reachable(each) for each in named))

    def _settings(self) -> AuthoritySettings:
        served, broker = self._served or ServedAuthority(), self._broker
        return AuthoritySettings(
            hosts=self._hosts(),
            listen=served.listen or broker.listen,
            port=served.port,
            days=served.days,
            tokens_file=served.tokens_file and served.tokens_file.absolute(),
            broker_folder=self._place,
            broker_pid_file=self._place / PID,
            broker_host=self._hosts()[0],
            broker_port=broker.port,
            prefix=broker.prefix,
        )

    def _config(self) -> str:
        broker = self._broker
        websockets = broker.transport == "websockets"
        devices, services = (broker.listen, broker.port), (INNER, broker.inner_port)
        return mosquitto.config(self._place, Listening(devices, services, websockets))
