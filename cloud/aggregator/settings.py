"""A task's configuration file."""

# Over 320 lines: a field of a setting has its help below it, and a task has many.

import unicodedata
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator
from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from cloud.aggregator import sqlite_file, sums
from edgeloop.cohorts.deadlines import STEP_SECONDS
from edgeloop.cohorts.members import MOST_DEVICES
from edgeloop.cohorts.rates import MEGABYTE, RateLimits
from edgeloop.errors import ConfigError
from edgeloop.protocol.admission import MOST_PATTERNS, Pattern, may_join
from edgeloop.protocol.robust_rules import RobustChoice
from edgeloop.protocol.task import (
    BATCH_SIZE,
    VARIANT,
    WIDTH,
    Classes,
    DeviceName,
    Name,
    Scalar,
    Seed,
    Shape,
    Size,
    Width,
    check_message_sizes,
)
from edgeloop.runtime.config import BrokerSettings, PrivacySettings, Seconds, Settings, first_line
from edgeloop.runtime.tracing import TraceSettings

Many = Annotated[int, Field(ge=1, le=10**9)]
"""As many as a message can tell."""

Share = Annotated[str, Field(pattern="^(100|[1-9][0-9]?)%$")]
"""Of the devices that are online."""

HTTPS = r"^https://[A-Za-z0-9._:\[\]-]+/?$"

_FACTS = {"classes": "class_names", "width": "width", "seed": "seed", "shape": "shape"}
"""What a task's own keys say of an algorithm's settings."""


def _check_class_names(names: tuple[str, ...]) -> tuple[str, ...]:
    """Refuse class names that a device, which knows classes by name, could not tell apart."""
    plain = [unicodedata.normalize("NFC", name).strip() for name in names]
    for number, name in enumerate(plain):
        if not name:
            raise ValueError(f"class {number} has an empty name")
        if name in plain[:number]:
            raise ValueError(f"classes {plain.index(name)} and {number} are both called {name!r}")
    return names


def _own_keys(hyperparameters: dict[str, Scalar]) -> dict[str, Scalar]:
    """Refuse what would be overruled by the task's own keys."""
    for name, key in _FACTS.items():
        if name in hyperparameters:
            raise ValueError(f"{name} is no hyperparameter of a task: give {key} beside the table")
    return hyperparameters


def _ratio(share: str) -> float:
    """Return a `Share` as a number."""
    return int(share.removesuffix("%")) / 100


