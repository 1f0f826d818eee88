"""An authority's settings: `authority.toml` in its folder."""

from datetime import timedelta
from pathlib import Path
from typing import Annotated

from pydantic import Field, model_validator
from sqlalchemy import URL

from edgeloop.errors import ConfigError
from edgeloop.runtime.config import PREFIX, Port, Settings, first_line

FILE = "authority.toml"

Days = Annotated[float, Field(ge=0.01, le=397)]
Host = Annotated[str, Field(pattern=r"^[A-Za-z0-9._:-]{1,253}$")]


class AuthoritySettings(Settings):
    """An authority: where it listens, how long its certificates are valid, and its broker."""

    hosts: Annotated[tuple[Host, ...], Field(min_length=1)] = ("localhost", "127.0.0.1")
    """Names and addresses at which devices reach the authority; its own certificate names them."""
    listen: str = "127.0.0.1"
    """Address to listen on; 0.0.0.0 for all."""
    port: Annotated[int, Field(ge=0, le=65535)] = 8443
    """Port of HTTPS; 0 for any free one, which is logged."""
    days: Days = 7.0
    """Days that a device's certificate is valid; the agent renews it after half of them."""
    service_days: Days = 90.0
    """Days that a service's certificate is valid: the broker's, an aggregator's, its own."""
    store: str | None = None
    """URL of the database, in SQLAlchemy's form; SQLite in the folder if not given."""
    store_file: Path | None = None
    """File whose first line is that URL, for a URL with a password."""
    passphrase_file: Path | None = None
    """File whose first line is the passphrase of the keys; not encrypted if not given."""
    tokens_file: Path | None = None
    """Tokens of viewers, operators and admins (`edgeloop ca http-token`); nobody if not given."""
    broker_folder: Path | None = None
    """Folder in which the broker reads its rights and the lists of revoked certificates."""
    broker_pid_file: Path | None = None
    """File with Mosquitto's process id, which is sent SIGHUP to read that folder again."""
    broker_port: Port = 8883
    """Port at which devices reach the broker; `edgeloop enroll` writes it to the device."""
    broker_host: Host | None = None
    """Host at which devices reach the broker; the authority's own host if not given."""
    prefix: Annotated[str, Field(pattern=PREFIX, max_length=256)] = ""
    """Prefix of all topics, as in the `[broker]` tables."""

    trusted: tuple[Annotated[str, Field(pattern="^[!-~]+$", max_length=256)], ...] = ()
    """User names at the broker that may read and write everything, besides services signed here."""
    signed_elsewhere: bool = False
    """Whether other programs sign services with the same key, as on Kubernetes. Their certificates
    are then accepted here, too, until they expire."""

    @model_validator(mode="after")
    def _one_store(self) -> "AuthoritySettings":
        if self.store is not None and self.store_file is not None:
            raise ValueError("store and store_file are two answers to one question")
        return self

    @property
    def life(self) -> timedelta:
        """For how long a device's certificate holds."""
        return timedelta(days=self.days)

    @property
    def service_life(self) -> timedelta:
        """For how long a service's certificate holds."""
        return timedelta(days=self.service_days)

    def passphrase(self) -> str | None:
        """Return the keys' passphrase, if they have one.

        Raises:
            ConfigError: if its file cannot be read, or has none.
        """
        if self.passphrase_file is None:
            return None
        found = first_line(self.passphrase_file, "passphrase_file").strip()
        if not found:
            problem = f"{self.passphrase_file} has an empty first line"
            raise ConfigError("passphrase_file", problem, "write the passphrase there")
        return found

    def database(self, folder: Path) -> str | URL:
        """Return the URL of the database.

        Raises:
            ConfigError: if `store_file` cannot be read.
        """
        if self.store_file is not None:
            return first_line(self.store_file, "store_file")
        file = str(folder.absolute() / "authority.sqlite")
        return self.store or URL.create("sqlite", database=file)