class CohortSettings(Settings):
    """The `[cohort]` table: which devices take part, and how long a round waits for them."""

    devices: tuple[DeviceName, ...] = ()
    """The names of the devices that are in the task from the start."""
    evicted: tuple[DeviceName, ...] = ()
    """The names of devices that take no part from the next start on; what they contributed stays.
    This is permanent: removing a name from the list does not bring the device back."""
    forgotten: tuple[DeviceName, ...] = ()
    """The names of devices to take out at the next start, with everything that they contributed.
    This is permanent."""
    admit: Annotated[tuple[Pattern, ...], Field(max_length=MOST_PATTERNS)] = ()
    """Patterns of the names of devices that may join during the run, such as "press-*"; "*" admits
    every device that the broker allows to write. A device joins when it first appears."""
    max_devices: Annotated[int, Field(ge=1, le=100_000)] = MOST_DEVICES
    """Largest number of devices in the run; further ones are not admitted."""
    quorum: Size | Share | None = None
    """Number of answers that a round needs; all devices if not given, and one with admit."""
    sample: Share | None = None
    """Share of the devices that a round asks ("20%"), drawn by the seed for each round; all if not
    given."""
    grace_seconds: Annotated[float, Field(ge=0, le=86_400)] = 5.0
    """Seconds that a round with its quorum waits for further answers, once all online devices have
    answered."""
    buffer: Size | None = None
    """Semi-asynchronous rounds: number of answers, to this round or to an earlier one, that end it;
    rounds wait for their devices if not given."""
    max_staleness: Annotated[int, Field(ge=0, le=1000)] = 10
    """With a buffer: how many rounds old an answer may be. An answer that is s rounds old has the
    weight 1 / sqrt(1 + s)."""
    max_messages_per_minute: Annotated[int, Field(ge=10, le=10**9)] = RateLimits.messages
    """Largest number of messages of one device in a minute; further ones are counted but not
    read."""
    max_megabytes_per_minute: Annotated[int, Field(ge=1, le=10**9)] = RateLimits.size // MEGABYTE
    """Largest number of megabytes of one device in a minute; the rest is not read, but requested
    later."""
    outliers: Literal["log", "refuse"] = "log"
    """What happens to an upload that is far from the others: log or refuse; fixed for a run."""
    robust: RobustChoice = "auto"
    secure: bool = False
    """Secure aggregation: the aggregator learns sums of uploads, but no single upload."""
    step_seconds: Annotated[float, Field(gt=0, le=86_400)] = STEP_SECONDS
    """Seconds that each step of secure aggregation waits for the devices that are online."""
    deadline_seconds: Seconds = 600.0
    """Seconds to wait for answers beyond the quorum."""
    give_up_seconds: Seconds = 86_400.0
    """Seconds to wait for the quorum itself; after that the aggregator fails, to be restarted."""

    def invites(self, device: str) -> bool:
        """Return whether a device may take part, by its name."""
        return device in self.devices or may_join(device, self.admit)

    @property
    def in_a_sum(self) -> int:
        """The least number of devices in each sum of secure aggregation; 0 without it."""
        return sums.least(self) if self.secure else 0

    @property
    def refuses_outliers(self) -> bool:
        """Whether uploads far from the cohort's are set aside."""
        return self.outliers == "refuse"

    @property
    def rate_limits(self) -> RateLimits:
        """What one device may send within a minute."""
        return RateLimits(self.max_messages_per_minute, self.max_megabytes_per_minute * MEGABYTE)

    @property
    def share(self) -> float | None:
        """The share of those online whose answers make a round count; None for a number."""
        return _ratio(self.quorum) if isinstance(self.quorum, str) else None

    @property
    def join_ratio(self) -> float:
        """The share of the devices that is asked in a round."""
        return 1.0 if self.sample is None else _ratio(self.sample)

    def least(self, devices: int) -> int:
        """Return how many answers make a round count, of so many devices in the run."""
        if self.buffer is not None:
            return self.buffer if self.admit else min(self.buffer, devices)
        if isinstance(self.quorum, str):
            return min(1, devices) if not self.admit else 1  # `share` says how many
        if self.admit:
            return self.quorum or 1
        return min(self.quorum or devices, devices)

    @model_validator(mode="after")
    def _consistent(self) -> "CohortSettings":
        if len(set(self.devices)) < len(self.devices):
            raise ValueError("devices has a name twice")
        if not self.devices and not self.admit:
            raise ValueError("devices and admit are empty: nobody could take part")
        for each in (*self.evicted, *self.forgotten):
            if not self.invites(each):
                raise ValueError(f"evicted or forgotten names {each}, which is no device of it")
        most = self.max_devices if self.admit else len(self.devices)
        if isinstance(self.quorum, int) and self.quorum > most:
            raise ValueError(f"quorum is larger than the {most} devices")
        if self.buffer is not None and (self.quorum is not None or self.sample is not None):
            raise ValueError("buffer says how many answers make a round: leave quorum, sample out")
        if self.buffer is not None and self.buffer > most:
            raise ValueError(f"buffer is larger than the {most} devices")
        if self.secure:
            sums.check(self, most)
        if len(self.devices) > self.max_devices:
            raise ValueError(f"max_devices is less than the {len(self.devices)} devices")
        return self


class IngestSettings(Settings):
    """The `[ingest]` table: which processes receive uploads."""

    shared: bool = False
    """Processes of `edgeloop ingest` receive uploads, and write them to a ledger in PostgreSQL."""


class HttpSettings(Settings):
    """The `[http]` table: where metrics, health and status are served.

    Attributes:
        host: address to listen on.
        port: port to listen on; 0 for any free one, which is logged.
        linger: keep answering after the last round, until the aggregator is stopped.
        tokens_file: bearer tokens of those who may read metrics and status, each with a role
            (`edgeloop ca http-token`); everybody may if not given. Everybody may read the health.
        allowed_hosts: host names that a request may be addressed to, besides this machine's own;
            any if empty.
        certificate_file: certificate for HTTPS, PEM; plain HTTP if not given.
        key_file: private key of the certificate.
        client_ca_file: certificates of authorities, PEM; a client with a certificate of one of
            them needs no token.
    """

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 9464
    linger: bool = False
    tokens_file: Path | None = None
    allowed_hosts: tuple[str, ...] = ()
    certificate_file: Path | None = None
    key_file: Path | None = None
    client_ca_file: Path | None = None

    @model_validator(mode="after")
    def _go_together(self) -> "HttpSettings":
        if (self.certificate_file is None) != (self.key_file is None):
            raise ValueError("certificate_file and key_file go together")
        if self.client_ca_file is not None and self.certificate_file is None:
            raise ValueError("client_ca_file needs certificate_file: without TLS nobody shows one")
        return self

    @property
    def is_shut(self) -> bool:
        """Whether only those who are known may ask, or only this machine can."""
        known = self.tokens_file is not None or self.client_ca_file is not None
        return known or self.host in ("localhost", "::1") or self.host.startswith("127.")


class TaskSettings(Settings):
    """A task: what is learned, by whom, and where it is kept.

    A FederatedTask has the same settings, in camel case (`tests/cloud/operator/test_crds.py`).
    """

    name: Name
    """Name of the task."""
    algorithm: str
    """Name of the algorithm; `edgeloop algorithms` lists them."""
    variant: str = VARIANT
    """Variant of the algorithm, where the paper and the released code differ."""
    hyperparameters: Annotated[
        dict[str, Scalar], Field(default_factory=dict), AfterValidator(_own_keys)
    ]
    """Hyperparameters of the algorithm; they override the variant's."""
    class_names: Annotated[Classes, AfterValidator(_check_class_names)]
    """Names of the classes, in the order of their numbers."""
    shape: Shape
    """Shape of one input, channels first."""
    width: Width = WIDTH
    """Feature width K that all devices share."""
    rounds: Many
    """Number of rounds."""
    batch_size: Many = BATCH_SIZE
    """Batch size of local training."""
    seed: Seed = 0
    """Random seed of the run."""
    shuffle: bool = False
    """Shuffle each device's samples in every epoch."""
    privacy: PrivacySettings | None = None
    """Differential privacy of what devices send; no noise if not given."""
    generator: str | None = None
    """Generator, if the algorithm needs one; the embedded one if not given."""
    base: str | None = None
    """Base, if the algorithm needs one; computed from the generator's images if not given."""
    history: bool = False
    """Keep the messages of each round, for reports."""
    folder: Path
    """Folder for the ledger, the final prototypes and the summary."""
    store: str | None = None
    """URL of the ledger's database, in SQLAlchemy's form; SQLite in the folder if not given."""
    store_file: Path | None = None
    """File whose first line is that URL, for a URL with a password."""
    broker: BrokerSettings = BrokerSettings()
    """Broker of the task."""
    cohort: CohortSettings
    """Which devices take part, and how long a round waits for them."""
    ingest: IngestSettings = IngestSettings()
    """Which processes receive uploads."""
    http: HttpSettings = HttpSettings()
    """Address and access rules of metrics, health and status."""
    trace: TraceSettings = TraceSettings()
    """Where traces are sent."""
    authority: Annotated[str, Field(pattern=HTTPS)] | None = None
    """URL of the authority; devices that it has revoked are evicted. The aggregator identifies
    itself to it with the certificate of `[broker]`."""

    @model_validator(mode="after")
    def _one_store(self) -> "TaskSettings":
        if self.store is not None and self.store_file is not None:
            raise ValueError("store and store_file are two answers to one question")
        return self

    @model_validator(mode="after")
    def _authority_is_trusted(self) -> "TaskSettings":
        if self.authority is not None and self.broker.certificate_file is None:
            raise ValueError("authority needs broker.ca_file, certificate_file and key_file")
        return self

    @model_validator(mode="after")
    def _ingest_knows_devices(self) -> "TaskSettings":
        if self.ingest.shared and self.cohort.admit:
            raise ValueError("ingest.shared takes uploads of listed devices only: leave out admit")
        if self.ingest.shared and self.cohort.secure:
            raise ValueError("ingest.shared takes whole uploads only: leave out cohort.secure")
        if self.ingest.shared and self.cohort.buffer is not None:
            raise ValueError("ingest.shared takes answers to the open round only: leave out buffer")
        return self

    @model_validator(mode="after")
    def _fits(self) -> "TaskSettings":
        check_message_sizes(self.class_names, self.shape, self.width)
        return self

    @model_validator(mode="after")
    def _shuffles_something(self) -> "TaskSettings":
        if self.shuffle and self.privacy is not None:
            raise ValueError("shuffle changes nothing with privacy: each step draws its samples")
        return self

    def ledger(self) -> str | URL:
        """Return the URL of the ledger's database.

        Raises:
            ConfigError: if `store_file` cannot be read.
        """
        if self.store_file is not None:
            return first_line(self.store_file, "store_file")
        database = str(self.folder.absolute() / "ledger.sqlite")
        return self.store or URL.create("sqlite", database=database)

    def ledger_file(self) -> Path | None:
        """Return the file of a ledger that is in SQLite; None if it is in a server's database.

        Raises:
            ConfigError: if `store_file` cannot be read, or the URL is none.
        """
        try:
            url = make_url(self.ledger())
        except ArgumentError as error:  # its message may have the password in it
            remedy = "write it like sqlite:////folder/ledger.sqlite"
            raise ConfigError("store", "is no database URL", remedy) from error
        return Path(sqlite_file.path_of(url)) if url.get_backend_name() == "sqlite" else None
